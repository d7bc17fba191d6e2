"""The confusion matrix of label maps, and the scores that follow from it.

Counts are exact int64, so a matrix filled piece by piece, or merged from several processes, is the
same as one filled at once. All scores are global: pixels of all images count alike.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError

CHUNK = 1 << 18
"""Pixels counted at once: few enough that their keys stay in the processor's cache."""


class ConfusionMatrix:
    """Counts of pixels by true and predicted label.

    A score that is 0 / 0 is NaN; a class that occurs neither in the truth nor in the prediction
    is NaN in every score. Means leave NaN out.

    Args:
        classes: number of labels, which are 0 to classes - 1.
        ignore: pixels whose truth has this value are left out (their prediction may be anything).
            It may be one of the labels, or not.

    Attributes:
        counts: int64 (classes, classes); rows are the truth, columns the prediction.

    Example:
        >>> matrix = ConfusionMatrix(2)
        >>> matrix.update([[0, 1], [1, 1]], [[0, 1], [0, 1]])
        >>> matrix.counts.tolist()
        [[1, 0], [1, 2]]
        >>> matrix.dice().round(3).tolist()
        [0.667, 0.8]
    """

    def __init__(self, classes: int, ignore: int | None = None):
        if classes < 1:
            raise DataError(f"classes is {classes}; a confusion matrix needs at least 1.")
        self.classes = int(classes)
        self.ignore = ignore
        self.counts = np.zeros((self.classes, self.classes), dtype=np.int64)

    @classmethod
    def from_counts(cls, counts: ArrayLike, ignore: int | None = None) -> "ConfusionMatrix":
        """Return a matrix with these counts (classes, classes), rows the truth."""
        counts = np.asarray(counts)
        square = counts.ndim == 2 and counts.shape[0] == counts.shape[1]
        if not square or counts.dtype.kind not in "iu" or (counts < 0).any():
            raise DataError(
                f"Counts of shape {counts.shape} and type {counts.dtype} are no confusion matrix. "
                "Give a square array of non-negative integers."
            )
        matrix = cls(len(counts), ignore)
        matrix.counts += counts.astype(np.int64)
        return matrix

    def state_dict(self) -> dict[str, Any]:
        """Return counts and settings, JSON-ready."""
        return {"counts": self.counts.tolist(), "ignore": self.ignore}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> "ConfusionMatrix":
        """Return the matrix that `state_dict` described."""
        return cls.from_counts(state["counts"], state["ignore"])

    def update(self, truth: Any, prediction: Any) -> None:
        """Count the pixels of two label maps of the same shape (numpy or torch, any integers).

        Raises:
            DataError: shapes differ, values are not integers, or a label is out of range (nothing
                is counted then).
        """
        truth, prediction = _as_array(truth, "truth"), _as_array(prediction, "prediction")
        if truth.shape != prediction.shape:
            raise DataError(
                f"The truth has shape {truth.shape}, the prediction {prediction.shape}. Give both "
                "as label maps of the same size."
            )
        counts = np.zeros(self.classes**2, dtype=np.int64)
        for true_labels, predicted_labels in _chunks(truth, prediction):
            ignored = 0
            if self.ignore is not None:
                # Counted as (0, 0) and taken off again: much faster than picking pixels out.
                valid = true_labels != self.ignore
                ignored = valid.size - np.count_nonzero(valid)
                if ignored:
                    true_labels, predicted_labels = true_labels * valid, predicted_labels * valid
            counts += self._count(true_labels, predicted_labels)
            counts[0] -= ignored
        self.counts += counts.reshape(self.classes, self.classes)

    def merge(self, other: "ConfusionMatrix") -> None:
        """Add the counts of another matrix.

        Raises:
            DataError: it has other classes, or ignores another value.
        """
        if (self.classes, self.ignore) != (other.classes, other.ignore):
            raise DataError(
                f"A matrix of {self.classes} classes (ignore={self.ignore}) cannot take one of "
                f"{other.classes} (ignore={other.ignore}). Count both with the same settings."
            )
        self.counts += other.counts

    def dice(self) -> NDArray[np.float64]:
        """Return 2 TP / (2 TP + FP + FN) per class."""
        return _ratio(2 * self._hits, self._true + self._predicted)

    def iou(self) -> NDArray[np.float64]:
        """Return TP / (TP + FP + FN) per class."""
        return _ratio(self._hits, self._true + self._predicted - self._hits)

    def precision(self) -> NDArray[np.float64]:
        """Return TP / (TP + FP) per class; NaN where a class is never predicted."""
        return _ratio(self._hits, self._predicted)

    def recall(self) -> NDArray[np.float64]:
        """Return TP / (TP + FN) per class; NaN where a class is not in the truth."""
        return _ratio(self._hits, self._true)

    def specificity(self) -> NDArray[np.float64]:
        """Return TN / (TN + FP) per class; NaN where a class is in neither, or is all the truth."""
        negatives = self._total - self._true
        false_positives = self._predicted - self._hits
        occurs = self._true + self._predicted > 0
        return np.where(occurs, _ratio(negatives - false_positives, negatives), np.nan)

    def mean_iou(self) -> float:
        """Return the mean of `iou` over classes that occur in truth or prediction."""
        return _mean(self.iou())

    def mean_dice(self) -> float:
        """Return the mean of `dice` over classes that occur in truth or prediction."""
        return _mean(self.dice())

    def pixel_accuracy(self) -> float:
        """Return the fraction of pixels whose label is right."""
        return float(_ratio(self._hits.sum(), self._total))

    def mean_pixel_accuracy(self) -> float:
        """Return the mean of `recall` over classes that occur in the truth."""
        return _mean(self.recall())

    def frequency_weighted_iou(self) -> float:
        """Return the mean of `iou`, weighted by how often a class occurs in the truth."""
        if self._total == 0:
            return float("nan")
        return float(np.nansum(self.iou() * self._true) / self._total)

    def __repr__(self) -> str:
        return f"ConfusionMatrix({self.classes}, ignore={self.ignore}): {self._total} pixels"

    def _count(self, truth: NDArray, prediction: NDArray) -> NDArray[np.int64]:
        """Return the flat counts of one chunk, after a look at its range."""
        _check_range(truth, self.classes, "truth")
        _check_range(prediction, self.classes, "prediction")
        # The smallest type that holds every key: the arithmetic then moves the fewest bytes.
        key_type = np.min_scalar_type(self.classes**2 - 1)
        keys = truth.astype(key_type)
        np.multiply(keys, key_type.type(self.classes), out=keys)
        np.add(keys, prediction, out=keys, casting="unsafe")
        return np.bincount(keys, minlength=self.classes**2)

    @property
    def _hits(self) -> NDArray[np.int64]:
        return np.diagonal(self.counts)

    @property
    def _true(self) -> NDArray[np.int64]:
        return self.counts.sum(axis=1)

    @property
    def _predicted(self) -> NDArray[np.int64]:
        return self.counts.sum(axis=0)

    @property
    def _total(self) -> int:
        return int(self.counts.sum())


def _as_array(labels: Any, side: str) -> NDArray:
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
    return labels


def _chunks(truth: NDArray, prediction: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    if truth.flags.f_contiguous and prediction.flags.f_contiguous:
        # Volumes often come in Fortran order; transposing both spares two copies.
        truth, prediction = truth.T, prediction.T
    truth, prediction = truth.reshape(-1), prediction.reshape(-1)
    for start in range(0, truth.size, CHUNK):
        yield truth[start : start + CHUNK], prediction[start : start + CHUNK]


def _check_range(labels: NDArray, classes: int, side: str) -> None:
    if labels.size == 0:
        return
    low = 0 if labels.dtype.kind == "u" else int(labels.min())
    high = int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"The {side} holds the label {low if low < 0 else high}; a matrix of {classes} classes "
            f"knows 0 to {classes - 1}. Give the number of classes that the maps have, or name a "
            "value of the truth to leave out as ignore."
        )


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """Divide; 0 / 0 is NaN without a warning."""
    with np.errstate(invalid="ignore"):
        return np.true_divide(numerator, denominator)


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean without NaN; NaN if nothing is left."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else float("nan")
