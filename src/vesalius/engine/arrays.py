"""Checks of what scores and decisions are computed from: truth and probabilities as arrays."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError


def checked_truth(truth: ArrayLike, *, name: str = "truth") -> NDArray[np.bool_]:
    """Return truth or decisions as bool (N, labels).

    Raises:
        DataError: another shape, nothing in it, or values other than 0 and 1.
    """
    array = np.asarray(truth)
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(
            f"The {name} has shape {array.shape}; give (records, labels), at least one of each."
        )
    if array.dtype == np.bool_:
        return array
    if not ((array == 0) | (array == 1)).all():
        raise DataError(f"The {name} holds values other than 0 and 1. Give one column per label.")
    return array.astype(np.bool_)


def checked_probabilities(
    probabilities: ArrayLike, shape: tuple[int, ...] | None = None
) -> NDArray[np.float64]:
    """Return probabilities as float64 (N, labels).

    Raises:
        DataError: another shape than `shape` (or than two dimensions), values outside 0 to 1, NaN.
    """
    # + 0.0 turns -0.0 into 0.0: values are later sorted by their bits.
    array = np.asarray(probabilities, dtype=np.float64) + 0.0
    if array.ndim != 2 or (shape is not None and array.shape != shape):
        raise DataError(
            f"The probabilities have shape {array.shape}; they need {shape or '(records, labels)'}."
        )
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise DataError(
            f"The probabilities range from {array.min()} to {array.max()}; they lie between 0 and "
            "1 (give the sigmoid of logits), without NaN."
        )
    return array


def divide(part: ArrayLike, whole: ArrayLike, *, otherwise: float = 0.0) -> NDArray[np.float64]:
    """Return part / whole, and `otherwise` where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(part.shape, otherwise), where=whole != 0)
