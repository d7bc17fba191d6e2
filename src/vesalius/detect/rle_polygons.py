"""Polygons to run lengths, the way the COCO tools fill them (Lin et al. 2014), many at once.

The outline is drawn on a grid five times finer than the pixels. Where it crosses the centre of a
column of pixels, outside becomes inside or the other way round.
"""

from collections.abc import Sequence

import numpy as np

from vesalius.errors import DataError

FINER = 5


def fill(
    objects: Sequence[Sequence[Sequence[float]]], sizes: Sequence[tuple[int, int]]
) -> list[np.ndarray]:
    """Return the run lengths, int64, of the union of each object's polygons.

    Args:
        objects: for each object its polygons.
        sizes: for each object (h, w).
    """
    parts = [np.asarray(part, np.float64).reshape(-1) for each in objects for part in each]
    _refuse(parts)
    owner = np.repeat(np.arange(len(objects)), [len(each) for each in objects])
    shape = np.array(sizes, np.int64).reshape(-1, 2)
    polygon, position = _crossings(parts, shape[owner])
    return _unite(polygon, position, owner, shape.prod(axis=1))


def _refuse(parts: Sequence[np.ndarray]) -> None:
    """Raise if a polygon has fewer than three points, half a point or one that is not finite."""
    finite = bool(np.isfinite(np.concatenate([np.zeros(0), *parts])).all())
    for part in parts:
        if part.size < 6 or part.size % 2 or not (finite or np.isfinite(part).all()):
            raise DataError(
                "a polygon needs three points or more, each with a finite x and y; got "
                f"{part.tolist()}"
            )


def _crossings(parts: Sequence[np.ndarray], shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the polygons' crossings with the centres of columns, sorted: polygon and position."""
    corners = np.concatenate([np.zeros((0, 2)), *(part.reshape(-1, 2) for part in parts)])
    x, y = np.trunc(FINER * corners.T + 0.5).astype(np.int64)
    polygon, x, y = _outlines(x, y, np.array([part.size // 2 for part in parts], np.int64))
    step = np.flatnonzero((x[1:] != x[:-1]) & (polygon[1:] == polygon[:-1]))
    column, polygon = np.minimum(x[step], x[step + 1]), polygon[step]
    row = (np.minimum(y[step], y[step + 1]) + 0.5) / FINER - 0.5
    height, width = shape[polygon].T
    middle = FINER // 2
    crosses = (column % FINER == middle) & (column >= 0) & (column // FINER < width)
    row = np.ceil(np.clip(row, 0, height)).astype(np.int64)
    position = (column // FINER * height + row)[crosses]
    polygon = polygon[crosses]
    order = np.lexsort((position, polygon))
    return polygon[order], position[order]


def _outlines(
    x: np.ndarray, y: np.ndarray, corners: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all points of the closed outlines on the fine grid: polygon, x and y."""
    following = np.arange(1, len(x) + 1)
    last = np.cumsum(corners)
    following[last - 1] = last - corners
    dx, dy = x[following] - x, y[following] - y
    length = np.maximum(abs(dx), abs(dy))
    # Edges are drawn from their lower end, so that both directions give the same points.
    wide = abs(dx) >= abs(dy)
    flip = np.where(wide, dx < 0, dy < 0)
    x0, y0 = np.where(flip, x + dx, x), np.where(flip, y + dy, y)
    rise = np.where(flip, -1, 1) * np.where(wide, dy, dx)
    slope = rise / np.maximum(length, 1)
    edge = np.repeat(np.arange(len(x)), length + 1)
    place = ranges(length + 1)
    place = np.where(flip[edge], length[edge] - place, place)
    across = np.trunc(np.where(wide, y0, x0)[edge] + slope[edge] * place + 0.5).astype(np.int64)
    along = place + np.where(wide, x0, y0)[edge]
    wide = wide[edge]
    polygon = np.repeat(np.arange(len(corners)), corners)[edge]
    return polygon, np.where(wide, along, across), np.where(wide, across, along)


def _unite(
    polygon: np.ndarray, position: np.ndarray, owner: np.ndarray, pixels: np.ndarray
) -> list[np.ndarray]:
    """Return the run lengths of every object from the sorted crossings of its polygons."""
    number = np.bincount(polygon, minlength=len(owner))
    odd = np.flatnonzero(number % 2)  # cut off by the border: inside until the end
    change = np.concatenate([1 - 2 * (ranges(number) % 2), np.full(len(odd), -1)])
    position = np.concatenate([position, pixels[owner[odd]]])
    which = np.concatenate([owner[polygon], owner[odd]])
    order = np.lexsort((position, which))
    which, position, depth = which[order], position[order], np.cumsum(change[order])
    final = np.ones(len(which), bool)
    final[:-1] = (position[1:] != position[:-1]) | (which[1:] != which[:-1])
    which, position, inside = which[final], position[final], depth[final] > 0
    turns = (inside != np.concatenate([[False], inside[:-1]])) & (position < pixels[which])
    # One more bound closes every object; sorting is stable, so it comes last.
    which = np.concatenate([which[turns], np.arange(len(pixels))])
    bounds = np.concatenate([position[turns], pixels])[np.argsort(which, kind="stable")]
    ends = np.cumsum(np.bincount(which, minlength=len(pixels)))
    lengths = np.diff(bounds, prepend=0)
    starts = np.concatenate([[0], ends[:-1]])
    lengths[starts] = bounds[starts]
    return np.split(lengths, ends[:-1])


def ranges(lengths: np.ndarray) -> np.ndarray:
    """Return 0, 1, ... n - 1 for each n, one after another."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
