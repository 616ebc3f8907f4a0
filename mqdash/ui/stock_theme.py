"""The palette for Textual's own widgets, which take colours from theme variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.theme import Theme

if TYPE_CHECKING:
    from mqdash.ui.presentation.theme import Palette


def own_variables(palette: Palette) -> dict[str, str]:
    """Variables of our stylesheets beside Textual's."""
    return {
        "line": palette.lines,
        "dim": palette.dim,
        "middle": palette.middle,
        "dead": palette.dead,
        "block-cursor-background": palette.accent,
        "input-selection-background": f"{palette.accent} 35%",
        "border": palette.accent,
    }


def textual_theme(palette: Palette) -> Theme:
    """The same colours for Textual's own widgets."""
    return Theme(
        name="mqdash-dark",
        primary=palette.accent,
        secondary=palette.middle,
        accent=palette.accent,
        warning=palette.look,
        error=palette.broken,
        success=palette.well,
        foreground=palette.text,
        background=palette.background,
        surface=palette.bars,
        panel=palette.selection,
        dark=True,
        variables=own_variables(palette),
    )
