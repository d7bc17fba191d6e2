"""Bootstrap intervals of scores that are functions of sums over records.

The unit that is drawn is the record, or with groups the patient. A thousand resamples are a
product of matrices: how often each unit was drawn, times what it adds (sparse: a record touches
few of many labels).
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtr, ndtri

from vesalius.errors import DataError

ROWS = 100
"""Resamples that are drawn and multiplied at once."""

Statistics = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def bootstrap(
    sums: sparse.csr_array,
    statistics: Statistics,
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both ends of the interval of each statistic, NaN for fewer than two units.

    Bias-corrected percentiles (Efron 1981): a resample misses some labels' few positives, so
    resampled macro averages lie too low, and plain percentiles with them. Where nearly all
    resamples lie on one side of the estimate that correction would end at the outermost ones; then
    all are moved so that their median is the estimate.

    Args:
        sums: (N, addends) what each record adds.
        statistics: (R, addends) totals -> (R, S) scores.
        groups: (N,) patient of each record; whole patients are drawn.
        resamples: at least 100.
        confidence: nominal level, between 0 and 1.
        seed: of the draws.

    Raises:
        DataError: too few resamples, or groups of another number than records.
    """
    if resamples < 100:
        raise DataError(f"resamples is {resamples}; at least 100 make an interval")
    units = _by_group(sums, groups)
    estimate = statistics(np.asarray(units.sum(0), dtype=float).reshape(1, -1))[0]
    if units.shape[0] < 2:
        return np.full(estimate.shape, np.nan), np.full(estimate.shape, np.nan)
    rng = np.random.default_rng(seed)
    blocks = [min(ROWS, resamples - start) for start in range(0, resamples, ROWS)]
    replicates = np.concatenate([statistics(_draw(units, rows, rng)) for rows in blocks])
    return _ends(replicates, estimate, confidence)


def _by_group(sums: sparse.csr_array, groups: Sequence[Hashable] | None) -> sparse.csr_array:
    if groups is None:
        return sums
    if len(groups) != sums.shape[0]:
        raise DataError(f"There are {len(groups)} groups for {sums.shape[0]} records.")
    known: dict[Hashable, int] = {}
    places = [known.setdefault(group, len(known)) for group in groups]
    member = (np.ones(len(places)), (places, np.arange(len(places))))
    return sparse.csr_array(member, shape=(len(known), len(places))) @ sums


def _draw(units: sparse.csr_array, rows: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the totals of `rows` resamples, (rows, addends)."""
    number = units.shape[0]
    picks = rng.integers(0, number, (rows, number), dtype=np.int32)
    picks += np.arange(0, rows * number, number, dtype=np.int32)[:, None]
    drawn = np.bincount(picks.ravel(), minlength=rows * number).reshape(rows, number)
    return np.asarray((units.T @ drawn.T.astype(np.float64)).T)


def _ends(
    replicates: NDArray, estimate: NDArray, confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # A tolerance: equal scores differ by rounding, since matrix products add in another order.
    slack = 1e-12 * np.abs(estimate)
    below = (replicates < estimate - slack).sum(0) + (replicates <= estimate + slack).sum(0)
    share = np.clip(below / (2 * len(replicates)), 0.5 / len(replicates), 1 - 0.5 / len(replicates))
    tails = ndtri(np.array([[(1 - confidence) / 2], [(1 + confidence) / 2]]))
    bias = ndtri(share)
    # Beyond this the nearer end would be past the median of the resamples.
    astray = np.abs(2 * bias) > tails[1]
    levels = ndtr(np.where(astray, 0, 2 * bias) + tails)
    ordered = np.sort(replicates, axis=0)
    ordered += np.where(astray, estimate - np.median(replicates, axis=0), 0)
    place = np.rint(levels * (len(replicates) - 1)).astype(np.int64)
    columns = np.arange(replicates.shape[1])
    return ordered[place[0], columns], ordered[place[1], columns]
