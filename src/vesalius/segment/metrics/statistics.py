"""How sure a score is: bootstrap intervals over cases.

The unit is the case (or, with `groups`, the patient): pixels of one image are not independent, so
nothing is ever resampled below it. An interval says how the mean would vary over other cases drawn
like these. It does not say how another training seed, another hospital or another annotator would
change it, and with fewer than about 20 units it rests on guesses about the tails.

Coverage of the default interval, nominal 95 %, in 3,000 simulated studies each (2,000 resamples):
normal scores 94-95 % with 10 to 100 cases; Dice-like scores, beta(12, 1.5), 93 % with 10 cases and
94-95 % from 20; distances with a heavy tail, lognormal(0, 1), only 87 %, 90 %, 92 % and 91 % with
10, 20, 40 and 100. Plain percentile intervals cover 88-89 % (heavy tail: 81 %) with 10 cases.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError
from vesalius.segment.metrics.resampling import Interval, Settings, divide, intervals, nanmean


def bootstrap(
    values: ArrayLike,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    method: Literal["bca", "percentile"] = "bca",
    expand: bool = True,
    groups: Sequence[Hashable] | None = None,
) -> Interval:
    """Return the mean over cases with its bootstrap interval.

    Args:
        values: (cases,) or (cases, scores). NaN is left out of its column; infinities are refused,
            because a mean with one says nothing: report how many there are, and a penalised mean.
        resamples: bootstrap samples; 10,000 leave about 0.1 percentage points of noise in the
            level of a 95 % interval.
        confidence: nominal level, between 0 and 1.
        seed: of the draws; the same seed gives the same interval.
        method: "bca": bias-corrected and accelerated (Efron 1987), for skewed scores such as Dice
            near 1 or distances; "percentile": quantiles of the resampled means (Efron 1979).
        expand: put the quantiles further out, by sqrt(n / (n - 1)) t(n - 1) / z, because resampled
            means of few units vary too little (Hesterberg 2015, section 5.3, for the percentile
            interval; applied to both here). False: the textbook interval, as in scipy.
        groups: (cases,) patient of each case; whole patients are drawn (cluster bootstrap).

    Returns:
        scalars in the interval's attributes for (cases,), arrays (scores,) for (cases, scores).

    Raises:
        DataError: no cases, an infinite value, or an argument out of its range.

    Example:
        >>> interval = bootstrap([0.91, 0.85, 0.88, 0.93, 0.79, 0.90])
        >>> bool(interval.low < interval.estimate < interval.high)
        True
    """
    table = _table(values)
    present = ~np.isnan(table)
    sums = np.concatenate([np.where(present, table, 0.0), present], axis=1)
    found = intervals(
        sums,
        _ratio_of_halves,
        present,
        groups,
        Settings(resamples, confidence, seed, method, expand),
    )
    return found[0] if np.ndim(values) == 1 else found


def bootstrap_counts(
    counts: ArrayLike | Mapping[str, ArrayLike],
    *,
    labels: Sequence[int] | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    method: Literal["bca", "percentile"] = "bca",
    expand: bool = True,
    groups: Sequence[Hashable] | None = None,
) -> dict[str, Interval]:
    """Return global scores, all pixels of all cases at once, with bootstrap intervals over cases.

    Args:
        counts: confusion matrices, integers (cases, classes, classes) with rows the truth; or
            {"tp", "fp", "fn"}, each (cases, classes).
        labels: columns that take part in the means; None: all. Leave the background out of a
            mean Dice, keep it in mIoU, as is usual.
        resamples, confidence, seed, method, expand, groups: as for `bootstrap`.

    Returns:
        `dice`, `iou`, `precision`, `recall`: one interval per class; `mean_dice`, `mean_iou`: means
        over the chosen labels that occur; `micro_dice`, `micro_iou`: with the pixels of the chosen
        labels pooled.

    Raises:
        DataError: counts of another form, negative ones, or an argument out of its range.
    """
    tp, fp, fn = _tp_fp_fn(counts)
    chosen = np.arange(tp.shape[1]) if labels is None else np.asarray(labels)
    sums = np.concatenate([tp, fp, fn], axis=1).astype(np.float64)
    occurs = (tp + fp + fn) > 0
    some = occurs[:, chosen].any(1)[:, None]
    present = np.concatenate([*[occurs] * 4, *[some] * 4], axis=1)
    found = intervals(
        sums,
        lambda table: _global_scores(table, chosen),
        present,
        groups,
        Settings(resamples, confidence, seed, method, expand),
    )
    classes = tp.shape[1]
    names = ("dice", "iou", "precision", "recall")
    whole = ("mean_dice", "mean_iou", "micro_dice", "micro_iou")
    per_class = {name: found[i * classes : (i + 1) * classes] for i, name in enumerate(names)}
    return per_class | {name: found[4 * classes + i] for i, name in enumerate(whole)}


def _table(values: ArrayLike) -> NDArray[np.float64]:
    """Return values as (cases, scores) without infinities."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim not in (1, 2) or len(table) == 0:
        raise DataError(
            f"Values have shape {table.shape}; give (cases,) or (cases, scores), at least one case."
        )
    table = table.reshape(len(table), -1)
    if np.isinf(table).any():
        raise DataError(
            f"{np.isinf(table).sum()} of the values are infinite (a distance of a missed object); "
            "a mean with them says nothing. Replace them by a penalty, or by NaN and report how "
            "many there are."
        )
    return table


def _tp_fp_fn(counts: ArrayLike | Mapping[str, ArrayLike]) -> tuple[NDArray, NDArray, NDArray]:
    if isinstance(counts, Mapping):
        parts = tuple(np.asarray(counts[name]) for name in ("tp", "fp", "fn"))
    else:
        matrix = np.asarray(counts)
        if matrix.ndim != 3 or matrix.shape[1] != matrix.shape[2]:
            raise DataError(f"Counts have shape {matrix.shape}; give (cases, classes, classes).")
        tp = np.diagonal(matrix, axis1=1, axis2=2)
        parts = tp, matrix.sum(1) - tp, matrix.sum(2) - tp
    shapes = {part.shape for part in parts}
    if len(shapes) > 1 or parts[0].ndim != 2 or 0 in parts[0].shape:
        raise DataError(
            f"tp, fp and fn have shapes {sorted(shapes)}; give each as (cases, classes)."
        )
    if any(part.dtype.kind not in "iu" or (part < 0).any() for part in parts):
        raise DataError("tp, fp and fn must be whole numbers, 0 or more. Give pixel counts.")
    return parts


def _ratio_of_halves(sums: NDArray) -> NDArray[np.float64]:
    """Return means from (..., sums then numbers)."""
    total, number = np.split(sums, 2, axis=-1)
    return divide(total, number)


def _global_scores(sums: NDArray, chosen: NDArray) -> NDArray[np.float64]:
    """Return scores from (..., tp then fp then fn per class), ordered as in `bootstrap_counts`."""
    tp, fp, fn = np.split(sums, 3, axis=-1)
    dice, iou = divide(2 * tp, 2 * tp + fp + fn), divide(tp, tp + fp + fn)
    hits, wrong = tp[..., chosen].sum(-1), (fp + fn)[..., chosen].sum(-1)
    whole = (
        nanmean(dice[..., chosen]),
        nanmean(iou[..., chosen]),
        divide(2 * hits, 2 * hits + wrong),
        divide(hits, hits + wrong),
    )
    per_class = (dice, iou, divide(tp, tp + fp), divide(tp, tp + fn))
    return np.concatenate([*per_class, np.stack(whole, axis=-1)], axis=-1)
