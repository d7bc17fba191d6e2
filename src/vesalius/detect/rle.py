"""Masks as run lengths, in COCO's format (Lin et al. 2014), for images and volumes.

A mask is read in column-major order (the first array axis runs fastest) and kept as the lengths of
its runs of equal pixels, the first run being background and possibly empty. For images this is what
pycocotools writes; volumes follow the same rule in three axes, and only polygons are for images
alone. Everything here works on whole lists of masks at once where that is faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from vesalius.detect.rle_overlaps import Foreground, overlaps
from vesalius.detect.rle_polygons import fill, ranges
from vesalius.errors import DataError

OBJECTS_AT_ONCE = 2000  # objects rasterised in one pass: bounds the memory


@dataclass(frozen=True, eq=False, slots=True)
class Runs:
    """The run lengths of one mask.

    Attributes:
        size: shape of the mask's array, (h, w) or (d, h, w).
        counts: lengths of the runs, background first, uint32, adding up to the number of pixels.

    Raises:
        DataError: if the counts are negative or do not add up to the size.
    """

    size: tuple[int, ...]
    counts: np.ndarray

    def __post_init__(self):
        given = np.asarray(self.counts).reshape(-1)
        if given.dtype != np.uint32:
            _refuse_bad_counts(given)
            given = given.astype(np.uint32)
        size = tuple(int(side) for side in self.size)
        if int(given.sum(dtype=np.int64)) != prod(size):
            raise DataError(
                f"the run lengths add up to {int(given.sum(dtype=np.int64))} pixels, but a mask of "
                f"size {size} has {prod(size)}; is the size (height, width)?"
            )
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "counts", given)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Runs):
            return NotImplemented
        return self.size == other.size and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash((self.size, self.counts.tobytes()))


def _refuse_bad_counts(counts: np.ndarray) -> None:
    """Raise unless the counts are whole numbers from 0 to 2**32 - 1."""
    whole = counts.dtype.kind in "iu" or (
        counts.dtype.kind == "f" and bool(np.all(counts == np.floor(counts)))
    )
    if counts.size and not (whole and counts.min() >= 0 and counts.max() < 2**32):
        raise DataError("run lengths have to be whole numbers from 0 upwards")


def encode(mask: np.ndarray) -> Runs:
    """Return the run lengths of a mask.

    Args:
        mask: array (h, w) or (d, h, w); what is not zero is foreground.
    """
    mask = np.asarray(mask)
    flat = (mask if mask.dtype == bool else mask != 0).reshape(-1, order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start = [0, 0] if flat.size and flat[0] else [0]
    ends = np.concatenate([start, changes, [flat.size]])
    return Runs(mask.shape, np.diff(ends).astype(np.uint32))


def decode(runs: Runs) -> np.ndarray:
    """Return the mask, a bool array of `runs.size`."""
    values = np.arange(len(runs.counts)) % 2 == 1
    return np.repeat(values, runs.counts).reshape(runs.size, order="F")


def to_string(runs: Runs) -> str:
    """Return COCO's compressed string: five bits a character, run lengths less those two before."""
    values = runs.counts.astype(np.int64)
    values[3:] -= runs.counts[1:-2]
    # A value needs n characters when it fits in 5 n bits with its sign.
    magnitude = np.where(values < 0, ~values, values)
    limits = np.int64(16) << (5 * np.arange(7))
    lengths = np.searchsorted(limits, magnitude, side="right") + 1
    place = ranges(lengths)
    digits = (np.repeat(values, lengths) >> (5 * place)) & 31
    digits[place < np.repeat(lengths, lengths) - 1] |= 32
    return (digits + 48).astype(np.uint8).tobytes().decode("ascii")


def from_string(string: str | bytes, size: Sequence[int]) -> Runs:
    """Return the runs of COCO's compressed string.

    Args:
        string: as pycocotools writes it.
        size: shape of the mask, (h, w) or (d, h, w).

    Raises:
        DataError: if the string is damaged or does not fit the size.
    """
    raw = string if isinstance(string, bytes) else str(string).encode("latin-1", "replace")
    digits = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    last = (digits & 32) == 0
    if digits.size and (digits.min() < 0 or digits.max() > 63 or not last[-1]):
        raise DataError(f"{raw[:20]!r} is not a run-length string of COCO, or it was cut off")
    ends = np.flatnonzero(last)
    lengths = np.diff(ends, prepend=-1)
    if lengths.size and lengths.max() > 7:
        raise DataError(f"{raw[:20]!r} holds a run length of more than 32 bits")
    parts = (digits & 31) << (5 * ranges(lengths))
    values = np.add.reduceat(parts, ends - lengths + 1) if ends.size else parts
    negative = (digits[ends] & 16) != 0
    values = values - np.where(negative, np.int64(1) << (5 * lengths), 0)
    for start in (1, 2):
        values[start::2] = np.cumsum(values[start::2])
    return Runs(tuple(size), values)


