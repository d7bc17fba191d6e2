"""What follows from the order of probabilities: AUROC, average precision, and ranks of labels.

Only the positives' probabilities matter as thresholds: taking negatives alone into an answer
makes precision and F1 worse. Most labels have few positives, so the negatives are sorted once and
the positives looked up in them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesalius.engine.arrays import divide

ELEMENTS = 2**22
"""Elements of a block of comparisons: few megabytes, whatever the number of records."""
COLUMNS = 32
"""Labels whose columns are copied at once."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """One label at each distinct probability of its positives, the highest first.

    Attributes:
        values: the distinct probabilities of positives, descending, (K,).
        below: the next smaller probability of any record, 0 where there is none.
        hits, misses: positives and negatives with at least that probability.
        ties: negatives with exactly that probability.
        positives, negatives: of the label.
    """

    values: NDArray[np.float64]
    below: NDArray[np.float64]
    hits: NDArray[np.int64]
    misses: NDArray[np.int64]
    ties: NDArray[np.int64]
    positives: int
    negatives: int

    @property
    def auroc(self) -> float:
        """Area under the ROC curve, ties half; NaN without both classes."""
        found = np.diff(self.hits, prepend=0)
        beaten = (found * (self.negatives - self.misses + self.ties / 2)).sum()
        return float(divide(beaten, self.positives * self.negatives, otherwise=np.nan))

    @property
    def average_precision(self) -> float:
        """Sum of precision times the step in recall; NaN without both classes."""
        if not (self.positives and self.negatives):
            return float("nan")
        found = np.diff(self.hits, prepend=0)
        return float((found * self.hits / (self.hits + self.misses)).sum() / self.positives)


def ranked(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> Ranked:
    """Sort one label's records: probabilities (N,) in 0 to 1, truth (N,)."""
    others = np.sort(probabilities[~truth])
    values, numbers = np.unique(probabilities[truth], return_counts=True)
    left = np.searchsorted(others, values, "left")
    right = np.searchsorted(others, values, "right")
    lower = np.where(left > 0, others[left - 1] if len(others) else 0.0, 0.0)
    below = np.maximum(lower, np.concatenate([[0.0], values[:-1]])[: len(values)])
    return Ranked(
        values=values[::-1],
        below=below[::-1],
        hits=np.cumsum(numbers[::-1]),
        misses=(len(others) - left)[::-1],
        ties=(right - left)[::-1],
        positives=int(numbers.sum()),
        negatives=len(others),
    )


def each_label(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> Iterator[Ranked]:
    """Sort every label's records: probabilities and truth (N, labels)."""
    for start in range(0, truth.shape[1], COLUMNS):
        block = slice(start, start + COLUMNS)
        # Columns are copied some at a time: one by one they miss the cache with every record.
        rows = np.ascontiguousarray(probabilities[:, block].T)
        true = np.ascontiguousarray(truth[:, block].T)
        yield from map(ranked, rows, true)


def curve_scores(
    probabilities: NDArray[np.float64], truth: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Return `auroc` and `auprc` per label, (labels,), NaN without both classes."""
    columns = list(each_label(probabilities, truth))
    return {
        "auroc": np.array([column.auroc for column in columns]),
        "auprc": np.array([column.average_precision for column in columns]),
    }


def ranking_scores(
    probabilities: NDArray[np.float64], truth: NDArray[np.bool_]
) -> dict[str, float]:
    """Return coverage error, ranking loss and label-ranking average precision over records.

    As in scikit-learn: a negative that ties with a positive counts as ranked above it; records
    without positives have coverage 0, and without positives or negatives loss 0 and precision 1.
    """
    number, labels = truth.shape
    positives = truth.sum(1)
    rows, columns = np.nonzero(truth)
    above, hits = np.empty(len(rows)), np.empty(len(rows))
    block = max(1, ELEMENTS // labels)
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        row = rows[part]
        level = probabilities[row, columns[part], None]
        at_least = probabilities[row] >= level
        above[part] = at_least.sum(1)
        hits[part] = (at_least & truth[row]).sum(1)
    coverage = np.zeros(number)
    np.maximum.at(coverage, rows, above)
    wrong = np.bincount(rows, above - hits, number)
    precision = divide(np.bincount(rows, hits / np.maximum(above, 1), number), positives)
    ordered = (positives == 0) | (positives == labels)
    return {
        "coverage_error": float(coverage.mean()),
        "ranking_loss": float(divide(wrong, positives * (labels - positives)).mean()),
        "lrap": float(np.where(ordered, 1.0, precision).mean()),
    }
