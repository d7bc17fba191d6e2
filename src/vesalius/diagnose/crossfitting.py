"""Scores of fitted decisions that do not flatter.

Thresholds that are fitted for F1 to the records whose score is then reported flatter: with 2,000
records and 50 long-tailed labels by 0.03. Here each record is decided by what was fitted to the
others.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.engine.arrays import checked_probabilities, checked_truth, divide
from vesalius.errors import DataError, RecipeError


class Decider(Protocol):
    """What can be cross-fitted: a threshold block, or anything with such a `fit`."""

    def fit(self, probabilities: NDArray, truth: NDArray) -> Any:
        """Return an object whose `apply(probabilities)` are decisions."""
        ...


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """A score that does not flatter, and what it was made from.

    Attributes:
        score: macro F1 of decisions by thresholds that were fitted on other records.
        in_sample: macro F1 of `fitted` on the very records it was fitted to: too high.
        decisions: (N, labels) the decisions behind `score`.
        fitted: what was fitted to all records, to be used from now on.
    """

    score: float
    in_sample: float
    decisions: NDArray[np.bool_]
    fitted: Any = field(repr=False)


def cross_fitted_score(
    method: Decider,
    probabilities: ArrayLike,
    truth: ArrayLike,
    *,
    folds: int = 10,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> CrossFitted:
    """Fit on all records but one fold, decide that fold, and score all decisions together.

    Args:
        method: a threshold block, a `Decision`, or anything with fit(probabilities, truth).
        probabilities, truth: (N, labels); the probabilities themselves must come from models that
            did not train on these records.
        folds: 2 to N.
        groups: (N,) patient of each record: whole patients are put into folds.
        seed: of the folds.

    Raises:
        DataError: shapes differ, or there are fewer units than folds.
    """
    truth = checked_truth(truth)
    table = checked_probabilities(probabilities, truth.shape)
    decisions = cross_fitted_decisions(
        lambda rows: method.fit(table[rows], truth[rows]),
        lambda fitted, rows: fitted.apply(table[rows]),
        fold_numbers(len(truth), folds, groups=groups, seed=seed),
        truth.shape[1],
    )
    fitted = method.fit(table, truth)
    inside = macro_f1(truth, fitted.apply(table))
    return CrossFitted(macro_f1(truth, decisions), inside, decisions, fitted)


def cross_fitted_decisions(
    fit: Callable[[NDArray[np.int64]], Any],
    decide: Callable[[Any, NDArray[np.int64]], NDArray[np.bool_]],
    numbers: NDArray[np.int64],
    labels: int,
) -> NDArray[np.bool_]:
    """Return decisions (N, labels) for each fold by what was fitted to the others' rows."""
    decisions = np.zeros((len(numbers), labels), np.bool_)
    for fold in np.unique(numbers):
        inside = np.flatnonzero(numbers == fold)
        decisions[inside] = decide(fit(np.flatnonzero(numbers != fold)), inside)
    return decisions


def fold_numbers(
    records: int, folds: int, *, groups: Sequence[Hashable] | None = None, seed: int = 0
) -> NDArray[np.int64]:
    """Return the fold, 0 to folds - 1, of each record; a group lies in one fold."""
    if groups is not None and len(groups) != records:
        raise DataError(f"There are {len(groups)} groups for {records} records.")
    known: dict[Hashable, int] = {}
    units = [
        known.setdefault(g, len(known)) for g in (range(records) if groups is None else groups)
    ]
    if folds < 2:
        raise RecipeError(f"folds is {folds}; at least 2 leave records to fit to")
    if len(known) < folds:
        raise DataError(f"{len(known)} records or patients cannot fill {folds} folds.")
    fold = np.random.default_rng(seed).permutation(np.arange(len(known)) % folds)
    return fold[np.array(units)]


def macro_f1(truth: NDArray[np.bool_], decisions: NDArray[np.bool_]) -> float:
    """Return the mean F1 over labels, 0 where a label is neither true nor decided."""
    hits = (truth & decisions).sum(0)
    return float(divide(2 * hits, truth.sum(0) + decisions.sum(0)).mean())
