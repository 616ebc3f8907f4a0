"""The two lines on top: who is attached and how they are, then what all of them do together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rich.cells import cell_len

from mqdash.model.broker import LinkState
from mqdash.model.message import Family
from mqdash.safe_text import SafeText, literal, safe_text
from mqdash.ui.presentation import texts
from mqdash.ui.presentation.paint import Canvas, Drawn, Hit, Look, Span, Subject, cat, left

if TYPE_CHECKING:
    from rich.style import Style

    from mqdash.model.views import BrokerView, HeaderView, TotalsView
    from mqdash.ui.presentation.theme import Theme

BROKER: Final = "broker"
"""`Subject.id` of a broker's name."""
FAMILY_WORDS: Final = {
    Family.RABBITMQ: literal("rabbitmq"),
    Family.KAFKA: literal("kafka"),
    Family.REDIS_STREAMS: literal("redis"),
    Family.REDIS_PUBSUB: literal("redis"),
}
_WIDE: Final = 104
"""From this width on there is room for sparklines and spelled-out labels."""


class Corner(NamedTuple):
    """What stands in the upper right corner: `▶ live`, `‖ paused`, `link 380 ms`."""

    text: SafeText = literal("▶ live")
    good: bool = True


LIVE: Final = Corner()


def link_words(broker: BrokerView, now_s: float) -> tuple[SafeText, SafeText]:
    """Glyph and word of a link; the word is empty when all is well."""
    match broker.state:
        case LinkState.UP if broker.blocked:
            return literal("◐"), literal("blocked")
        case LinkState.UP:
            return literal("●"), SafeText("")
        case LinkState.CONNECTING:
            return literal("◐"), literal("connecting")
        case LinkState.STALE:
            return literal("◐"), safe_text(
                f"silent {texts.duration(None if broker.age_s is None else round(broker.age_s))}"
            )
        case LinkState.DOWN:
            if broker.retry_at_s is None:
                return literal("✗"), literal("down")
            left_s = round(broker.retry_at_s - now_s)
            return literal("✗"), safe_text(f"down, again {f'in {texts.duration(left_s)}' if left_s > 0 else 'now'}")
        case LinkState.REFUSED:
            return literal("✗"), literal("refused")
        case LinkState.CLOSED:
            return literal("◌"), literal("closed")


def link_style(broker: BrokerView, theme: Theme) -> Style:
    """Colour of the state of a link."""
    match broker.state:
        case LinkState.UP:
            return theme.look if broker.blocked else theme.well
        case LinkState.CONNECTING | LinkState.STALE:
            return theme.look
        case LinkState.DOWN | LinkState.REFUSED:
            return theme.broken
        case LinkState.CLOSED:
            return theme.dim


def draw_header(view: HeaderView, look: Look, *, shown: str = "", corner: Corner = LIVE) -> Drawn:
    """Both lines. `shown`: the broker Flow draws, underlined. Hits: `Subject(broker, BROKER)`."""
    canvas = Canvas(look.width, min(look.height, 2), look.theme)
    hits = _brokers(canvas, view, look, shown, corner)
    canvas.ground(0, 0, look.width, "bar")
    canvas.put(0, 0, literal(" mqdash "), look.theme.badge)
    _totals(canvas, view.totals)
    return Drawn(canvas.rows(), tuple(hits))


def address(url: str) -> str:
    """`127.0.0.1:5672` of a URL without secrets."""
    return url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2] or url


def _badges(view: HeaderView, theme: Theme, wide: bool) -> list[Span]:
    if view.brokers and any(broker.lab for broker in view.brokers):
        embedded = all(broker.url.startswith("embedded:") for broker in view.brokers)  # known before any connection
        spans = [Span(literal("LAB"), theme.bold(theme.look))]
        if embedded and wide:
            spans.append(Span(literal("  nothing here touches a real broker"), theme.dim))
        real = [address(broker.url) for broker in view.brokers if broker.lab and not broker.url.startswith("embedded:")]
        if real:
            spans.append(Span(safe_text(f" on {real[0]}{f' +{len(real) - 1}' if len(real) > 1 else ''}"), theme.look))
        return spans
    infos = [broker.info for broker in view.brokers if broker.info is not None]
    if infos and not any(info.writable for info in infos):
        return [Span(literal("read-only"), theme.look)]
    return []


