"""Bounding boxes of the labels of a map, found in one pass."""

import numpy as np
from numpy.typing import NDArray

TABLE = 1 << 16
"""Labels below this are found in one pass; a table of all larger ones could be huge."""
SLAB = 1 << 20
"""Voxels that are searched for labels at once, in whole slices."""
Box = tuple[slice, ...]


def label_boxes(labels: NDArray) -> dict[int, Box]:
    """Return the bounding box of every label but 0."""
    if labels.size == 0:
        return {}
    low, high = 0 if labels.dtype.kind == "u" else int(labels.min()), int(labels.max())
    if low >= 0 and high < TABLE:
        return _small(labels, high)
    values, index = np.unique(labels, return_inverse=True)
    # Numbered from 1 on, because number 0 would have no box.
    found = _small(index.reshape(labels.shape) + 1, len(values))
    return {int(values[number - 1]): box for number, box in found.items() if values[number - 1]}


def _small(labels: NDArray, high: int) -> dict[int, Box]:
    """Return the bounding boxes of the labels 1 to high."""
    from scipy.ndimage import find_objects

    boxes: dict[int, Box] = {}
    if not high:
        return boxes
    # find_objects visits every voxel; in thin slabs most of them are outside what is not 0.
    slices = max(16, SLAB * len(labels) // labels.size)
    for start in range(0, len(labels), slices):
        slab = labels[start : start + slices]
        filled = np.bitwise_or.reduce(slab, axis=0)
        sides = [_extent(filled, axis) for axis in range(filled.ndim)]
        if None in sides:
            continue
        corner = (start, *(side.start for side in sides))
        for value, box in enumerate(find_objects(slab[(slice(None), *sides)], high), 1):
            if box is not None:
                moved = tuple(
                    slice(s.start + c, s.stop + c) for s, c in zip(box, corner, strict=True)
                )
                boxes[value] = around(boxes[value], moved) if value in boxes else moved
    return boxes


def _extent(filled: NDArray, axis: int) -> slice | None:
    """Return from where to where an array is not 0 along an axis; None if it is 0."""
    others = tuple(a for a in range(filled.ndim) if a != axis)
    found = np.flatnonzero(filled.any(axis=others))
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else None


def around(*boxes: Box, margin: int = 0) -> Box:
    """Return the box around boxes, with a margin that does not reach below 0."""
    return tuple(
        slice(max(0, min(s.start for s in along) - margin), max(s.stop for s in along) + margin)
        for along in zip(*boxes, strict=True)
    )
