"""Change the voxel size of images and label maps.

Convention: the field of view, from the outer edge of the first voxel to the outer edge of the
last, stays exactly where it is; voxel k of n covers [k/n, (k+1)/n] of it and its value belongs to
the middle. The new size is `round(size * spacing / new_spacing)` per axis, at least 1, so the new
voxels may differ from `new_spacing` by up to half a voxel over the whole axis.

Images: linear (order 1) or cubic (order 3, Keys 1981, a = -0.5; may overshoot) interpolation along
each axis, with the kernel widened by the shrinking factor, so that fine detail does not alias.
Labels: nearest voxel (order 0), or (order 1) linear interpolation of every label's indicator and
the label with the highest value; where labels tie the background wins, then the lower label.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vesalius.errors import DataError, RecipeError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def resample(
    array: np.ndarray,
    *,
    spacing: Sequence[float],
    new_spacing: Sequence[float],
    order: int = 1,
    is_label: bool = False,
) -> np.ndarray:
    """Resample to another voxel size.

    Args:
        array: `(C, *size)` intensities, or `(*size)` integer labels.
        spacing, new_spacing: voxel size per axis of `size`, in mm.
        order: 0 nearest, 1 linear, 3 cubic (images only).
        is_label: whether `array` is a label map.

    Returns:
        float32 intensities or labels of the same dtype. At the same size an unchanged copy.

    Raises:
        RecipeError: an order that does not exist; spacings that are not positive or too few.
    """
    dims = array.ndim - (0 if is_label else 1)
    size = resampled_size(array.shape[-dims:], spacing=spacing, new_spacing=new_spacing)
    return resample_to(array, size, order=order, is_label=is_label)


def resample_to(
    array: np.ndarray, size: Sequence[int], *, order: int = 1, is_label: bool = False
) -> np.ndarray:
    """Resample to an exact size, as `resample`; takes a prediction back to its image's grid.

    Raises:
        RecipeError: an order that does not exist, or a size with too few axes.
    """
    allowed = (0, 1) if is_label else (0, 1, 3)
    if order not in allowed:
        what = "labels" if is_label else "images"
        raise RecipeError(f"order {order} is none of {allowed}, the orders for {what}.")
    old = array.shape if is_label else array.shape[1:]
    size = tuple(int(n) for n in size)
    if len(size) != len(old) or min(size) < 1:
        raise RecipeError(f"The size {size} does not fit an array with the size {old}.")
    if size == tuple(old):
        return array.copy() if is_label else array.astype(np.float32)
    if order == 0:
        array = array if is_label else array.astype(np.float32)
        return _nearest(array, size)
    weights = [
        axis_weights(n, m, order=order) if n != m else None for n, m in zip(old, size, strict=True)
    ]
    if is_label:
        return _resample_labels(array, size, weights)
    return np.stack([_apply(channel.astype(np.float32), weights) for channel in array])


def resampled_size(
    size: Sequence[int], *, spacing: Sequence[float], new_spacing: Sequence[float]
) -> tuple[int, ...]:
    """Return `round(size * spacing / new_spacing)` per axis, at least 1."""
    if not len(size) == len(spacing) == len(new_spacing):
        raise RecipeError(
            f"{len(size)} axes need as many spacings; got {tuple(spacing)} and {tuple(new_spacing)}"
        )
    if not all(np.isfinite(v) and v > 0 for v in (*spacing, *new_spacing)):
        raise RecipeError(f"Spacings must be positive: {tuple(spacing)}, {tuple(new_spacing)}")
    lengths = zip(size, spacing, new_spacing, strict=True)
    return tuple(max(1, round(n * old / new)) for n, old, new in lengths)


def resampled_affine(
    affine: np.ndarray, *, size: Sequence[int], new_size: Sequence[int]
) -> np.ndarray:
    """Return the affine of the resampled grid: the same field of view in other voxels."""
    scale = np.asarray(size, float) / np.asarray(new_size, float)
    change = np.diag([*scale, 1.0])
    change[:3, 3] = (scale - 1) / 2
    return affine @ change


def median_spacing(spacings: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the median per axis, in mm.

    Raises:
        DataError: no spacings, or some for pictures and some for volumes.
    """
    lengths = {len(spacing) for spacing in spacings}
    if len(lengths) != 1:
        raise DataError(
            f"The images have {sorted(lengths) or 'no'} axes. Keep pictures and volumes apart."
        )
    return tuple(float(value) for value in np.median(np.asarray(spacings, float), axis=0))


