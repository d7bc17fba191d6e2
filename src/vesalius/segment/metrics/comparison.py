"""Is one model better than another on the same cases? Paired intervals and tests."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError
from vesalius.segment.metrics.resampling import (
    ROWS,
    Interval,
    divide,
    nanmean,
    summed,
    units_of,
)
from vesalius.segment.metrics.statistics import bootstrap

_EXACT_UNITS = 13
"""With so many units all patterns of signs (8,192) are tried instead of random ones."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models on the same cases; arrays where several scores were compared.

    Attributes:
        mean_a, mean_b: means over the cases that have a finite value in both.
        difference: mean of a - b, with its paired bootstrap interval.
        wilcoxon_p: Wilcoxon's signed-rank test, two-sided: is the difference symmetric about 0?
        permutation_p: sign-flip test of the mean difference, two-sided; exact up to 13 units.
        wilcoxon_holm, permutation_holm: the same, corrected for the number of scores (Holm 1979).
        better, equal, worse: share of paired cases where a is better than b, equal, worse.
        cases: pairs with a value in both models.
        unpaired: cases where exactly one model has a value: they take no part.
        unbounded: pairs with an infinite value: they count in the shares and in Wilcoxon's test
            (as the largest difference; 0 where both are infinite), not in means, interval and
            permutations.
    """

    mean_a: NDArray[np.float64]
    mean_b: NDArray[np.float64]
    difference: Interval
    wilcoxon_p: NDArray[np.float64]
    permutation_p: NDArray[np.float64]
    wilcoxon_holm: NDArray[np.float64]
    permutation_holm: NDArray[np.float64]
    better: NDArray[np.float64]
    equal: NDArray[np.float64]
    worse: NDArray[np.float64]
    cases: NDArray[np.int64]
    unpaired: NDArray[np.int64]
    unbounded: NDArray[np.int64]

    def __getitem__(self, index: Any) -> "Comparison":
        """Return the comparison of one column, or of some."""
        return Comparison(**{item.name: getattr(self, item.name)[index] for item in fields(self)})

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            name: part.to_dict() if isinstance(part, Interval) else np.asarray(part).tolist()
            for name, part in plain.items()
        }


def compare(
    a: ArrayLike,
    b: ArrayLike,
    *,
    higher_is_better: bool = True,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    method: Literal["bca", "percentile"] = "bca",
    expand: bool = True,
    groups: Sequence[Hashable] | None = None,
) -> Comparison:
    """Compare two models that were scored on the same cases.

    A small p says that the difference is unlikely to be chance in the choice of cases. It does not
    say that the difference matters, nor that it would survive another training seed: one run each
    is one sample of a model. Look at the interval first.

    Args:
        a, b: (cases,) or (cases, scores), cases in the same order. NaN: no value.
        higher_is_better: False for distances.
        resamples, confidence, seed, method, expand: as for `bootstrap`; also the random sign
            patterns of the permutation test.
        groups: (cases,) patient of each case; tests and intervals then take patients as units (in
            the tests with the sum of their differences).

    Raises:
        DataError: the shapes differ, or an argument is out of its range.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim not in (1, 2) or not first.size:
        raise DataError(
            f"The models have scores of shapes {first.shape} and {second.shape}; give the same "
            "cases in the same order, as (cases,) or (cases, scores)."
        )
    first, second = (part.reshape(len(part), -1) for part in (first, second))
    paired = ~(np.isnan(first) | np.isnan(second))
    difference = np.where(paired, _differences(first, second), np.nan)
    bounded = np.isfinite(first) & np.isfinite(second)
    finite = np.where(bounded, difference, np.nan)
    settings = {"resamples": resamples, "seed": seed, "groups": groups}
    interval = bootstrap(finite, confidence=confidence, method=method, expand=expand, **settings)
    wilcoxon, permutation = _wilcoxon(difference, groups), _permutation(finite, **settings)
    gain = difference if higher_is_better else -difference
    number = paired.sum(0)
    comparison = Comparison(
        nanmean(np.where(bounded, first, np.nan), axis=0),
        nanmean(np.where(bounded, second, np.nan), axis=0),
        interval,
        wilcoxon,
        permutation,
        holm(wilcoxon),
        holm(permutation),
        *(divide(found.sum(0), number) for found in (gain > 0, gain == 0, gain < 0)),
        cases=number,
        unpaired=(np.isnan(first) ^ np.isnan(second)).sum(0),
        unbounded=(paired & ~bounded).sum(0),
    )
    return comparison[0] if np.ndim(a) == 1 else comparison


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values corrected for their number by Holm's step-down method (1979); NaN stays.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(p_values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known])]
    stepped = p_values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return corrected


def _differences(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Return first - second, 0 where both are the same infinity, rounding errors off."""
    with np.errstate(invalid="ignore"):
        return np.where(first == second, 0.0, np.round(first - second, 12))


def _wilcoxon(difference: NDArray, groups: Sequence[Hashable] | None) -> NDArray[np.float64]:
    """Return the p-value of each column; 1 where no pair differs."""
    from scipy.stats import wilcoxon

    unit_of = units_of(groups, len(difference))
    p_values = np.full(difference.shape[1], np.nan)
    for column, values in enumerate(difference.T):
        kept = ~np.isnan(values)
        with np.errstate(invalid="ignore"):  # one patient may have both infinities
            sums = summed(np.where(kept, values, 0.0)[:, None], unit_of)[:, 0]
        sums = sums[np.nan_to_num(sums, posinf=1, neginf=-1) != 0]
        if kept.any():
            p_values[column] = wilcoxon(sums).pvalue if sums.size else 1.0
    return p_values


def _permutation(
    difference: NDArray, *, resamples: int, seed: int, groups: Sequence[Hashable] | None
) -> NDArray[np.float64]:
    """Return the share of sign patterns with a sum at least as far from 0."""
    kept = ~np.isnan(difference)
    sums = summed(np.where(kept, difference, 0.0), units_of(groups, len(difference)))
    units = len(sums)
    exact = units <= _EXACT_UNITS
    patterns = _all_signs(units) if exact else _random_signs(units, resamples, seed)
    limit = np.abs(sums.sum(0)) * (1 - 1e-12)
    count, number = np.zeros(sums.shape[1]), 0
    for signs in patterns:
        count += (np.abs(signs @ sums) >= limit).sum(0)
        number += len(signs)
    # Of random patterns the observed one is one more, so p is never 0 (Phipson and Smyth 2010).
    p_values = count / number if exact else (count + 1) / (number + 1)
    return np.where(kept.any(0), p_values, np.nan)


def _all_signs(units: int) -> Iterator[NDArray[np.float64]]:
    bits = np.arange(2**units)[:, None] >> np.arange(units)
    yield 1.0 - 2.0 * (bits & 1)


def _random_signs(units: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, ROWS):
        yield 1.0 - 2.0 * rng.integers(0, 2, (min(ROWS, resamples - start), units), dtype=np.int8)
