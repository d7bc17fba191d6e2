"""A forest plot as inline SVG: one row per effect, its interval as a bar, a line at no effect."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from vesalius.report.curves import rounded, tick_text, ticks_within, widened

ROW, WIDTH, NAMES, NUMBERS, TOP, BOTTOM = 22, 760, 190, 190, 8, 34


@dataclass(frozen=True)
class Bar:
    """One row.

    Attributes:
        name: left of the bar.
        mean, low, high: of the effect; a bar without ends is a dot.
        text: right of the bar.
        tone: "good", "bad" or "": the colour of a verdict.
    """

    name: str
    mean: float
    low: float
    high: float
    text: str = ""
    tone: str = ""


def draw_forest(bars: Sequence[Bar], *, label: str, x_label: str = "") -> Markup:
    """Return one SVG element; empty when no bar has a finite mean.

    Args:
        bars: from top to bottom.
        label: what the chart shows, read aloud by a screen reader.
        x_label: what the axis measures.
    """
    values = [v for bar in bars for v in (bar.mean, bar.low, bar.high) if math.isfinite(v)]
    if not values:
        return Markup("")
    low, high = widened(min(0.0, *values), max(0.0, *values))
    scale = _Scale(low - 0.03 * (high - low), high + 0.03 * (high - low), len(bars))
    parts = [scale.grid(x_label)]
    parts += [scale.row(bar, number) for number, bar in enumerate(bars)]
    return Markup(
        '<svg class="forest" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">{body}</svg>'
    ).format(w=WIDTH, h=scale.bottom + BOTTOM, label=label, body=Markup("").join(parts))


class _Scale:
    """From effects and row numbers to the drawing."""

    def __init__(self, low: float, high: float, rows: int):
        self.low, self.high, self.bottom = low, high, TOP + ROW * rows

    def x(self, value: float) -> float:
        """Return where a value lies."""
        share = (value - self.low) / (self.high - self.low)
        return NAMES + share * (WIDTH - NAMES - NUMBERS)

    def grid(self, x_label: str) -> Markup:
        """Return ticks, the line at zero and the axis title."""
        ticks, parts = ticks_within(self.low, self.high), []
        for tick in ticks:
            if self.low <= tick <= self.high:
                parts.append(
                    Markup(
                        '<line class="{kind}" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>'
                        '<text class="tick" x="{x}" y="{base}" text-anchor="middle">{text}</text>'
                    ).format(
                        kind="axis" if abs(tick) < 1e-12 else "grid",
                        x=rounded(self.x(tick)),
                        top=TOP,
                        bottom=self.bottom,
                        base=self.bottom + 14,
                        text=tick_text(tick, ticks, False),
                    )
                )
        title = Markup('<text class="label" x="{x}" y="{y}" text-anchor="end">{text}</text>')
        parts.append(title.format(x=WIDTH - NUMBERS, y=self.bottom + 29, text=x_label))
        return Markup("").join(parts)

    def row(self, bar: Bar, number: int) -> Markup:
        """Return name, interval, mean and text of one bar."""
        middle = TOP + ROW * (number + 0.5)
        tone = f" {bar.tone}" if bar.tone else ""
        parts = [
            Markup('<text class="name" x="{x}" y="{y}" text-anchor="end">{name}</text>').format(
                x=NAMES - 10, y=rounded(middle + 4), name=bar.name
            ),
            Markup('<text class="tick" x="{x}" y="{y}">{text}</text>').format(
                x=WIDTH - NUMBERS + 10, y=rounded(middle + 4), text=bar.text
            ),
        ]
        if math.isfinite(bar.low) and math.isfinite(bar.high):
            line = '<line class="bar{t}" x1="{a}" x2="{b}" y1="{y}" y2="{y}"/>'
            ends = {"a": rounded(self.x(bar.low)), "b": rounded(self.x(bar.high))}
            parts.append(Markup(line).format(t=tone, y=rounded(middle), **ends))
        if math.isfinite(bar.mean):
            dot = '<circle class="dot{t}" cx="{x}" cy="{y}" r="3.4"/>'
            parts.append(Markup(dot).format(t=tone, x=rounded(self.x(bar.mean)), y=rounded(middle)))
        return Markup("").join(parts)
