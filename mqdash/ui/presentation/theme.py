"""The colours of the picture's language as one record: light, high-contrast, 16-colour and `NO_COLOR` themes are data.

Every style carries its background: a drawn row reaches the terminal as it is (no stylesheet fills it in).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from rich.style import Style

from mqdash.model.message import Family

Ground = Literal["pane", "selection", "bar"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The colours of a theme as `#rrggbb`."""

    background: str = "#0e1116"
    bars: str = "#161c26"
    selection: str = "#1d2a3a"
    lines: str = "#2a3240"
    trough: str = "#2a3240"
    dim: str = "#66728a"
    middle: str = "#93a0b8"
    text: str = "#cfd6e4"
    bright: str = "#e8edf6"
    accent: str = "#5fb3ff"
    rabbitmq: str = "#ff9a56"
    kafka: str = "#64b5f6"
    redis: str = "#ff7a90"
    well: str = "#6fcf97"
    look: str = "#f2c14e"
    broken: str = "#ff6b6b"
    dead: str = "#d58cff"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Theme:
    """Styles by meaning. `line` frames panes, `line_focus` the focused one; `badge` is text on the accent colour."""

    name: str
    text: Style
    strong: Style
    middle: Style
    dim: Style
    line: Style
    line_focus: Style
    trough: Style
    accent: Style
    key: Style
    badge: Style
    well: Style
    look: Style
    broken: Style
    dead: Style
    flash: Style
    families: dict[Family, Style]
    grounds: dict[Ground, Style]
    _made: dict[tuple[str, Style], Style] = field(default_factory=dict)

    def family(self, family: Family) -> Style:
        """Whose it is."""
        return self.families[family]

    def bold(self, style: Style) -> Style:
        """The same, bold: the one number that matters, a name."""
        return self._combined("bold", style, _BOLD)

    def underlined(self, style: Style) -> Style:
        """The same, underlined: the one that is shown."""
        return self._combined("underline", style, _UNDERLINE)

    def on(self, style: Style, ground: Ground) -> Style:
        """The same on another ground (the selected row, the bars above and below)."""
        return style if ground == "pane" else self._combined(ground, style, self.grounds[ground])

    def _combined(self, what: str, style: Style, more: Style) -> Style:
        key = (what, style)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = style + more
        return found


_BOLD: Final = Style(bold=True)
_UNDERLINE: Final = Style(underline=True)


def coloured(name: str, palette: Palette) -> Theme:
    """The theme of a palette."""

    def style(colour: str, *, bold: bool = False) -> Style:
        return Style(color=colour, bgcolor=palette.background, bold=bold or None)

    redis = style(palette.redis)
    return Theme(
        name=name,
        text=style(palette.text),
        strong=style(palette.bright, bold=True),
        middle=style(palette.middle),
        dim=style(palette.dim),
        line=style(palette.lines),
        line_focus=style(palette.accent),
        trough=style(palette.trough),
        accent=style(palette.accent),
        key=style(palette.accent, bold=True),
        badge=Style(color=palette.background, bgcolor=palette.accent, bold=True),
        well=style(palette.well),
        look=style(palette.look),
        broken=style(palette.broken),
        dead=style(palette.dead),
        flash=Style(color=palette.background, bgcolor=palette.broken, bold=True),
        families={
            Family.RABBITMQ: style(palette.rabbitmq),
            Family.KAFKA: style(palette.kafka),
            Family.REDIS_STREAMS: redis,
            Family.REDIS_PUBSUB: redis,
        },
        grounds={
            "pane": Style(bgcolor=palette.background),
            "selection": Style(bgcolor=palette.selection),
            "bar": Style(bgcolor=palette.bars),
        },
    )


def uncoloured() -> Theme:
    """`NO_COLOR`: weight, reverse and glyphs only; every state has a glyph or a word already."""
    plain, dim, bold = Style(), Style(dim=True), Style(bold=True)
    return Theme(
        name="mono",
        text=plain,
        strong=bold,
        middle=plain,
        dim=dim,
        line=dim,
        line_focus=bold,
        trough=dim,
        accent=bold,
        key=Style(bold=True, underline=True),
        badge=Style(bold=True, reverse=True),
        well=plain,
        look=bold,
        broken=bold,
        dead=plain,
        flash=Style(bold=True, reverse=True),
        families=dict.fromkeys(Family, plain),
        grounds={"pane": plain, "selection": Style(reverse=True), "bar": plain},
    )


DARK: Final = coloured("dark", Palette())
MONO: Final = uncoloured()
