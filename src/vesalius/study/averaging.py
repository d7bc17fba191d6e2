"""Averages of several models' probabilities: arithmetic, geometric, logarithmic and of ranks.

Arrays are (members, *anything). NaN means that a member does not know the label: it is left out
and the others' weights are scaled up.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError, RecipeError

Average = Literal["mean", "geometric", "log"]
AVERAGES: tuple[str, ...] = ("mean", "geometric", "log")
TINY = 1e-7
"""Probabilities are kept this far from 0 and 1 where logarithms are taken."""


def average(
    probabilities: ArrayLike,
    how: Average = "mean",
    *,
    weights: Sequence[float] | None = None,
    classes: int | None = None,
) -> NDArray[np.float64]:
    """Average probabilities over the first axis.

    Args:
        probabilities: (members, *anything), 0 to 1; NaN where a member has no opinion.
        how: "mean"; "geometric": of the odds p / (1 - p) for independent labels, of the
            probabilities for classes; "log": the exponential of the mean logarithm. Of classes
            "log" and "geometric" are the same; of labels "log" is the more sceptical: one member
            that is sure of "no" decides.
        weights: one per member, not negative; they are scaled to sum to 1. None: equal.
        classes: axis of a member's array along which probabilities sum to 1; the average is scaled
            so that it does too. None: independent labels.

    Returns:
        Array of one member's shape; NaN where no member has an opinion.

    Raises:
        DataError: values outside 0 to 1, or weights that do not fit.
        RecipeError: an unknown average.
    """
    table = checked_probabilities(probabilities)
    if how not in AVERAGES:
        raise RecipeError(f"'{how}' is no average; give one of {', '.join(AVERAGES)}")
    if how == "mean":
        joined = weighted_mean(table, weights)
    elif how == "geometric" and classes is None:
        clipped = np.clip(table, TINY, 1 - TINY)
        joined = 1 / (1 + np.exp(-weighted_mean(np.log(clipped / (1 - clipped)), weights)))
    else:
        joined = np.exp(weighted_mean(np.log(np.clip(table, TINY, 1)), weights))
    return joined if classes is None else normalised(joined, axis=classes)


def rank_average(
    probabilities: ArrayLike, *, weights: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Average the ranks that members give to cases, label by label.

    For members whose probabilities are on different scales. The result orders the cases of this
    very set; it is not a probability, and changes with the set.

    Args:
        probabilities: (members, cases, ...), any numbers; NaN where a label is not known.
        weights: as for `average`.

    Returns:
        (cases, ...), 0 (lowest) to 1 (highest); ties share their mean rank; 0.5 for a single case.
    """
    return weighted_mean(scaled_ranks(probabilities), weights)


def scaled_ranks(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Return each member's ranks of the cases (members, cases, ...), scaled to 0 to 1."""
    from scipy.stats import rankdata

    table = np.asarray(probabilities, np.float64)
    if table.ndim < 2 or 0 in table.shape:
        raise DataError(f"Ranks need an array (members, cases, ...); this has {table.shape}.")
    if table.shape[1] == 1:
        return np.where(np.isnan(table), np.nan, 0.5)
    return (rankdata(table, axis=1) - 1) / (table.shape[1] - 1)


def weighted_mean(table: ArrayLike, weights: Sequence[float] | None = None) -> NDArray[np.float64]:
    """Return the weighted mean over the first axis, leaving NaN out; NaN where nothing is left."""
    table = np.asarray(table, np.float64)
    share = checked_weights(weights, len(table))
    present = ~np.isnan(table)
    if present.all():
        return np.tensordot(share, table, axes=1)
    total = np.tensordot(share, np.where(present, table, 0.0), axes=1)
    known = np.tensordot(share, present.astype(np.float64), axes=1)
    return np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0)


def checked_weights(weights: Sequence[float] | None, members: int) -> NDArray[np.float64]:
    """Return one weight per member, scaled to sum to 1.

    Raises:
        DataError: another number of weights, a negative one, NaN, or all are 0.
    """
    if members < 1:
        raise DataError("An ensemble needs at least one member.")
    if weights is None:
        return np.full(members, 1 / members)
    array = np.asarray(weights, np.float64)
    if array.shape != (members,):
        raise DataError(f"There are {array.size} weights for {members} members; give one each.")
    if not np.isfinite(array).all() or (array < 0).any() or array.sum() <= 0:
        raise DataError(f"Weights are not negative and not all 0; these are {array.tolist()}.")
    return array / array.sum()


def normalised(joined: ArrayLike, *, axis: int) -> NDArray[np.float64]:
    """Scale probabilities to sum to 1 along an axis; NaN (known to nobody) counts as 0."""
    filled = np.nan_to_num(np.asarray(joined, np.float64), nan=0.0)
    total = filled.sum(axis, keepdims=True)
    even = np.full_like(filled, 1 / filled.shape[axis])
    return np.divide(filled, total, out=even, where=total > 0)


def checked_probabilities(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Return (members, *anything) as float64.

    Raises:
        DataError: no member, members of different shapes, or values outside 0 to 1.
    """
    try:
        table = np.asarray(probabilities, np.float64)
    except ValueError as error:
        raise DataError(f"The members' probabilities differ in shape: {error}.") from None
    if table.ndim < 2 or not len(table):
        raise DataError(
            f"The probabilities have shape {table.shape}; give (members, cases, labels), or "
            "(members, ...) of one case."
        )
    slack = 1e-6  # float16 and softmax round
    known = table[~np.isnan(table)]
    if known.size and (known.min() < -slack or known.max() > 1 + slack):
        raise DataError(
            f"The probabilities range from {known.min():g} to {known.max():g}; they lie between 0 "
            "and 1 (give the sigmoid or softmax of logits)."
        )
    return np.clip(table, 0.0, 1.0)
