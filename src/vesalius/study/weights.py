"""Weights of an ensemble's members: by rank, by greedy selection, by least log loss.

What is learned from cases flatters on the same cases: fit on some and score on others
(`cross_fitted`).
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError
from vesalius.study.averaging import TINY, checked_probabilities


def by_rank(scores: Sequence[float], *, higher_is_better: bool = True) -> NDArray[np.float64]:
    """Return weights by the order of the members' scores: 3/6, 2/6, 1/6 for three.

    Equal scores share the mean of their places.

    Raises:
        DataError: no scores, or one that is NaN.
    """
    from scipy.stats import rankdata

    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or not values.size or np.isnan(values).any():
        raise DataError(f"Weights by rank need one score per member; these are {list(scores)}.")
    places = rankdata(values if higher_is_better else -values)
    return places / places.sum()


def greedy_selection(
    score: Callable[[NDArray[np.float64]], float],
    members: int,
    *,
    rounds: int = 20,
) -> NDArray[np.float64]:
    """Select members one by one, with replacement, so that the score grows most.

    Caruana, Niculescu-Mizil, Crew and Ksikes (ICML 2004), section 2.2. Start: the best single
    member. Each round adds the member that gives the highest score, even where it falls; the
    weights are those of the best round (the earliest of equals).

    Args:
        score: weights (members,), sum 1 -> score, higher is better; each set is asked for once.
        members: their number.
        rounds: most that are added after the first.

    Returns:
        (members,), multiples of 1 / selected, sum 1.

    Raises:
        DataError: no member, or a score that is NaN.
    """
    if members < 1 or rounds < 0:
        raise DataError(f"Greedy selection among {members} members in {rounds} rounds is empty.")
    known: dict[tuple[float, ...], float] = {}

    def value(counts: NDArray) -> float:
        weights = counts / counts.sum()
        key = tuple(np.round(weights, 12))
        if key not in known:
            known[key] = float(score(weights))
        if np.isnan(known[key]):
            raise DataError(f"The score of the members with weights {weights.tolist()} is NaN.")
        return known[key]

    counts = np.zeros(members)
    best, best_value = counts, -np.inf
    for _ in range(rounds + 1):
        grown = [counts + one for one in np.eye(members)]
        values = [value(each) for each in grown]
        counts = grown[int(np.argmax(values))]
        if max(values) > best_value:
            best, best_value = counts, max(values)
    return best / best.sum()


def log_loss_weights(
    probabilities: ArrayLike,
    truth: ArrayLike,
    *,
    classes: bool = False,
    tolerance: float = 1e-6,
    iterations: int = 10_000,
) -> NDArray[np.float64]:
    """Return the weights whose arithmetic mean has the least log loss, on the simplex.

    The loss is that of a mixture of fixed components, convex in the weights, so expectation
    maximisation finds its minimum. It stops by the duality gap: with
    g_m = mean(p_m / sum_k w_k p_k) no weights have a loss lower by more than log(max g).

    Args:
        probabilities: (members, cases, labels), 0 to 1, of cases that trained no member. A label
            that a member does not know (NaN) counts as 1/2 for it.
        truth: (cases, labels), 0 or 1.
        classes: exactly one label is true; only its probability counts. Else every label does.
        tolerance: largest accepted gap, in nats per case (classes) or per case and label.
        iterations: at most so many.

    Returns:
        (members,), sum 1.

    Raises:
        DataError: shapes differ, or truth is not 0 and 1.
    """
    table = checked_probabilities(probabilities)
    table = np.where(np.isnan(table), 0.5, table)
    true = checked_truth(truth, table.shape[1:])
    likelihood = np.where(true, table, 1 - table) if not classes else table[:, true]
    likelihood = np.clip(likelihood.reshape(len(table), -1), TINY, 1)
    weights = np.full(len(table), 1 / len(table))
    for _ in range(iterations):
        gain = (likelihood / (weights @ likelihood)).mean(1)
        if np.log(gain.max()) <= tolerance:
            break
        weights = weights * gain
        weights /= weights.sum()
    return weights


def checked_truth(truth: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return truth as booleans of `shape`.

    Raises:
        DataError: another shape, or values other than 0 and 1.
    """
    array = np.asarray(truth)
    if array.shape != shape:
        raise DataError(f"The truth has shape {array.shape}; the probabilities need {shape}.")
    if not ((array == 0) | (array == 1)).all():
        raise DataError("The truth holds values other than 0 and 1. Give one column per label.")
    return array.astype(np.bool_)


def parts(
    cases: int, number: int, *, groups: Sequence[Hashable] | None = None, seed: int = 0
) -> NDArray[np.int64]:
    """Return the part, 0 to number - 1, of each case; a group lies in one part.

    Raises:
        DataError: fewer cases (or groups) than parts, or fewer than two parts.
    """
    if groups is not None and len(groups) != cases:
        raise DataError(f"There are {len(groups)} groups for {cases} cases.")
    known: dict[Hashable, int] = {}
    units = [known.setdefault(g, len(known)) for g in (range(cases) if groups is None else groups)]
    if number < 2 or len(known) < number:
        raise DataError(
            f"{len(known)} cases (or patients) cannot be cut into {number} parts; fitting on some "
            "and scoring on others needs at least two."
        )
    drawn = np.random.default_rng(seed).permutation(np.arange(len(known)) % number)
    return drawn[np.array(units)]


def cross_fitted(
    fit: Callable[[NDArray[np.int64]], Any], numbers: NDArray[np.int64]
) -> list[tuple[Any, NDArray[np.int64]]]:
    """Return for each part what `fit(rows)` made of the other parts' rows, and the part's rows."""
    return [
        (fit(np.flatnonzero(numbers != part)), np.flatnonzero(numbers == part))
        for part in np.unique(numbers)
    ]