def from_polygons(polygons: Sequence[Sequence[float]], size: Sequence[int]) -> Runs:
    """Rasterise the polygons of one object and return their union.

    The pixels are those that pycocotools fills (`frPyObjects`, then `merge`): the outline is drawn
    on a grid five times finer and crossed with the centres of the columns.

    Args:
        polygons: each [x1, y1, x2, y2, ...] or (n, 2), in pixels, three points at least.
        size: (h, w).

    Raises:
        DataError: if a polygon has fewer than three points or a coordinate is not finite.
    """
    return from_polygon_lists([polygons], [size])[0]


def from_polygon_lists(
    objects: Sequence[Sequence[Sequence[float]]], sizes: Sequence[Sequence[int]]
) -> list[Runs]:
    """Rasterise many objects at once, several times faster than one by one.

    Args:
        objects: for each object its polygons, as in `from_polygons`.
        sizes: for each object the size (h, w) of its image.

    Raises:
        DataError: as in `from_polygons`.
    """
    result: list[Runs] = []
    for start in range(0, len(objects), OBJECTS_AT_ONCE):
        some = slice(start, start + OBJECTS_AT_ONCE)
        shapes = [(int(height), int(width)) for height, width in sizes[some]]
        counts = fill(objects[some], shapes)
        result += [Runs(shape, each) for shape, each in zip(shapes, counts, strict=True)]
    return result


def area(runs: Runs | Sequence[Runs]) -> int | np.ndarray:
    """Return the number of foreground pixels: an int, or (N,) int64 for a list of N."""
    if isinstance(runs, Runs):
        return int(runs.counts[1::2].sum(dtype=np.int64))
    return Foreground(runs).areas


def to_box(runs: Runs | Sequence[Runs]) -> np.ndarray:
    """Return the smallest box around the mask, all zeros where the mask is empty.

    Returns:
        float64 corners in pixels, (x1, y1, x2, y2) or (x1, y1, z1, x2, y2, z2), the upper ones
        one past the last pixel; (N, 2 * dims) for a list of N masks of equal dims.
    """
    if isinstance(runs, Runs):
        return Foreground([runs]).boxes[0]
    return Foreground(runs).boxes


def iou(
    detections: Sequence[Runs], truths: Sequence[Runs], crowd: Sequence[bool] | None = None
) -> np.ndarray:
    """Return the overlaps of all detections with all truths, as pycocotools computes them.

    Args:
        detections: D masks.
        truths: T masks of the same size.
        crowd: (T,); over a crowd the intersection is divided by the detection's area alone.

    Returns:
        (D, T) float64 in [0, 1]; 0 where either mask is empty.
    """
    first, second = Foreground(detections), Foreground(truths)
    matrix = np.zeros((len(detections), len(truths)))
    if matrix.size:
        row, column = _touching(first.boxes, second.boxes)
        matrix[row, column] = overlaps(first, second, row, column, crowd)
    return matrix


def pair_iou(
    detections: Sequence[Runs],
    truths: Sequence[Runs],
    rows: np.ndarray,
    columns: np.ndarray,
    crowd: Sequence[bool] | None = None,
) -> np.ndarray:
    """Return the overlaps of chosen pairs only: for many images at once.

    Args:
        detections: D masks, of any sizes.
        truths: T masks.
        rows: (P,) indices into the detections.
        columns: (P,) indices into the truths; both masks of a pair have the same size.
        crowd: (T,), as in `iou`.

    Returns:
        (P,) float64.
    """
    first, second = Foreground(detections), Foreground(truths)
    rows, columns = np.asarray(rows, np.int64), np.asarray(columns, np.int64)
    values = np.zeros(len(rows))
    if len(rows) == 0:
        return values
    a, b = first.boxes[rows], second.boxes[columns]
    dims = a.shape[1] // 2
    low, high = np.maximum(a[:, :dims], b[:, :dims]), np.minimum(a[:, dims:], b[:, dims:])
    near = np.flatnonzero((high > low).all(axis=1))
    values[near] = overlaps(first, second, rows[near], columns[near], crowd)
    return values


def _touching(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the index pairs of the boxes that overlap."""
    dims = a.shape[1] // 2
    near = np.ones((len(a), len(b)), bool)
    for axis in range(dims):
        near &= a[:, None, axis] < b[None, :, dims + axis]
        near &= b[None, :, axis] < a[:, None, dims + axis]
    return np.nonzero(near)
