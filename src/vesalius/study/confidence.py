"""Which predictions are sure enough to be trained on: thresholds from cases that did not train.

Labels: probabilities are calibrated; a label is decided as positive above the smallest probability
whose precision is, by a lower bound, what was asked for, as negative below a quantile of the true
positives, and otherwise not at all; a case is sure when all its labels are decided. Masks: one
confidence per case, and the smallest at which the mean score is, by a lower bound, what was asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.engine.task import Case
from vesalius.errors import DataError, RecipeError
from vesalius.study.calibrating import Calibration, fit_calibration

LEVEL = 0.95
"""One-sided confidence of all lower bounds."""
FEWEST_SCORES = 5
"""A mean of fewer scores has no lower bound worth the name."""


# --- bounds and thresholds ----------------------------------------------------------------------


def wilson_lower(right: ArrayLike, total: ArrayLike, *, level: float = LEVEL) -> NDArray:
    """Return the one-sided lower bound of a share (Wilson 1927); 0 where `total` is 0.

    Args:
        right, total: counts of one shape.
        level: confidence, above 0.5 and below 1.
    """
    from scipy.special import ndtri

    n = np.asarray(total, np.float64)
    z2 = float(ndtri(level)) ** 2
    share = np.divide(right, n, out=np.zeros(n.shape), where=n > 0)
    half = np.sqrt(z2) * np.sqrt(share * (1 - share) * np.maximum(n, 1) + z2 / 4)
    return np.where(n > 0, (share * n + z2 / 2 - half) / (n + z2), 0.0)


def fewest(precision: float, *, level: float = LEVEL) -> int:
    """Return how many flawless answers it takes until the Wilson bound reaches `precision`.

    >>> [fewest(p) for p in (0.8, 0.9, 0.95)]
    [11, 25, 52]
    """
    from scipy.special import ndtri

    return int(np.ceil(float(ndtri(level)) ** 2 * precision / (1 - precision) - 1e-9))


def precision_threshold(
    confidence: ArrayLike, right: ArrayLike, *, precision: float, level: float = LEVEL
) -> float:
    """Return the smallest value at or above which answers are right often enough; inf where none.

    Args:
        confidence: (N,) of each answer.
        right: (N,) whether it is right.
        precision: that the Wilson lower bound must reach.
        level: of the bound. It is that of one threshold; in simulations (200 to 2,000 cases) the
            smallest that reaches it had a true precision below 0.9 in at most 5 % of the draws.
    """
    values, ends, hits = _from_the_top(confidence, np.asarray(right, np.float64))
    enough = wilson_lower(hits, ends, level=level) >= precision
    return float(values[enough][-1]) if enough.any() else float("inf")


def _from_the_top(
    confidence: ArrayLike, value: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return distinct confidences, highest first, how many reach each, and the sum of theirs."""
    sureness = np.asarray(confidence, np.float64)
    order = np.argsort(-sureness, kind="stable")
    ranked, sums = sureness[order], np.cumsum(value[order])
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)])
    return ranked[last], last + 1, sums[last]


def negative_threshold(probabilities: ArrayLike, truth: ArrayLike, *, precision: float) -> float:
    """Return the largest value below which at most 1 - precision of the true positives lie.

    -inf where there is no positive: nothing is known of how low they can lie.
    """
    positives = np.sort(np.asarray(probabilities, np.float64)[np.asarray(truth, bool)])
    if not len(positives):
        return float("-inf")
    return float(positives[int(np.floor((1 - precision) * len(positives) + 1e-9))])


def score_threshold(
    confidence: ArrayLike, scores: ArrayLike, *, wanted: float, level: float = LEVEL
) -> float:
    """Return the smallest confidence at or above which the mean score is at least `wanted`.

    By the one-sided lower bound of Student's t, for five cases at least; inf where none reaches
    it. Scores that are NaN are left out.
    """
    from scipy.stats import t

    values, known = np.asarray(scores, np.float64), ~np.isnan(np.asarray(scores, np.float64))
    sureness, values = np.asarray(confidence, np.float64)[known], values[known]
    marks, ends, sums = _from_the_top(sureness, values)
    _, _, squares = _from_the_top(sureness, values**2)
    mean = sums / ends
    spread = np.sqrt(np.maximum(squares / ends - mean**2, 0) / np.maximum(ends - 1, 1))
    low = mean - t.ppf(level, np.maximum(ends - 1, 1)) * spread
    enough = (low >= wanted) & (ends >= FEWEST_SCORES)
    return float(marks[enough][-1]) if enough.any() else float("inf")