def axis_weights(size: int, new_size: int, *, order: int) -> "csr_array":
    """Return the `(new_size, size)` matrix that resamples one axis; every row sums to 1."""
    from scipy.sparse import csr_array

    scale = size / new_size
    widen = max(scale, 1.0)
    radius = widen * (1 if order == 1 else 2)
    centres = (np.arange(new_size) + 0.5) * scale - 0.5
    first = np.ceil(centres - radius).astype(int)
    taps = first[:, None] + np.arange(int(2 * radius) + 1)
    kernel = _linear if order == 1 else _keys
    weights = kernel((taps - centres[:, None]) / widen)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(new_size), taps.shape[1])
    # beyond the edge the edge voxel goes on; csr adds up what falls on one place
    columns = taps.clip(0, size - 1).ravel()
    matrix = csr_array((weights.ravel(), (rows, columns)), shape=(new_size, size))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix.astype(np.float32)


def _linear(distance: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - np.abs(distance))


def _keys(distance: np.ndarray) -> np.ndarray:
    x = np.abs(distance)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _apply(array: np.ndarray, weights: "Sequence[csr_array | None]") -> np.ndarray:
    """Resample every axis of `(*size)` in turn; None leaves an axis as it is."""
    for axis, matrix in enumerate(weights):
        if matrix is not None:
            moved = np.moveaxis(array, axis, 0)
            flat = matrix @ np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
            array = np.moveaxis(flat.reshape(-1, *moved.shape[1:]), 0, axis)
    return np.ascontiguousarray(array)


def _nearest(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    for axis in range(-len(size), 0):
        old, new = array.shape[axis], size[axis]
        # integers: (k + 0.5) * old / new without rounding at the boundary
        array = array.take((2 * np.arange(new) + 1) * old // (2 * new), axis=axis)
    return array


def _resample_labels(labels: np.ndarray, size, weights: "Sequence[csr_array | None]"):
    """Let every label compete with its interpolated indicator, inside its bounding box."""
    from scipy.ndimage import find_objects

    values, ranks = _foreground_ranks(labels)
    best, total = np.zeros(size, np.float32), np.zeros(size, np.float32)
    winner = np.zeros(size, np.int32)
    for rank, box in enumerate(find_objects(ranks), start=1):
        cuts = [_cut(matrix, part) for matrix, part in zip(weights, box, strict=True)]
        window = tuple(rows for rows, _ in cuts)
        share = _apply((ranks[box] == rank).astype(np.float32), [matrix for _, matrix in cuts])
        total[window] += share
        better = share > best[window]
        winner[window][better] = rank
        best[window][better] = share[better]
    # a millionth, because the shares are rounded
    winner[1.0 - total >= best - 1e-6] = 0
    return np.concatenate([[0], values]).astype(labels.dtype)[winner]


def _cut(matrix: "csr_array | None", part: slice) -> "tuple[slice, csr_array | None]":
    """Return the rows that the columns `part` reach, and the matrix between the two."""
    if matrix is None:
        return part, None
    reached = np.flatnonzero(np.diff(matrix[:, part].indptr))
    rows = slice(int(reached[0]), int(reached[-1]) + 1)
    return rows, matrix[rows, part]


def _foreground_ranks(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels other than 0, ascending, and a map of their ranks from 1 (0 stays 0)."""
    if labels.dtype in (bool, np.uint8, np.uint16):
        present = np.bincount(labels.ravel()) > 0
        present[0] = False
        ranks = np.where(present, np.cumsum(present), 0).astype(np.int32)
        return np.flatnonzero(present), ranks[labels.astype(np.intp)]
    values = np.unique(labels)
    values = values[values != 0]
    ranks = np.searchsorted(values, labels).astype(np.int32) + 1
    return values, np.where(labels == 0, 0, ranks)
