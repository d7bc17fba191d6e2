"""Line charts as inline SVG. Colours and fonts come from the page's style sheet.

Gaps: a point that is not finite (or not positive on a logarithmic axis) interrupts the line.
Long series are averaged in equal pieces along x, so that a page stays small.
"""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from vesalius.report.tables import format_value

Point = tuple[float, float]

WIDTH, HEIGHT = 340, 220
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 12, 36
MAX_POINTS = 240
COLOURS = 6


def draw_curves(
    series: Mapping[str, Sequence[Point]],
    *,
    label: str,
    x_label: str = "",
    y_label: str = "",
    log: bool = False,
    mark_x: float | None = None,
) -> Markup:
    """Return one SVG element with all series on common axes.

    Args:
        series: name -> points (x, y), x ascending.
        label: what the chart shows, read aloud by a screen reader.
        x_label, y_label: axis titles with units.
        log: a logarithmic y axis; values that are not positive are left out.
        mark_x: where a dashed vertical line stands (the kept weights), or None.
    """
    lines = {name: _thin(points) for name, points in series.items()}
    drawn = [point for points in lines.values() for point in points if _visible(point, log)]
    if not drawn:
        return Markup("")
    # averaging pulls the ends in; the axis keeps them, so that neighbouring charts agree
    xs = [x for points in series.values() for x, _ in points if math.isfinite(x)]
    axes = _Axes(xs, [y for _, y in drawn], log=log)
    parts = [axes.frame(x_label, y_label), axes.mark(mark_x)]
    parts += [_line(points, axes, number, log) for number, points in enumerate(lines.values())]
    summary = "; ".join(filter(None, (_summary(name, p) for name, p in series.items())))
    return Markup('<svg viewBox="0 0 {w} {h}" role="img" aria-label="{label}">{body}</svg>').format(
        w=WIDTH, h=HEIGHT, label=f"{label}: {summary}", body=Markup("").join(parts)
    )


