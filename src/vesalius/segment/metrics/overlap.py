"""Scores of one label that follow from four counts: true and false positives and negatives.

A score is NaN where it is undefined (0 / 0). MCC and kappa follow scikit-learn where their formula
is 0 / 0 although the label occurs: 0 for a constant answer, 1 for a perfect one, so a missed organ
is not dropped from a mean.
"""

import math
from dataclasses import dataclass

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Counts:
    """Voxels of one label, counted exactly.

    Attributes:
        tp: in truth and prediction.
        tn: in neither.
        fp: in the prediction alone.
        fn: in the truth alone.
    """

    tp: int
    tn: int
    fp: int
    fn: int

    @property
    def truth(self) -> int:
        """Voxels of the truth."""
        return self.tp + self.fn

    @property
    def prediction(self) -> int:
        """Voxels of the prediction."""
        return self.tp + self.fp

    @property
    def total(self) -> int:
        """Voxels that count at all."""
        return self.tp + self.tn + self.fp + self.fn

    @property
    def absent(self) -> bool:
        """Whether neither side has the label."""
        return self.truth + self.prediction == 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.tp + other.tp, self.tn + other.tn, self.fp + other.fp, self.fn + other.fn
        )


def dice(counts: Counts) -> float:
    """Return 2 TP / (2 TP + FP + FN) (Dice 1945)."""
    return ratio(2 * counts.tp, counts.truth + counts.prediction)


def iou(counts: Counts) -> float:
    """Return TP / (TP + FP + FN) (Jaccard 1912)."""
    return ratio(counts.tp, counts.tp + counts.fp + counts.fn)


def precision(counts: Counts) -> float:
    """Return TP / (TP + FP); NaN where nothing is predicted."""
    return ratio(counts.tp, counts.prediction)


def recall(counts: Counts) -> float:
    """Return TP / (TP + FN); NaN where the truth is empty."""
    return ratio(counts.tp, counts.truth)


def specificity(counts: Counts) -> float:
    """Return TN / (TN + FP); NaN where the truth is everywhere."""
    return ratio(counts.tn, counts.tn + counts.fp)


def accuracy(counts: Counts) -> float:
    """Return (TP + TN) / all."""
    return ratio(counts.tp + counts.tn, counts.total)


def f_beta(counts: Counts, beta: float = 1.0) -> float:
    """Return (1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP) (van Rijsbergen 1979)."""
    weight = beta * beta
    hits = (1 + weight) * counts.tp
    return ratio(hits, hits + weight * counts.fn + counts.fp)


def mcc(counts: Counts) -> float:
    """Return Matthews' correlation coefficient (1975), -1 to 1."""
    tp, tn, fp, fn = counts.tp, counts.tn, counts.fp, counts.fn
    if counts.absent:
        return NAN
    if fp == fn == 0:
        return 1.0
    # Integers of any length: the product of four counts of a volume overflows 64 bits.
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(product) if product else 0.0


def kappa(counts: Counts) -> float:
    """Return Cohen's kappa (1960), agreement beyond chance, -1 to 1."""
    if counts.absent:
        return NAN
    if counts.fp == counts.fn == 0:
        return 1.0
    total = counts.total
    expected = counts.truth * counts.prediction
    expected += (total - counts.truth) * (total - counts.prediction)
    # Exact integers up to the one division: nearly constant maps would cancel otherwise.
    return (total * (counts.tp + counts.tn) - expected) / (total * total - expected)


def ratio(numerator: float, denominator: float) -> float:
    """Divide; NaN for 0 / 0."""
    return numerator / denominator if denominator else NAN
