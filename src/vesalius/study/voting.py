"""Votes of several models: hard and soft, by absolute majority and by plurality, weighted or not.

Names after Zhou, Ensemble Methods: Foundations and Algorithms (2012), section 4.3. Arrays are
(members, *anything) as in `averaging`; NaN (a label that a member does not know) does not vote.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError
from vesalius.study.averaging import average, checked_probabilities, normalised, weighted_mean

UNDECIDED = -1
"""Where no class has the absolute majority."""
_ROUNDING = 1e-9
"""Shares of 1/3 + 1/6 and of 1/2 must compare as equal."""


def votes(
    probabilities: ArrayLike, *, classes: int | None = None, threshold: ArrayLike = 0.5
) -> NDArray[np.float64]:
    """Return each member's vote: 1 or 0, NaN where it has none.

    Args:
        probabilities: (members, *anything), 0 to 1.
        classes: axis of a member's array that holds classes: the most probable gets the vote (the
            first where several are). None: independent labels, each decided by the threshold.
        threshold: for labels: one number, or an array that fits a member's.
    """
    table = checked_probabilities(probabilities)
    unknown = np.isnan(table)
    if classes is None:
        cast = (table >= np.asarray(threshold, np.float64)).astype(np.float64)
        return np.where(unknown, np.nan, cast)
    axis = _class_axis(table, classes)
    best = np.where(unknown, -1.0, table).argmax(axis, keepdims=True)
    cast = np.zeros(table.shape)
    np.put_along_axis(cast, best, 1.0, axis)
    return cast


def hard_vote(
    probabilities: ArrayLike,
    *,
    weights: Sequence[float] | None = None,
    classes: int | None = None,
    threshold: ArrayLike = 0.5,
) -> NDArray[np.float64]:
    """Return the (weighted) share of votes per label or class, 0 to 1, of one member's shape."""
    return weighted_mean(votes(probabilities, classes=classes, threshold=threshold), weights)


def soft_vote(
    probabilities: ArrayLike,
    *,
    weights: Sequence[float] | None = None,
    classes: int | None = None,
) -> NDArray[np.float64]:
    """Return the (weighted) mean probability: the arithmetic average by its other name."""
    return average(probabilities, "mean", weights=weights, classes=classes)


def absolute_majority(
    probabilities: ArrayLike,
    *,
    weights: Sequence[float] | None = None,
    classes: int | None = None,
    threshold: ArrayLike = 0.5,
) -> NDArray[np.int64]:
    """Return what has more than half of the votes.

    Returns:
        Labels: 1 or 0, of one member's shape. Classes: the class index, without the class axis,
        `UNDECIDED` where no class has more than half.
    """
    share = hard_vote(probabilities, weights=weights, classes=classes, threshold=threshold)
    if classes is None:
        return (np.nan_to_num(share) > 0.5 + _ROUNDING).astype(np.int64)
    winner = share.argmax(classes)
    return np.where(share.max(classes) > 0.5 + _ROUNDING, winner, UNDECIDED)


def plurality(
    probabilities: ArrayLike,
    *,
    weights: Sequence[float] | None = None,
    classes: int | None = None,
    threshold: ArrayLike = 0.5,
) -> NDArray[np.int64]:
    """Return what has the most votes; between equals the higher mean probability decides.

    Returns:
        Labels: 1 or 0, of one member's shape ("yes" against "no"; between equals the mean
        probability against the threshold). Classes: the class index, without the class axis.
    """
    share = hard_vote(probabilities, weights=weights, classes=classes, threshold=threshold)
    soft = np.nan_to_num(soft_vote(probabilities, weights=weights, classes=classes))
    if classes is None:
        share = np.where(np.isnan(share), 0.0, share)
        tied = np.abs(share - 0.5) <= _ROUNDING
        return np.where(tied, soft >= np.asarray(threshold), share > 0.5).astype(np.int64)
    ahead = share >= share.max(classes, keepdims=True) - _ROUNDING
    return np.where(ahead, soft, -1.0).argmax(classes)


def one_hot(decided: ArrayLike, *, number: int, axis: int) -> NDArray[np.float64]:
    """Return class indices as probabilities 0 and 1 along a new axis; all 0 where undecided."""
    indices = np.asarray(decided)
    return np.stack([indices == k for k in range(number)], axis=axis).astype(np.float64)


def vote(
    stack: ArrayLike,
    how: str,
    *,
    weights: Sequence[float] | None = None,
    classes: int | None = None,
    threshold: ArrayLike = 0.5,
) -> NDArray[np.float64]:
    """Return a vote as probabilities of one member's shape, for a task to score.

    `how`: "vote": shares of votes; "majority", "plurality": 0 and 1. A class without absolute
    majority keeps its share of the votes, so that its place stays recognisable.
    """
    options = {"weights": weights, "classes": classes, "threshold": threshold}
    shares = hard_vote(stack, **options)
    if how == "vote":
        return shares if classes is None else normalised(shares, axis=classes)
    decided = (absolute_majority if how == "majority" else plurality)(stack, **options)
    if classes is None:
        return np.where(np.isnan(shares), np.nan, decided)
    hot = one_hot(decided, number=shares.shape[classes], axis=classes)
    return np.where(np.expand_dims(decided == UNDECIDED, classes), shares, hot)


def _class_axis(table: NDArray, classes: int) -> int:
    """Return the class axis of the stack, of which `classes` leaves the first axis out."""
    if not 0 <= classes < table.ndim - 1:
        raise DataError(f"Axis {classes} is none of a member's array of {table.ndim - 1} axes.")
    return classes + 1