class _Axes:
    """The mapping from values to the drawing, and its ticks."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float], *, log: bool):
        self.log = log
        ys = [self._scale(y) for y in ys]
        self.x_ticks = ticks_within(min(xs), max(xs))
        self.x_low, self.x_high = widened(min(xs), max(xs))
        low, high = widened(min(ys), max(ys))
        margin = 0.04 * (high - low)
        self.y_low, self.y_high = low - margin, high + margin
        ticks = _log_ticks if log else ticks_within
        self.y_ticks = ticks(self.y_low, self.y_high)

    def _scale(self, y: float) -> float:
        return math.log10(y) if self.log else y

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a value in the drawing."""
        return self._x(x), self._y(self._scale(y))

    def _x(self, x: float) -> float:
        share = (x - self.x_low) / (self.x_high - self.x_low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def _y(self, y: float) -> float:
        share = (y - self.y_low) / (self.y_high - self.y_low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def frame(self, x_label: str, y_label: str) -> Markup:
        """Return grid lines, tick labels and axis titles."""
        parts = []
        for tick in self.y_ticks:
            if self.y_low <= tick <= self.y_high:
                text = tick_text(10**tick if self.log else tick, self.y_ticks, self.log)
                parts.append(_y_tick(self._y(tick), text))
        for tick in self.x_ticks:
            if self.x_low <= tick <= self.x_high:
                parts.append(_x_tick(self._x(tick), tick_text(tick, self.x_ticks, False)))
        parts.append(_axis_titles(x_label, y_label))
        return Markup("").join(parts)

    def mark(self, x: float | None) -> Markup:
        """Return the dashed line at `x`, or nothing."""
        if x is None or not self.x_low <= x <= self.x_high:
            return Markup("")
        return Markup('<line class="mark" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>').format(
            x=rounded(self._x(x)), top=TOP, bottom=HEIGHT - BOTTOM
        )


def _line(points: Sequence[Point], axes: _Axes, number: int, log: bool) -> Markup:
    """Return the pieces of one series; a piece of a single point is drawn as a dot."""
    parts, piece = [], []
    for point in [*points, (math.nan, math.nan)]:
        if _visible(point, log):
            piece.append(axes.place(*point))
        elif piece:
            parts.append(_piece(piece, number % COLOURS))
            piece = []
    return Markup("").join(parts)


def _piece(piece: Sequence[Point], colour: int) -> Markup:
    if len(piece) == 1:
        return Markup('<circle class="s{c}" cx="{x}" cy="{y}" r="2.6"/>').format(
            c=colour, x=rounded(piece[0][0]), y=rounded(piece[0][1])
        )
    path = " ".join(f"{rounded(x)},{rounded(y)}" for x, y in piece)
    return Markup('<polyline class="s{c}" points="{path}"/>').format(c=colour, path=path)


def _y_tick(y: float, text: str) -> Markup:
    return Markup(
        '<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>'
        '<text class="tick" x="{edge}" y="{base}" text-anchor="end">{text}</text>'
    ).format(
        left=LEFT,
        right=WIDTH - RIGHT,
        y=rounded(y),
        edge=LEFT - 7,
        base=rounded(y + 3.5),
        text=escape(text),
    )


def _x_tick(x: float, text: str) -> Markup:
    return Markup(
        '<line class="axis" x1="{x}" x2="{x}" y1="{top}" y2="{end}"/>'
        '<text class="tick" x="{x}" y="{base}" text-anchor="middle">{text}</text>'
    ).format(
        x=rounded(x),
        top=HEIGHT - BOTTOM,
        end=HEIGHT - BOTTOM + 4,
        base=HEIGHT - BOTTOM + 15,
        text=text,
    )


def _axis_titles(x_label: str, y_label: str) -> Markup:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return Markup(
        '<line class="axis" x1="{left}" x2="{right}" y1="{low}" y2="{low}"/>'
        '<text class="label" x="{right}" y="{base}" text-anchor="end">{x_label}</text>'
        '<text class="label" transform="translate(11 {middle}) rotate(-90)" '
        'text-anchor="middle">{y_label}</text>'
    ).format(
        left=LEFT,
        right=WIDTH - RIGHT,
        low=HEIGHT - BOTTOM,
        base=HEIGHT - 5,
        middle=rounded(middle),
        x_label=x_label,
        y_label=y_label,
    )


def ticks_within(low: float, high: float) -> list[float]:
    """Return round numbers (1, 2, 2.5 or 5 times a power of ten) within [low, high]."""
    low, high = widened(low, high)
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw * 0.9)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return logarithms of 1, 2 and 5 times powers of ten, of powers only for wide ranges."""
    low, high = widened(low, high)
    factors = (1,) if high - low > 2.5 else (1, 2, 5)
    powers = range(math.floor(low) - 1, math.ceil(high) + 1)
    ticks = [power + math.log10(factor) for power in powers for factor in factors]
    return ticks[:: max(1, round((high - low) / 8))] if factors == (1,) else ticks


def widened(low: float, high: float) -> tuple[float, float]:
    """Return a range that is not empty and far wider than rounding."""
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    half = abs(low) * 0.05 or 0.5
    return low - half, high + half


def tick_text(value: float, ticks: Sequence[float], log: bool) -> str:
    """Return a tick's label, with as many decimals as its neighbours need."""
    if value == 0:
        return "0"
    if log or abs(value) >= 1e6 or max(map(abs, ticks)) < 1e-3:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−", 1)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(value)
    # enough decimals to tell 0.25 from 0.5, and no more
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1
    return f"{value:,.{decimals}f}".replace("-", "−")


def _thin(points: Sequence[Point]) -> list[Point]:
    """Average runs of points so that at most `MAX_POINTS` remain; gaps are kept as gaps."""
    size = math.ceil(len(points) / MAX_POINTS)
    if size <= 1:
        return [tuple(point) for point in points]
    runs = (points[start : start + size] for start in range(0, len(points), size))
    return [tuple(math.fsum(axis) / len(run) for axis in zip(*run, strict=True)) for run in runs]


def _visible(point: Point, log: bool) -> bool:
    x, y = point
    return math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)


def _summary(name: str, points: Sequence[Point]) -> str:
    if not points:
        return ""
    return f"{name} {format_value(points[0][1])} → {format_value(points[-1][1])}"


def rounded(value: float) -> str:
    """Return a coordinate of a drawing with one decimal."""
    return f"{value:.1f}"
