"""The layout of figures: rows of pictures with headings, captions and legends; fonts; PNG.

All lengths are in inches, so text has one size however many pictures there are.
"""

import io
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from vesalius.errors import DataError
from vesalius.language import language, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

Legend = Sequence[tuple[str, np.ndarray]]
"""Entries of text and RGBA colour (0 to 255)."""

INK = "#1f2937"
_PANEL, _TALLEST, _GAP, _LINE = 2.7, 3.6, 0.08, 0.24  # inches
_SHORTEST_SIDE, _LONGEST_SIDE = 540, 1200  # pixels of a panel
_CJK = re.compile(r"[\u2e80-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")
_CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN",
    "Noto Sans CJK JP", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback",
    "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB", "Heiti SC", "SimHei", "AR PL UMing CN",
    "Noto Serif CJK SC", "Arial Unicode MS",
)  # fmt: skip


def lay_out(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    heads: Sequence[Sequence[str]],
    captions: Sequence[str],
    legends: Sequence[Legend],
    title: str | None,
) -> "Figure":
    """Draw rows of pictures, uint8 `(H, W, 3)`, in columns of one width.

    Args:
        rows: the pictures.
        heads: per row the headings above its pictures, or nothing.
        captions: per row a note in its first picture's corner, or "".
        legends: each on lines of its own below the pictures.
        title: heading of the whole.
    """
    from matplotlib.figure import Figure

    legends = [legend for legend in legends if legend]
    texts = [title, *captions, *(h for row in heads for h in row)]
    font = font_for([*texts, *(text for legend in legends for text, _ in legend)])
    columns = max(len(row) for row in rows)
    width = columns * (_PANEL + _GAP) + _GAP
    talls = [min(_TALLEST, max(p.shape[0] / p.shape[1] for p in row) * _PANEL) for row in rows]
    lines = [_legend_lines(legend, width) for legend in legends]
    top = 0.34 if title else 0.04
    below = sum(lines) * _LINE + (0.2 if lines else _GAP)
    height = top + sum(talls) + sum(_LINE for h in heads if h) + len(rows) * _GAP + below
    figure = Figure(figsize=(width, height))
    if title:
        _write(figure, _GAP, height - 0.1, title, font, size=12, weight="bold")
    bottom = height - top
    for row, row_heads, caption, tall in zip(rows, heads, captions, talls, strict=True):
        bottom -= tall + _GAP + (_LINE if row_heads else 0)
        for column, picture in enumerate(row):
            left = _GAP + column * (_PANEL + _GAP)
            _place(figure, picture, (left, bottom, _PANEL, tall))
            if row_heads:
                _write(
                    figure, left, bottom + tall + _LINE - 0.03, row_heads[column], font, size=9.5
                )
        if caption:
            _write(figure, _GAP + 0.07, bottom + tall - 0.07, caption, font, size=8, outlined=True)
    for legend, count in zip(legends, lines, strict=True):
        _add_legend(figure, legend, count, bottom - 0.14, font)
        bottom -= count * _LINE
    return figure


def _place(figure: "Figure", picture: np.ndarray, box: tuple[float, ...]) -> None:
    from matplotlib.patches import Rectangle

    width, height = figure.get_size_inches()
    left, bottom, wide, tall = box
    # Black around narrower pictures keeps the columns even, as image viewers do.
    ground = (left / width, bottom / height), wide / width, tall / height
    figure.add_artist(
        Rectangle(*ground, transform=figure.transFigure, color="black", lw=0, zorder=-1)
    )
    axes = figure.add_axes((left / width, bottom / height, wide / width, tall / height))
    axes.imshow(picture, interpolation="antialiased")
    axes.set_axis_off()


def _write(figure, left, top, text, font, *, size, weight="normal", outlined=False) -> None:
    """Write a text whose upper left corner is at (left, top) inches."""
    from matplotlib.patheffects import withStroke

    width, height = figure.get_size_inches()
    font = font.copy()
    font.set_size(size)
    font.set_weight(weight)
    effects = [withStroke(linewidth=2, foreground="black")] if outlined else None
    figure.text(
        left / width, top / height, text, va="top", fontproperties=font,
        color="white" if outlined else INK, path_effects=effects,
    )  # fmt: skip


