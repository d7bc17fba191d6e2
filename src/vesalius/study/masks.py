"""STAPLE: the true segmentation behind several raters' (Warfield, Zou and Wells, TMI 2004).

Expectation maximisation over the unknown truth and each rater's confusion matrix. Pixels with the
same decisions share their posterior, so the loop runs over the distinct patterns of decisions and
not over pixels. Pixels are independent: there is no Markov random field.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError

START = 0.99999
"""Diagonal of the confusion matrices to begin with, as the paper's implementation has it."""


@dataclass(frozen=True)
class Consensus:
    """What STAPLE found.

    Attributes:
        probabilities: (classes, *size) posterior of the truth, sum 1.
        confusion: (raters, true class, decided class) P(decision | truth); rows sum to 1. Of two
            classes [:, 1, 1] are the sensitivities and [:, 0, 0] the specificities.
        iterations: how many were done.
        converged: whether the parameters came to rest before the limit.
    """

    probabilities: NDArray[np.float64]
    confusion: NDArray[np.float64]
    iterations: int
    converged: bool

    @property
    def classes(self) -> NDArray[np.int64]:
        """The most probable class per pixel (*size)."""
        return self.probabilities.argmax(0)


def staple(
    decisions: ArrayLike,
    *,
    classes: int | None = None,
    prior: ArrayLike | None = None,
    iterations: int = 100,
    tolerance: float = 1e-7,
    start: float = START,
) -> Consensus:
    """Estimate the truth and the raters' performance from their masks.

    Args:
        decisions: (raters, *size) class indices from 0.
        classes: their number; None: the highest index + 1, at least 2.
        prior: (classes,) probability of each class before any rater; None: the mean share of the
            decisions, as the paper proposes.
        iterations: at most so many, from 1.
        tolerance: largest change of a parameter at which it stops.
        start: diagonal of the confusion matrices to begin with, between 0 and 1.

    Raises:
        DataError: fewer than two raters, indices that are no classes, or a prior that is none.
    """
    table, size, number = _checked(decisions, classes)
    patterns, where, counts = np.unique(table, axis=1, return_inverse=True, return_counts=True)
    share = np.stack([(patterns == k).mean(0) @ counts for k in range(number)]) / counts.sum()
    belief = _prior(share if prior is None else prior, number)
    wrong = (1 - start) / (number - 1)
    confusion = np.full((len(table), number, number), wrong)
    confusion[:, np.arange(number), np.arange(number)] = start
    converged, done = False, 0
    for done in range(1, iterations + 1):  # noqa: B007 - reported
        posterior = expectation(patterns, confusion, belief)
        updated = maximisation(patterns, posterior, counts, confusion)
        converged = bool(np.abs(updated - confusion).max() <= tolerance)
        confusion = updated
        if converged:
            break
    posterior = expectation(patterns, confusion, belief)
    found = posterior[:, where.reshape(-1)].reshape(number, *size)
    return Consensus(found, confusion, done, converged)


def expectation(
    patterns: NDArray, confusion: NDArray[np.float64], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the posterior of the truth, (classes, patterns): the E step, for any classes.

    Args:
        patterns: (raters, patterns) decided class indices.
        confusion: (raters, true class, decided class).
        prior: (classes,).
    """
    with np.errstate(divide="ignore"):  # log 0 = -inf: such a truth is impossible
        logs = np.log(prior)[:, None] + sum(
            np.log(own)[:, row] for own, row in zip(confusion, patterns, strict=True)
        )
    best = logs.max(0, keepdims=True)
    best[~np.isfinite(best)] = 0.0
    weights = np.exp(logs - best)
    total = weights.sum(0, keepdims=True)
    # Decisions that the parameters call impossible tell nothing: the prior stays.
    return np.where(total > 0, weights / np.where(total > 0, total, 1), prior[:, None])


def maximisation(
    patterns: NDArray,
    posterior: NDArray[np.float64],
    counts: NDArray,
    before: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the confusion matrices that fit the posterior best: the M step.

    Args:
        patterns: (raters, patterns) decided class indices.
        posterior: (classes, patterns).
        counts: (patterns,) pixels of each.
        before: the matrices so far; kept for a class that the posterior gives to no pixel.
    """
    weight = posterior * counts
    total = weight.sum(1)
    number = len(posterior)
    decided = np.stack([patterns == k for k in range(number)], axis=-1).astype(np.float64)
    joint = np.einsum("sp,rpk->rsk", weight, decided)
    seen = total > 0
    return np.where(seen[:, None], joint / np.where(seen, total, 1)[:, None], before)


def _checked(decisions: ArrayLike, classes: int | None) -> tuple[NDArray, tuple[int, ...], int]:
    array = np.asarray(decisions)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.ndim < 2 or len(array) < 2 or not array[0].size:
        raise DataError(f"STAPLE needs (raters, *size) of two raters or more, not {array.shape}.")
    if array.dtype.kind not in "iu":
        raise DataError(f"STAPLE needs class indices; these are {array.dtype}. Take the argmax.")
    number = max(2, int(array.max()) + 1) if classes is None else classes
    if array.min() < 0 or array.max() >= number or number < 2:
        raise DataError(f"Indices {array.min()} to {array.max()} are no {number} classes, from 0.")
    return array.reshape(len(array), -1), array.shape[1:], number


def _prior(prior: ArrayLike, number: int) -> NDArray[np.float64]:
    array = np.asarray(prior, np.float64)
    if array.shape != (number,) or not (array >= 0).all() or array.sum() <= 0:
        raise DataError(f"The prior {array.tolist()} is no probability of {number} classes.")
    return array / array.sum()