def _brokers(canvas: Canvas, view: HeaderView, look: Look, shown: str, corner: Corner) -> list[Hit]:
    theme = look.theme
    wide = look.width >= _WIDE
    stop = canvas.put_right(
        look.width - 1,
        0,
        corner.text,
        theme.bold(theme.well if corner.good else theme.look),
        width=max(look.width - 10, 0),
    )
    x = canvas.spans(9, 0, _badges(view, theme, wide), limit=stop - 1) + 2
    hits: list[Hit] = []
    needed = sum(len(broker.name) + len(FAMILY_WORDS[broker.family]) + 6 for broker in view.brokers)
    worded = wide and x + needed < stop
    for at, broker in enumerate(view.brokers):
        rest = 4 if at + 1 < len(view.brokers) else 0
        if hits and x + 2 + cell_len(safe_text(broker.name)) + rest >= stop:
            canvas.put(x, 0, safe_text(f"+{len(view.brokers) - at}"), theme.dim, width=max(stop - x, 0))
            break
        glyph, word = link_words(broker, look.now_s)
        start = x
        style = theme.bold(theme.family(broker.family))
        if broker.name == shown and len(view.brokers) > 1:
            style = theme.underlined(style)
        x = canvas.put(x, 0, cat(glyph, literal(" ")), link_style(broker, theme))
        x = canvas.put(x, 0, safe_text(broker.name), style, width=stop - x - 1)
        note = word or (FAMILY_WORDS[broker.family] if worded else SafeText(""))
        if note and x + 1 < stop:
            x = canvas.put(x + 1, 0, note, link_style(broker, theme) if word else theme.dim, width=stop - x - 2)
        hits.append(Hit(0, start, x, Subject(broker.name, BROKER)))
        x += 3 if wide else 1
    return hits


def _totals(canvas: Canvas, totals: TotalsView) -> None:
    theme = canvas.theme
    wide = canvas.width >= _WIDE
    gap = 2 + min(max(canvas.width - 124, 0) // 10, 4) if wide else 1
    x = 1
    for label, per_s, series, style in (
        (literal("in"), totals.in_per_s, totals.in_spark, theme.accent),
        (literal("out"), totals.out_per_s, totals.out_spark, theme.well),
    ):
        x = canvas.spans(
            x, 1, ((label, theme.dim), (literal(" "), theme.dim), (left(texts.rate(per_s), 7), theme.strong))
        )
        if wide:
            x = canvas.put(x + 1, 1, texts.spark(series, 10), style)
        x += gap
    trend = texts.trend(totals.waiting_trend_per_s) if wide else SafeText("")
    grows = (totals.waiting_trend_per_s or 0) > 0
    x = _field(canvas, x, literal("waiting"), texts.count(totals.waiting), 5, theme.strong)
    if wide:
        x = canvas.put(x + 1, 1, left(trend, 8), theme.look if grows else theme.middle)
    x = _field(
        canvas,
        x + gap,
        literal("in flight") if wide else literal("flight"),
        texts.count(totals.in_flight),
        4,
        theme.strong,
    )
    dead = theme.bold(theme.dead) if totals.dead else theme.strong
    new = safe_text(f" ▲{texts.short(totals.dead_new)}") if totals.dead_new else SafeText("")
    x = _field(canvas, x + gap, literal("dead"), cat(texts.count(totals.dead), new), 9 if wide else 7, dead)
    x = _field(canvas, x + gap, literal("oldest"), texts.duration(totals.oldest_s), 8, theme.strong)
    if totals.lost:
        x = _field(canvas, x + gap, literal("lost"), texts.count(totals.lost), 4, theme.bold(theme.broken))
    if totals.duplicates:
        _field(canvas, x + gap, literal("twice"), texts.count(totals.duplicates), 4, theme.bold(theme.look))


def _field(canvas: Canvas, x: int, label: SafeText, value: SafeText, width: int, style: Style) -> int:
    x = canvas.put(x, 1, label, canvas.theme.dim)
    return canvas.put(x + 1, 1, left(value, width), style)