def _legend_columns(legend: Legend, width: float) -> int:
    # CJK characters are about twice as wide as Latin ones.
    longest = max(len(text) + len(_CJK.findall(text)) for text, _ in legend)
    return max(1, min(len(legend), int(width / (0.45 + 0.085 * longest))))


def _legend_lines(legend: Legend, width: float) -> int:
    return ceil(len(legend) / _legend_columns(legend, width))


def _add_legend(figure, legend: Legend, lines: int, top: float, font) -> None:
    from matplotlib.patches import Patch

    width, height = figure.get_size_inches()
    font = font.copy()
    font.set_size(9)
    patches = [Patch(facecolor=np.asarray(c) / 255, label=text) for text, c in legend]
    box = figure.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(_GAP / width, top / height),
        ncols=ceil(len(legend) / lines), prop=font, frameon=False, borderaxespad=0, borderpad=0,
        handlelength=1.0, handleheight=1.0, columnspacing=1.4, handletextpad=0.5,
    )  # fmt: skip
    for text in box.get_texts():
        text.set_color(INK)


def montage(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    title: str | None = None,
) -> "Figure":
    """Draw many pictures, uint8 `(H, W, 3)`, in a grid, each with its caption above.

    Raises:
        DataError: there is no picture, or not one caption for each.
    """
    if not pictures or (captions is not None and len(captions) != len(pictures)):
        given = "no" if captions is None else len(captions)
        raise DataError(f"A montage needs pictures and a caption each: {len(pictures)}, {given}.")
    columns = columns or min(len(pictures), max(3, ceil(len(pictures) ** 0.5)))
    starts = range(0, len(pictures), columns)
    rows = [[enlarged(p, (1.0, 1.0)) for p in pictures[i : i + columns]] for i in starts]
    heads = [list(captions[i : i + columns]) if captions else [] for i in starts]
    return lay_out(rows, heads=heads, captions=[""] * len(rows), legends=[], title=title)


def figure_to_png(figure: "Figure", *, dpi: int = 130) -> bytes:
    """Return the figure as a PNG file's bytes, on white."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    stream = io.BytesIO()
    FigureCanvasAgg(figure).figure.savefig(stream, format="png", dpi=dpi, facecolor="white")
    return stream.getvalue()


def enlarged(array: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Resize to square pixels and a size at which outlines are thin; labels stay labels."""
    from PIL import Image

    height, width = (n * s for n, s in zip(array.shape[:2], spacing, strict=True))
    longest = max(height / min(spacing), width / min(spacing))
    factor = np.clip(longest, _SHORTEST_SIDE, _LONGEST_SIDE) / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if array.ndim == 3:
        return np.asarray(Image.fromarray(array).resize(size, Image.Resampling.BICUBIC))
    labels = Image.fromarray(array.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(labels)


@lru_cache(maxsize=1)
def cjk_font() -> str | None:
    """Return the name of an installed font with Chinese characters, or None."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return next((name for name in _CJK_FONTS if name in installed), None)


@lru_cache(maxsize=1)
def _warn_of_missing_font() -> None:
    warnings.warn(
        "No font with Chinese characters was found: they appear as boxes in figures."
        " Install one, for example with: apt-get install fonts-noto-cjk",
        stacklevel=3,
    )


def font_for(texts: Sequence[str | None]) -> "FontProperties":
    """Return a font that has the characters of the texts, Chinese ones included."""
    from matplotlib.font_manager import FontProperties

    families = ["DejaVu Sans"]
    if any(_CJK.search(text) for text in texts if text):
        if (name := cjk_font()) is None:
            _warn_of_missing_font()
        else:
            families.append(name)
    return FontProperties(family=families)


def heading(english: str, chinese: str) -> str:
    """Return our own words, in Chinese only where a font can show them."""
    return say(english, chinese) if language() == "en" or cjk_font() else english
