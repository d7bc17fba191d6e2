"""Count pairs of labels fast: what confusion matrices and overlaps of instances share."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.errors import DataError

CHUNK = 1 << 18
"""Pixels counted at once: few enough that their keys stay in the processor's cache."""

_ROW = 1024
"""Pixels looked at together when the way of counting is chosen."""

_FEW = 3
"""Runs are counted instead of pixels where they are at least this many pixels long on average."""


def as_labels(labels: Any, side: str) -> NDArray:
    """Return labels as a numpy array of integers; torch tensors come from any device."""
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    labels = np.asarray(labels)
    if labels.dtype == bool:
        return labels.view(np.uint8)
    if labels.dtype.kind not in "iu":
        raise DataError(
            f"The {side} has type {labels.dtype}; give integer labels (for probabilities their "
            "argmax, or a threshold)."
        )
    # Files may store the other byte order.
    return labels if labels.dtype.isnative else labels.astype(labels.dtype.newbyteorder("="))


def chunks(truth: NDArray, prediction: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield flat pieces of two arrays of the same shape, `CHUNK` pixels each."""
    if truth.flags.f_contiguous and prediction.flags.f_contiguous:
        # Volumes often come in Fortran order; transposing both spares two copies.
        truth, prediction = truth.T, prediction.T
    truth, prediction = truth.reshape(-1), prediction.reshape(-1)
    for start in range(0, truth.size, CHUNK):
        yield truth[start : start + CHUNK], prediction[start : start + CHUNK]


def joint_counts(truth: NDArray, prediction: NDArray, classes: int) -> NDArray[np.int64]:
    """Return how often each pair of labels occurs in one chunk: flat (classes^2), truth slow.

    The labels must be in range (`check_range`).
    """
    narrow = np.min_scalar_type(classes - 1)
    if truth.itemsize > narrow.itemsize or prediction.itemsize > narrow.itemsize:
        # Everything below reads the labels several times: fewer bytes pay off at once.
        truth, prediction = truth.astype(narrow), prediction.astype(narrow)
    if not has_long_runs(truth, prediction):
        return np.bincount(_keys(truth, prediction, classes), minlength=classes**2)
    ends, lengths = run_lengths(truth, prediction)
    # Weights are summed as float64, which is exact for the pixels of one chunk.
    keys = _keys(truth[ends], prediction[ends], classes)
    return np.bincount(keys, lengths, classes**2).astype(np.int64)


def _keys(truth: NDArray, prediction: NDArray, classes: int) -> NDArray:
    """Return one number per pixel that stands for its two labels."""
    # The smallest type that holds every key: the arithmetic then moves the fewest bytes.
    key_type = np.min_scalar_type(classes**2 - 1)
    keys = truth.astype(key_type)
    np.multiply(keys, key_type.type(classes), out=keys)
    return np.add(keys, prediction, out=keys, casting="unsafe")


def run_lengths(first: NDArray, second: NDArray) -> tuple[NDArray, NDArray]:
    """Return where runs of equal pairs end in two flat arrays, and how long each is."""
    ends = np.append(np.flatnonzero(_changes(first, second)), first.size - 1)
    return ends, np.diff(ends, prepend=-1)


def has_long_runs(first: NDArray, second: NDArray) -> bool:
    """Tell whether counting runs is worth it, by a look at a part of a chunk.

    Label maps are mostly areas of one label. Counting the same key again and again makes each
    addition wait for the one before; comparing neighbours does not.
    """
    if first.size > 16 * _ROW:
        # Rows from all over the chunk: its first pixels alone may be an empty border.
        whole = first.size - first.size % _ROW
        first, second = (part[:whole].reshape(-1, _ROW)[::16] for part in (first, second))
    return np.count_nonzero(_changes(first, second)) * _FEW < first.size


def _changes(first: NDArray, second: NDArray) -> NDArray[np.bool_]:
    """Return, for every pixel but the last, whether the next one has another pair of labels."""
    changes = first[..., 1:] != first[..., :-1]
    changes |= second[..., 1:] != second[..., :-1]
    return changes


def check_range(labels: NDArray, classes: int, side: str) -> None:
    """Raise a `DataError` where a label is not one of 0 to classes - 1."""
    if labels.size == 0:
        return
    # Read as unsigned, negative labels are larger than any class: one pass finds both.
    if labels.view(f"u{labels.itemsize}").max() >= classes:
        low, high = int(labels.min()), int(labels.max())
        raise DataError(
            f"The {side} holds the label {low if low < 0 else high}; a matrix of {classes} classes "
            f"knows 0 to {classes - 1}. Give the number of classes that the maps have, or name a "
            "value of the truth to leave out as ignore."
        )


def compacted(labels: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the labels that occur, ascending, and for each element its place among them.

    The same as `numpy.unique(labels, return_inverse=True)`, without sorting where labels are small.
    """
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high > 4 * labels.size + CHUNK:
        ids, places = np.unique(labels, return_inverse=True)
        return ids.astype(np.int64), places
    occurs = np.zeros(high + 1, bool)
    occurs[labels] = True
    places = np.cumsum(occurs) - 1
    return np.flatnonzero(occurs), places[labels]
