"""Masks that remember the polygons they came from, and polygons around masks.

Turning a polygon into run lengths costs far more than reading it, and polygons that only travel
from one file to another must not change. `Outlines` is therefore a sequence of run lengths that
are made when they are asked for.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from vesalius.detect.rle import Runs

Polygon = NDArray[np.float64]
"""(K, 2) corner points (x, y) in pixels; the last is joined to the first."""


_CROSSED = 0.1
"""A polygon that fills less of its box may cross itself: its signed areas then cancel out."""


class Outlines(Sequence):
    """Run lengths of objects, made from polygons when they are first asked for.

    Args:
        given: per object run lengths, or a list of polygons whose union is the object.
        size: (height, width) of the image, or three sides of a volume (run lengths only).
    """

    def __init__(self, given: Sequence[Any], size: tuple[int, ...]):
        self._given, self.size = tuple(given), tuple(size)
        self._made: dict[int, Runs] = {}

    def __len__(self) -> int:
        return len(self._given)

    @overload
    def __getitem__(self, index: int) -> "Runs": ...
    @overload
    def __getitem__(self, index: slice) -> "tuple[Runs, ...]": ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return tuple(self[k] for k in range(len(self))[index])
        index = range(len(self))[index]
        if not isinstance(self._given[index], list):
            return self._given[index]
        if index not in self._made:
            self._made[index] = rasterise(self._given[index], self.size)
        return self._made[index]

    def __iter__(self) -> "Iterator[Runs]":
        return (self[k] for k in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        # What can be made again need not travel between processes.
        return {"_given": self._given, "size": self.size, "_made": {}}

    def polygons(self, index: int) -> list[Polygon] | None:
        """Return the polygons that an object was drawn with, or None if it was run lengths."""
        given = self._given[index]
        return given if isinstance(given, list) else None

    def box(self, index: int) -> tuple[float, ...]:
        """Return the corners around the polygons, or of the box of the run lengths.

        No object gives a box without extent (NaN).
        """
        from vesalius.detect import rle

        given = self._given[index]
        if not isinstance(given, list):
            empty = not given.counts[1::2].any()
            return (np.nan,) * 2 * len(self.size) if empty else tuple(map(float, rle.to_box(given)))
        points = np.concatenate(given)
        return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())

    def area(self, index: int) -> float:
        """Return the area of an object in pixels.

        Of one polygon it is that of the shoelace formula, for rasterising costs a thousand times
        as much; of several, of one that seems to cross itself, and of run lengths the pixels count.
        """
        from vesalius.detect import rle

        given = self._given[index]
        if isinstance(given, list) and len(given) == 1:
            x1, y1, x2, y2 = self.box(index)
            area = abs(signed_area(given[0]))
            if area > _CROSSED * (x2 - x1) * (y2 - y1):
                return area
        return float(rle.area(self[index]))

    def subset(self, places: Sequence[int]) -> "Outlines":
        """Return some of the objects, in the order of `places`."""
        return Outlines([self._given[k] for k in places], self.size)


def rasterise(polygons: Sequence[Polygon], size: tuple[int, ...]) -> "Runs":
    """Return the run lengths of the union of polygons, as COCO's tools rasterise them."""
    from vesalius.detect import rle

    return rle.from_polygons([polygon.ravel() for polygon in polygons], size)


def polygons_of(masks: Sequence["Runs"], index: int) -> tuple[list[Polygon], int]:
    """Return polygons around an object, and how many holes they fill.

    The polygons it was drawn with are returned where they are known; else `trace` finds them.
    """
    from vesalius.detect import rle

    known = masks.polygons(index) if isinstance(masks, Outlines) else None
    if known is not None:
        return known, 0
    runs = masks[index]
    x1, y1, x2, y2 = (int(value) for value in rle.to_box(runs))
    rings = trace(rle.decode(runs)[y1:y2, x1:x2])
    corner = np.array([x1, y1], np.float64)
    outer = [ring + corner for ring in rings if signed_area(ring) > 0]
    return outer, len(rings) - len(outer)


def signed_area(ring: Polygon) -> float:
    """Return the area of a polygon (shoelace formula); below 0 for the rings of holes."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def trace(mask: NDArray) -> list[Polygon]:
    """Return the rings along the pixel edges of a mask (height, width).

    Pixels that touch at a corner belong together. Rings around objects have a positive
    `signed_area`, rings around holes a negative one. Corners are integers, so that rasterising
    the rings gives the mask again.
    """
    follow = _edges(np.pad(np.asarray(mask, bool), 1))
    rings = []
    while follow:
        start = min(follow)
        rings.append(_ring(follow, start))
    return rings


def _edges(padded: NDArray[np.bool_]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return corner -> steps (dx, dy) that leave it, with the object on the right hand."""
    inside = padded[1:-1, 1:-1]
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),  # nothing above: the top edge runs to the right
        (padded[1:-1, 2:], (1, 0), (0, 1)),
        (padded[2:, 1:-1], (1, 1), (-1, 0)),
        (padded[1:-1, :-2], (0, 1), (0, -1)),
    )
    leaving: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for beyond, (dx, dy), step in sides:
        rows, columns = np.nonzero(inside & ~beyond)
        for corner in zip((columns + dx).tolist(), (rows + dy).tolist(), strict=True):
            leaving.setdefault(corner, []).append(step)
    return leaving


def _ring(follow: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]) -> Polygon:
    """Take one closed ring out of `follow`; corners between edges in line are left out."""
    corners, corner, step = [], start, (0, 0)
    while corner in follow:
        steps = follow[corner]
        # Where two objects touch at a corner, the left turn keeps them in one ring.
        left = (step[1], -step[0])
        taken = steps.pop(steps.index(left) if left in steps else 0)
        if not steps:
            del follow[corner]
        if taken != step:
            corners.append(corner)
        corner, step = (corner[0] + taken[0], corner[1] + taken[1]), taken
        if corner == start and (corner not in follow or _turns_back(follow, corner, step)):
            break
    return np.array(corners, np.float64)


def _turns_back(follow, corner: tuple[int, int], step: tuple[int, int]) -> bool:
    """Return whether the ring is closed although another one starts at its first corner."""
    return (step[1], -step[0]) not in follow[corner]
