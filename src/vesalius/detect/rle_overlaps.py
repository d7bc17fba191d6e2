"""Overlaps of run-length masks without decoding them, for many pairs at once."""

from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from vesalius.detect.rle_polygons import ranges
from vesalius.errors import DataError

if TYPE_CHECKING:
    from vesalius.detect.rle import Runs

RUNS_AT_ONCE = 1 << 20  # runs compared in one pass: bounds the memory to about 100 MB


def overlaps(first, second, rows, columns, crowd) -> np.ndarray:
    """Return the overlaps of pairs of non-empty masks."""
    wrong = np.flatnonzero((first.shape(rows) != second.shape(columns)).any(axis=1))
    if len(wrong):
        a, b = first.sizes[rows[wrong[0]]], second.sizes[columns[wrong[0]]]
        raise DataError(f"masks of sizes {a} and {b} cannot be compared; are they of one image?")
    inter = _intersections(first, second, rows, columns).astype(np.float64)
    areas = first.areas[rows]
    union = areas + second.areas[columns] - inter
    if crowd is not None:
        union = np.where(np.asarray(crowd, bool)[columns], areas, union)
    return inter / union


def _intersections(first, second, rows, columns) -> np.ndarray:
    """Return the number of common pixels of each pair, in passes of bounded memory."""
    begin, lengths = first.reach(rows, *second.span(columns))
    cuts = np.flatnonzero(np.diff(np.cumsum(lengths) // RUNS_AT_ONCE)) + 1
    parts = (np.split(each, cuts) for each in (begin, lengths, columns))
    result = [_common(first, second, *part) for part in zip(*parts, strict=True)]
    return np.concatenate(result)


def _common(first, second, begin, lengths, columns) -> np.ndarray:
    """Return, for each pair, the foreground of the second under some runs of the first."""
    run = np.repeat(begin, lengths) + ranges(lengths)
    base = np.repeat(columns * second.stride, lengths)
    covered = second.before(base + first.ends[run]) - second.before(base + first.starts[run])
    total = np.concatenate([[0], np.cumsum(covered)])
    ends = np.cumsum(lengths)
    return total[ends] - total[ends - lengths]


class Foreground:
    """The foreground runs of many masks one after another: where each starts and ends."""

    def __init__(self, masks: "Sequence[Runs]"):
        self.sizes = [mask.size for mask in masks]
        self.stride = 1 + max(map(prod, self.sizes), default=0)
        counts = [mask.counts for mask in masks]
        number = np.array([len(c) for c in counts], np.int64)
        flat = np.concatenate([np.zeros(0, np.int64), *counts], dtype=np.int64)
        ends = np.cumsum(flat)
        total = np.concatenate([[0], ends])
        ends -= np.repeat(total[np.cumsum(number) - number], number)
        keep = (ranges(number) % 2 == 1) & (flat > 0)
        self.starts, self.ends = (ends - flat)[keep], ends[keep]
        self.owner = np.repeat(np.arange(len(masks)), number)[keep]
        self.lengths = np.bincount(self.owner, minlength=len(masks))
        self.offsets = np.cumsum(self.lengths) - self.lengths

    @cached_property
    def total(self) -> np.ndarray:
        """Return how many foreground pixels lie before each run, of all masks, and the sum."""
        return np.concatenate([[0], np.cumsum(self.ends - self.starts)])

    @cached_property
    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the starts and the ends with the masks laid one after another, `stride` apart."""
        base = self.owner * self.stride
        return base + self.starts, base + self.ends

    def shape(self, index: np.ndarray) -> np.ndarray:
        """Return the sizes of the masks at `index` as rows of equal length."""
        dims = {len(size) for size in self.sizes}
        if len(dims) > 1:
            raise DataError("masks of images and of volumes cannot be compared with one another")
        shape = (len(self.sizes), max(dims, default=2))
        return np.array(self.sizes, np.int64).reshape(shape)[index]

    @cached_property
    def areas(self) -> np.ndarray:
        """Return the foreground of each mask in pixels."""
        return self.total[self.offsets + self.lengths] - self.total[self.offsets]

    @cached_property
    def boxes(self) -> np.ndarray:
        """Return the boxes (N, 2 * dims) around the masks."""
        shape = self.shape(np.arange(len(self.sizes)))
        dims = shape.shape[1] if len(shape) else 2
        boxes = np.zeros((len(shape), 2 * dims))
        full = np.flatnonzero(self.lengths)
        if len(full) == 0:
            return boxes
        low, high = self.starts, self.ends - 1
        for axis in range(dims):
            side = shape[self.owner, axis]
            # A run that goes on in the next line touches both ends of this axis.
            wraps = low // side != high // side
            near, far = np.where(wraps, 0, low % side), np.where(wraps, side - 1, high % side)
            column = dims - 1 - axis
            boxes[full, column] = np.minimum.reduceat(near, self.offsets[full])
            boxes[full, dims + column] = np.maximum.reduceat(far, self.offsets[full]) + 1
            low, high = low // side, high // side
        return boxes

    def span(self, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the first run of each of the masks starts and where the last one ends."""
        first = self.offsets[masks]
        return self.starts[first], self.ends[first + self.lengths[masks] - 1]

    def reach(self, masks: np.ndarray, low: np.ndarray, high: np.ndarray):
        """Return the first of the runs of each mask between `low` and `high`, and their number."""
        starts, ends = self.lines
        base = masks * self.stride
        first = np.searchsorted(ends, base + low, side="right")
        last = np.searchsorted(starts, base + high, side="left")
        return first, np.maximum(last - first, 0)

    def before(self, position: np.ndarray) -> np.ndarray:
        """Return how many foreground pixels of all masks lie before positions on the line."""
        starts, ends = self.lines
        run = np.searchsorted(starts, position)
        # Only the last run that starts before can reach past the position.
        return self.total[run] - np.maximum(ends[run - 1] - position, 0) * (run > 0)