# --- labels -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Decided:
    """What a rule makes of predictions.

    Attributes:
        answers: bool (N, labels), the labels taken for true.
        probabilities: calibrated (N, labels).
        sure: bool (N,), whether all labels are decided.
        confidence: (N,), calibrated probability of the case's least certain answer.
    """

    answers: NDArray[np.bool_]
    probabilities: NDArray[np.float64]
    sure: NDArray[np.bool_]
    confidence: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelRule:
    """Per label from which calibrated probability on it is taken for true, and until which not.

    Attributes:
        names: of the labels.
        positive, negative: (labels,); inf and -inf: never.
        shared: (labels,), whether the label had too few positives and shares a rule.
        calibration: applied first.
        precision: that was asked for.
    """

    names: tuple[str, ...]
    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    shared: NDArray[np.bool_]
    calibration: Calibration
    precision: float

    def decide(self, probabilities: ArrayLike) -> Decided:
        """Decide raw probabilities (N, labels)."""
        table = self.calibration.apply(probabilities)
        if self.calibration.exclusive:
            best = table.argmax(1)
            answers = np.eye(table.shape[1], dtype=bool)[best]
            confidence = table.max(1)
            return Decided(answers, table, confidence >= self.positive[best], confidence)
        answers = table >= self.positive
        sure = (answers | (table < self.negative)).all(1)
        confidence = np.where(answers, table, 1 - table).min(1)
        return Decided(answers, table, sure, confidence)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        labels = {
            name: {"positive": float(high), "negative": float(low), "shared": bool(shared)}
            for name, high, low, shared in zip(
                self.names, self.positive, self.negative, self.shared, strict=True
            )
        }
        return {
            "precision": self.precision,
            "level": LEVEL,
            "calibration": self.calibration.to_dict(),
            "labels": labels,
        }


def fit_label_rule(
    probabilities: ArrayLike,
    truth: ArrayLike,
    *,
    names: Sequence[str],
    precision: float = 0.9,
    calibration: str = "temperature",
    exclusive: bool = False,
) -> LabelRule:
    """Fit thresholds to cases that did not train.

    A label with fewer positives than a flawless rule needs to pass (`fewest`; 25 for 0.9) cannot
    be judged alone: all such labels share one rule, fitted to their calibrated probabilities
    together.

    Args:
        probabilities: (N, labels).
        truth: bool (N, labels).
        names: of the labels.
        precision: wanted of positives, above 0 and below 1; at most 1 - precision of the true
            positives may lie where a label is taken for absent.
        calibration: see `fit_calibration`.
        exclusive: the labels are classes, of which exactly one is true.

    Raises:
        RecipeError: precision or calibration is out of range.
        DataError: shapes differ, or there is no case.
    """
    table, true = np.asarray(probabilities, np.float64), np.asarray(truth, bool)
    if not 0 < precision < 1:
        raise RecipeError(f"precision is {precision}; give a number above 0 and below 1")
    if table.shape != true.shape or true.ndim != 2 or not true.size or len(names) != true.shape[1]:
        raise DataError(
            f"a rule needs probabilities and truth (cases, {len(names)}); these have shapes "
            f"{table.shape} and {true.shape}"
        )
    fitted = fit_calibration(table, true, how=calibration, exclusive=exclusive)
    table = fitted.apply(table)
    asked = np.eye(len(names), dtype=bool)[table.argmax(1)] if exclusive else np.ones_like(true)
    few = true.sum(0) < fewest(precision)
    high, low = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for columns in [few.nonzero()[0], *([j] for j in np.flatnonzero(~few))]:
        cells = asked[:, columns]
        found, right = table[:, columns][cells], true[:, columns][cells]
        high[columns] = precision_threshold(found, right, precision=precision)
        low[columns] = negative_threshold(found, right, precision=precision)
    # Where both rules hold a label is taken for true: that is the one with a bound.
    return LabelRule(tuple(names), high, np.minimum(low, high), few, fitted, precision)


def truth_table(
    cases: Sequence[Case], names: Sequence[str], labels: int
) -> tuple[NDArray[np.bool_], bool]:
    """Return which case has which label, bool (N, labels), and whether labels are classes.

    A target is a collection of names (any number of labels), or one name or number (classes).
    Names that are not among `names` are left out.

    Raises:
        DataError: a target is neither, or a class is not known.
    """
    place = {name: number for number, name in enumerate(names)}
    single = [isinstance(case.target, str | int | np.integer) for case in cases]
    many = [isinstance(case.target, tuple | list | set | frozenset) for case in cases]
    if not (all(single) or all(many)):
        raise DataError(
            "pseudo-labels need the truth of a case as names of labels, or as one class; these "
            "have another, or both",
            [f"{c.id}: {type(c.target).__name__}" for c in cases][:20],
        )
    table, exclusive = np.zeros((len(cases), labels), bool), bool(single) and all(single)
    for row, case in enumerate(cases):
        given = [case.target] if exclusive else [n for n in case.target if n in place]
        columns = [place.get(name, name) for name in given]
        wrong = [name for name in columns if isinstance(name, str) or not 0 <= name < labels]
        if wrong:
            raise DataError(f"{case.id}: the class '{wrong[0]}' is not known to the model")
        table[row, columns] = True
    return table, exclusive


