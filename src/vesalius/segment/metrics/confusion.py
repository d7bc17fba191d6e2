"""The confusion matrix of label maps, and the scores that follow from it.

Counts are exact int64, so a matrix filled piece by piece, or merged from several processes, is the
same as one filled at once. All scores are global: pixels of all images count alike.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError
from vesalius.segment.metrics.counting import as_labels, check_range, chunks, joint_counts


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
        truth, prediction = as_labels(truth, "truth"), as_labels(prediction, "prediction")
        if truth.shape != prediction.shape:
            raise DataError(
                f"The truth has shape {truth.shape}, the prediction {prediction.shape}. Give both "
                "as label maps of the same size."
            )
        counts = np.zeros(self.classes**2, dtype=np.int64)
        for true_labels, predicted_labels in chunks(truth, prediction):
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

    def tp(self) -> NDArray[np.int64]:
        """Return true positives per class: pixels of the class that are predicted as it."""
        return self._hits.copy()

    def fp(self) -> NDArray[np.int64]:
        """Return false positives per class: pixels predicted as the class that are not of it."""
        return self._predicted - self._hits

    def fn(self) -> NDArray[np.int64]:
        """Return false negatives per class: pixels of the class that are predicted as another."""
        return self._true - self._hits

    def tn(self) -> NDArray[np.int64]:
        """Return true negatives per class: all other pixels."""
        return self._total - self._true - self._predicted + self._hits

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
        return self._where_it_occurs(_ratio(self.tn(), self._total - self._true))

    def accuracy(self) -> NDArray[np.float64]:
        """Return (TP + TN) / all pixels per class; NaN where a class is in neither.

        High for every small class, because TN counts: prefer Dice or MCC. The share of pixels
        whose label is right is `pixel_accuracy`.
        """
        return self._where_it_occurs(_ratio(self.tp() + self.tn(), self._total))

    def f_beta(self, beta: float = 1.0) -> NDArray[np.float64]:
        """Return (1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP) per class (van Rijsbergen 1979).

        Recall weighs `beta` times as much as precision; beta 1 is `dice`.

        Raises:
            DataError: beta is not a positive number.
        """
        if not 0 < beta < np.inf:
            raise DataError(f"beta is {beta}; give a positive number, 1 for Dice, 2 for recall.")
        hits = (1 + beta**2) * self._hits
        return _ratio(hits, hits + beta**2 * self.fn() + self.fp())

    def mcc(self) -> NDArray[np.float64]:
        """Return Matthews' correlation coefficient (1975) of each class against the rest, -1 to 1.

        Where it is 0 / 0 although the class occurs it is 1 for a perfect answer and else 0, so
        that a missed class is not dropped; NaN for a class in neither.
        """
        # In float64: the products of four counts overflow int64.
        tp, fp, fn, tn = (
            part.astype(np.float64) for part in (self.tp(), self.fp(), self.fn(), self.tn())
        )
        spread = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
        return self._where_it_occurs(
            np.where(spread > 0, _ratio(tp * tn - fp * fn, spread), fp + fn == 0)
        )

    def kappa(self) -> NDArray[np.float64]:
        """Return Cohen's kappa (1960) of each class against the rest: agreement beyond chance.

        1 for a perfect answer; NaN for a class in neither.
        """
        total, true, predicted = float(self._total), self._true, self._predicted
        chance = _ratio(true * 1.0 * predicted + (total - true) * (total - predicted), total**2)
        score = _ratio(_ratio(self.tp() + self.tn(), total) - chance, 1 - chance)
        return self._where_it_occurs(np.where(self.fp() + self.fn() == 0, 1.0, score))

    def overall_mcc(self) -> float:
        """Return the correlation of all classes at once: R_K of Gorodkin (2004), equation 8.

        Where it is 0 / 0 (a single class in truth or prediction) it is 1 for a perfect answer and
        else 0, as in scikit-learn; NaN without pixels.
        """
        true, predicted = self._true.astype(np.float64), self._predicted.astype(np.float64)
        total, hits = float(self._total), float(self._hits.sum())
        spread = np.sqrt(total**2 - predicted @ predicted) * np.sqrt(total**2 - true @ true)
        if total > 0 and spread == 0:
            return float(hits == total)
        return float(_ratio(hits * total - true @ predicted, spread))

    def overall_kappa(self) -> float:
        """Return Cohen's kappa (1960) of all classes at once; 1 for a perfect answer."""
        true, predicted = self._true.astype(np.float64), self._predicted.astype(np.float64)
        if self._total and self._hits.sum() == self._total:
            return 1.0
        chance = _ratio(true @ predicted, float(self._total) ** 2)
        return float(_ratio(self.pixel_accuracy() - chance, 1 - chance))

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
        check_range(truth, self.classes, "truth")
        check_range(prediction, self.classes, "prediction")
        return joint_counts(truth, prediction, self.classes)

    def _where_it_occurs(self, scores: NDArray) -> NDArray[np.float64]:
        return np.where(self._true + self._predicted > 0, scores, np.nan)

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


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """Divide; 0 / 0 is NaN without a warning."""
    with np.errstate(invalid="ignore"):
        return np.true_divide(numerator, denominator)


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean without NaN; NaN if nothing is left."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else float("nan")
