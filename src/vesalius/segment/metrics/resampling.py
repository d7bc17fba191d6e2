"""The machinery of bootstrap intervals: draws, quantile levels, quantiles.

All resampled scores are functions of sums over units, so 10,000 resamples are one product of
matrices: how often each unit was drawn, times what each unit adds.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.errors import DataError

METHODS = ("bca", "percentile")
ROWS = 1000
"""Resamples that are drawn and multiplied at once: few megabytes, whatever their number."""


@dataclass(frozen=True, eq=False)
class Interval:
    """A score with its confidence interval; arrays where several scores were asked for.

    Attributes:
        estimate: the score of the cases as they are.
        low, high: ends of the interval; NaN where fewer than two units have a value.
        confidence: the nominal level, for example 0.95.
        cases: how many cases have a value.
        units: how many independent units (cases, or groups) have a value.
        method: "bca" or "percentile", with "expanded" before it where it was.
    """

    estimate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    confidence: float
    cases: NDArray[np.int64]
    units: NDArray[np.int64]
    method: str

    def __getitem__(self, index: Any) -> "Interval":
        """Return the interval of one column, or of some."""
        names = ("estimate", "low", "high", "cases", "units")
        parts = {name: np.asarray(getattr(self, name))[index] for name in names}
        return Interval(**parts, confidence=self.confidence, method=self.method)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists."""
        names = ("estimate", "low", "high", "cases", "units")
        plain = {name: np.asarray(getattr(self, name)).tolist() for name in names}
        return {**plain, "confidence": self.confidence, "method": self.method}


@dataclass(frozen=True)
class Settings:
    """How a bootstrap is made; every bad value is listed."""

    resamples: int
    confidence: float
    seed: int
    method: str
    expand: bool

    @property
    def name(self) -> str:
        """How reports call the interval."""
        return f"expanded {self.method}" if self.expand else self.method

    def __post_init__(self):
        problems = []
        if self.resamples < 100:
            problems.append(f"resamples is {self.resamples}; at least 100 make an interval")
        if not 0 < self.confidence < 1:
            problems.append(
                f"confidence is {self.confidence}; it lies between 0 and 1 (95 %: 0.95)"
            )
        if self.method not in METHODS:
            problems.append(f"method is '{self.method}'; known are {', '.join(METHODS)}")
        if problems:
            raise DataError("The bootstrap cannot be made:", problems)


def intervals(
    sums: NDArray[np.float64],
    score: Callable[[NDArray], NDArray],
    present: NDArray[np.bool_],
    groups: Sequence[Hashable] | None,
    settings: Settings,
) -> Interval:
    """Return the interval of scores that are functions of sums over cases.

    Args:
        sums: (cases, addends) what each case adds.
        score: (..., addends) -> (..., scores).
        present: (cases, scores) whether a case has a part in a score.
    """
    places = units_of(groups, len(sums))
    cases = present.sum(0)
    units = summed(present.astype(np.float64), places)
    sums = summed(sums, places)
    total = sums.sum(0)
    estimate = score(total)
    replicates = np.concatenate(
        [score(drawn @ sums) for drawn in draws(len(sums), settings.resamples, settings.seed)]
    )
    number = np.count_nonzero(units, axis=0)
    levels = _levels(replicates, estimate, lambda: score(total - sums), number, settings)
    low, high = _quantiles(replicates, levels)
    unknown = number < 2
    low, high = np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)
    return Interval(estimate, low, high, settings.confidence, cases, number, settings.name)


def draws(units: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each unit is drawn, float64 (some resamples, units), until all are made."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, ROWS):
        rows = min(ROWS, resamples - start)
        picks = rng.integers(0, units, (rows, units), dtype=np.int32)
        picks += np.arange(0, rows * units, units, dtype=np.int32)[:, None]
        drawn = np.bincount(picks.ravel(), minlength=rows * units)
        yield drawn.reshape(rows, units).astype(np.float64)


def units_of(groups: Sequence[Hashable] | None, cases: int) -> NDArray[np.int64]:
    """Return the number of each case's unit."""
    if groups is None:
        return np.arange(cases)
    if len(groups) != cases:
        raise DataError(f"There are {len(groups)} groups for {cases} cases. Give one per case.")
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(group, len(known)) for group in groups])


def summed(table: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sums over each unit's cases, (units, columns)."""
    if len(places) == places.max() + 1:
        return table
    summed = np.zeros((places.max() + 1, table.shape[1]))
    np.add.at(summed, places, table)
    return summed


def _levels(
    replicates: NDArray,
    estimate: NDArray,
    left_out: Callable[[], NDArray],
    number: NDArray,
    settings: Settings,
) -> NDArray[np.float64]:
    """Return the two quantile levels of each score, (2, scores)."""
    from scipy.special import ndtr, ndtri, stdtrit

    tails = np.array([[(1 - settings.confidence) / 2], [(1 + settings.confidence) / 2]])
    ends = np.broadcast_to(ndtri(tails), (2, len(estimate)))
    if settings.expand:
        n = np.maximum(number, 2)
        ends = np.sqrt(n / (n - 1)) * stdtrit(n - 1, tails)
    if settings.method == "percentile":
        return ndtr(ends)
    bias = ndtri(_share_below(replicates, estimate))
    shifted = bias + ends
    scale = 1 - _acceleration(left_out()) * shifted
    # A pole lies beyond what few, very skewed units can support: then take the extreme.
    return ndtr(bias + np.where(scale > 0, shifted / np.maximum(scale, 1e-9), np.inf * shifted))


def _share_below(replicates: NDArray, estimate: NDArray) -> NDArray[np.float64]:
    """Return the share of replicates below the estimate, ties half, kept off 0 and 1."""
    # A tolerance: equal scores differ by rounding, since matrix products add in another order.
    slack = 1e-12 * np.abs(estimate)
    known = ~np.isnan(replicates)
    number = np.maximum(known.sum(0), 1)
    below = (replicates < estimate - slack).sum(0)
    above = (replicates > estimate + slack).sum(0)
    share = (below + 0.5 * (known.sum(0) - below - above)) / number
    return np.clip(share, 0.5 / number, 1 - 0.5 / number)


def _acceleration(left_out: NDArray) -> NDArray[np.float64]:
    """Return a sixth of the skewness of the scores with one unit left out each (Efron 1987)."""
    spread = nanmean(left_out, axis=0) - left_out
    third, second = np.nansum(spread**3, axis=0), np.nansum(spread**2, axis=0)
    return third / np.maximum(6 * second**1.5, 1e-300)  # 0 where all are equal


def _quantiles(replicates: NDArray, levels: NDArray) -> tuple[NDArray, NDArray]:
    """Return the quantiles of each column at its own two levels, without NaN."""
    ordered = np.sort(replicates, axis=0)  # NaN go last
    last = np.maximum((~np.isnan(replicates)).sum(0) - 1, 0)
    place = np.clip(levels, 0, 1) * last
    below = np.floor(place).astype(np.int64)
    columns = np.arange(replicates.shape[1])
    first, second = ordered[below, columns], ordered[np.minimum(below + 1, last), columns]
    low, high = first + (place - below) * (second - first)
    return low, high


def divide(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    """Return part / whole; NaN where whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def nanmean(values: NDArray, axis: int = -1) -> NDArray[np.float64]:
    """Return means without NaN; NaN, and no warning, where nothing is left."""
    present = ~np.isnan(values)
    return divide(np.where(present, values, 0.0).sum(axis), present.sum(axis))