def pick(
    answers: ArrayLike,
    confidence: ArrayLike,
    sure: ArrayLike,
    *,
    shares: ArrayLike | None = None,
    most: int | None = None,
) -> NDArray[np.int64]:
    """Return the rows to accept, the surest first.

    Args:
        answers: bool (N, labels), the labels taken for true.
        confidence: (N,).
        sure: bool (N,); the others are never accepted.
        shares: (labels,) of the training cases that have each label. Then no label gets more than
            its share of the places there are (the sure cases, or `most`), rounded up, so that
            what a model is too fond of cannot drown the rest (class-balanced self-training, Zou
            et al. 2018, here with several labels per case and by quotas).
        most: at most so many rows.
    """
    table, sureness = np.asarray(answers, bool), np.asarray(confidence, np.float64)
    rows = np.flatnonzero(np.asarray(sure, bool))
    rows = rows[np.argsort(-sureness[rows], kind="stable")]
    places = len(rows) if most is None else min(most, len(rows))
    if shares is None:
        return rows[:places]
    left = np.ceil(np.round(np.asarray(shares, np.float64) * places, 9)).astype(np.int64)
    taken: list[int] = []
    for row in rows:
        if len(taken) < places and (left[table[row]] > 0).all():
            left[table[row]] -= 1
            taken.append(int(row))
    return np.array(taken, np.int64)


# --- masks --------------------------------------------------------------------------------------


def mask_confidence(probabilities: ArrayLike) -> float:
    """Return how sure a model is of a whole mask, 0 to 1: the Dice that it expects of itself.

    Soft Dice confidence (Borges, Pacheco and Silva 2024), 2 sum(p y) / (sum(p) + sum(y)) of
    probabilities p and decided pixels y, here the mean over the classes that are decided anywhere.
    Unlike the mean probability over the foreground and its rim it needs no width of a rim, counts
    pixels missed far away, and does not grow with easy area; on 180 images of nuclei both ranked
    masks alike (Spearman's correlation with their Dice 0.59 and 0.58). A mask without foreground
    has 1 - the largest probability of any foreground: one likely pixel makes emptiness doubtful.

    Args:
        probabilities: (labels, *size), the background first, sum 1.
    """
    table = np.asarray(probabilities, np.float32)
    decided = table.argmax(0)
    found = [label for label in np.unique(decided) if label > 0]
    if not found:
        return float(1 - table[1:].max()) if len(table) > 1 else 0.0
    own = [
        2 * table[k][decided == k].sum(dtype=np.float64)
        / (table[k].sum(dtype=np.float64) + (decided == k).sum())
        for k in found
    ]  # fmt: skip
    return float(np.mean(own))


@dataclass(frozen=True)
class MaskRule:
    """From which confidence on a mask is accepted.

    Attributes:
        threshold: smallest confidence; inf: never.
        headline: the score that was asked for.
        wanted: its wanted mean over the accepted (negative where lower scores are better).
    """

    threshold: float
    headline: str
    wanted: float

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "threshold": self.threshold,
            "headline": self.headline,
            "wanted": self.wanted,
            "level": LEVEL,
        }


def fit_mask_rule(
    confidence: Mapping[str, float],
    scores: Mapping[str, Mapping[str, float]],
    *,
    headline: str,
    wanted: float,
    higher_is_better: bool = True,
) -> MaskRule:
    """Fit the threshold to the scores of held-out cases.

    Args:
        confidence: case id -> confidence.
        scores: case id -> metric -> value, as `Scores.cases` has it.
        headline: the metric.
        wanted: its mean over the accepted cases.
        higher_is_better: its direction.

    Raises:
        DataError: the headline has no values per case.
    """
    if any(headline not in scores.get(name, {}) for name in confidence):
        raise DataError(f"the score {headline} has no value per case to fit a rule to")
    sign = 1.0 if higher_is_better else -1.0
    values = [sign * scores[name][headline] for name in confidence]
    threshold = score_threshold(list(confidence.values()), values, wanted=sign * wanted)
    return MaskRule(threshold, headline, sign * wanted)
