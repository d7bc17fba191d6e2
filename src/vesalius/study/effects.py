"""Does a trick help? Tests and intervals for paired differences over folds.

Runs of a cross-validation share training cases, so their differences are not independent and a
plain t-test calls too much significant. The corrected resampled t-test (Nadeau and Bengio 2003,
"Inference for the generalization error", section 3, statistic 8) replaces the variance s^2 / J of
the mean by (1 / J + n_valid / n_train) s^2. It is exact where every two runs correlate by
n_valid / (n_valid + n_train), conservative where they correlate less, and liberal where much of the
noise comes from the training sets that they share; more repeats make that worse.

Share of 2,000 simulated studies (5 folds, 2 repeats, 10 or 20 tricks without effect) in which some
trick was called "helps", aim 0.05, and beside it by a plain paired t-test with Holm's correction
(`benchmarks/study_honesty.py`): exact case 0.02 (0.33, 0.42); noise of validation cases and seeds
0.00 to 0.01 (0.06 to 0.13); a third of the variance from the training sets 0.05 (0.32, 0.36); half
of it 0.14 and 0.17 (0.48, 0.55). Ridge regression (500 studies): 0.00 (0.01 to 0.03). With 10
repeats instead of 2 the share at a third rises to 0.11, at half to 0.30 (500 studies).

All differences are trick minus baseline, turned so that higher is better.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError
from vesalius.language import say
from vesalius.study.power import check_share, critical_value, detectable, valid_to_train
from vesalius.study.power import power as power

Verdict = Literal["helps", "no evidence", "hurts"]
Alternative = Literal["two-sided", "greater", "less"]

ROUNDING = 1e-12
"""Scores that differ by less, relative to their size, are the same score."""
SAME = 1e-9
"""Differences that spread by less, relative to their size, are equal: digits are lost."""


@dataclass(frozen=True)
class Estimate:
    """A mean over runs with its interval.

    Attributes:
        mean: of the runs that have a value; NaN without any.
        low, high: ends of the interval, NaN where it cannot be had.
        sd: sample standard deviation of single runs, NaN for fewer than two.
        error: corrected standard error of the mean.
        runs: J, the number of values.
        reason: why there is no interval or no test; empty if there is.
    """

    mean: float
    low: float
    high: float
    sd: float
    error: float
    runs: int
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and words."""
        return asdict(self)


@dataclass(frozen=True)
class Effect(Estimate):
    """A mean difference with its interval and test.

    Attributes:
        p: of the corrected resampled t-test; NaN where it cannot be had.
    """

    p: float


def mean_interval(
    values: ArrayLike, *, train: float, valid: float, confidence: float = 0.95
) -> Estimate:
    """Return the mean score over folds with its corrected interval (Nadeau and Bengio 2003).

    The interval is symmetric and is not cut at the ends of a score's range.

    Args:
        values: (J,) or (repeats, folds), one score per run; NaN for runs that did not take place.
        train, valid: cases (with groups: groups) in the training and validation part of a fold.
        confidence: nominal level, between 0 and 1.

    Raises:
        DataError: infinite values, or an argument out of its range.

    Example:
        >>> found = mean_interval([0.8, 0.7, 0.9], train=20, valid=10)
        >>> round(found.mean, 2), round(found.low, 2), round(found.high, 2)
        (0.8, 0.41, 1.19)
    """
    ratio = valid_to_train(train, valid)
    check_share(confidence, "confidence")
    return Estimate(**_summary(_runs(values), ratio, confidence))


def effect(
    differences: ArrayLike,
    *,
    train: float,
    valid: float,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
) -> Effect:
    """Return the mean difference, its interval and p by the corrected resampled t-test.

    Two or more differences, all 0 (the trick changed nothing), have p = 1 and the interval 0 to 0.
    A single one, or several that are all the same but not 0, show no variance to test against:
    interval and p are NaN and `reason` says so. (With coarse scores a few equal differences come
    about by chance easily; the limit p = 0 would call that certain.)

    Args:
        differences: (J,) or (repeats, folds), trick minus baseline; NaN where either did not run.
        train, valid: cases (with groups: groups) in the training and validation part of a fold.
        alternative: "greater" and "less" give the one-sided p; the interval is two-sided always.
        confidence: nominal level of the interval, between 0 and 1.

    Raises:
        DataError: infinite differences, or an argument out of its range.

    Example:
        >>> found = effect([0.02, 0.01, 0.03, 0.02, 0.02], train=80, valid=20)
        >>> round(found.mean, 3), round(found.p, 4)
        (0.02, 0.0135)
    """
    if alternative not in ("two-sided", "greater", "less"):
        raise DataError(f"alternative is '{alternative}'; give two-sided, greater or less")
    ratio = valid_to_train(train, valid)
    check_share(confidence, "confidence")
    values = _runs(differences)
    summary = _summary(values, ratio, confidence)
    if len(values) > 1 and not values.any():
        reason = say("the trick changed no score", "该技巧没有改变任何分数")
        return Effect(**summary | {"low": 0.0, "high": 0.0, "p": 1.0, "reason": reason})
    if summary["reason"]:
        return Effect(**summary, p=np.nan)
    t = summary["mean"] / summary["error"]
    return Effect(**summary, p=_p_value(t, len(values) - 1, alternative))


def bayesian(
    differences: ArrayLike, *, correlation: float, rope: float = 0.0
) -> tuple[float, float, float]:
    """Return the probabilities that a trick hurts, is practically equivalent, and helps.

    Bayesian correlated t-test (Corani and Benavoli 2015; Benavoli, Corani, Demsar and Zaffalon
    2017, section 3): under the reference prior the mean difference has a Student posterior with
    J - 1 degrees of freedom, centre the mean, and scale sqrt(1 / J + c / (1 - c)) s.

    Args:
        differences: (J,) or (repeats, folds); NaN where a run did not take place.
        correlation: c of two runs, usually 1 / folds = n_valid / (n_valid + n_train); 0 to below 1.
        rope: half width of the region of practical equivalence, in units of the score, 0 or more.

    Returns:
        (p_hurts, p_equivalent, p_helps), which sum to 1; all NaN where `effect` has no p. Where
        all differences are 0 the posterior is a point in the region.

    Raises:
        DataError: infinite differences, or an argument out of its range.
    """
    from scipy.special import stdtr

    if not 0 <= correlation < 1:
        raise DataError(f"correlation is {correlation}; give 0 to below 1, usually 1 / folds")
    if not 0 <= rope < np.inf:
        raise DataError(f"rope is {rope}; give 0 or more, in units of the score")
    values = _runs(differences)
    if len(values) > 1 and not values.any():
        return 0.0, 1.0, 0.0
    summary = _summary(values, correlation / (1 - correlation), 0.95)
    if summary["reason"]:
        return np.nan, np.nan, np.nan
    mean, error, freedom = summary["mean"], summary["error"], len(values) - 1
    hurts = float(stdtr(freedom, (-rope - mean) / error))
    helps = float(stdtr(freedom, (mean - rope) / error))
    return hurts, max(0.0, 1 - hurts - helps), helps


def holm(p_values: ArrayLike, *, tests: int | None = None) -> NDArray[np.float64]:
    """Return p-values adjusted for their number by Holm's step-down method (1979).

    Args:
        p_values: of any shape; NaN stays NaN.
        tests: how many hypotheses there are. None: as many as p-values that are not NaN. Give the
            number of all tricks when some were given up on the way: which ones remain depends on
            the data, so correcting for those alone would be too lenient.

    Raises:
        DataError: a p-value outside 0 to 1, or fewer tests than p-values.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    flat = values.ravel()
    known = np.flatnonzero(~np.isnan(flat))
    if ((flat[known] < 0) | (flat[known] > 1)).any():
        raise DataError(f"p-values must lie in 0 to 1; these are {flat.tolist()}")
    tests = len(known) if tests is None else tests
    if tests < len(known):
        raise DataError(f"tests is {tests}, but there are {len(known)} p-values")
    order = known[np.argsort(flat[known], kind="stable")]
    stepped = flat[order] * (tests - np.arange(len(order)))
    adjusted = np.full(flat.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted.reshape(values.shape)


def verdict(effect: Estimate, adjusted_p: float, level: float = 0.05) -> Verdict:
    """Return "helps" or "hurts" where the adjusted p is below the level, else "no evidence".

    A p of NaN is no evidence. No evidence is not evidence of no effect: see `detectable`.
    """
    check_share(level, "level")
    if not adjusted_p < level or effect.mean == 0:
        return "no evidence"
    return "helps" if effect.mean > 0 else "hurts"


@dataclass(frozen=True)
class Row:
    """One trick of a study.

    Attributes:
        name: of the trick.
        effect: mean difference, interval, p.
        adjusted_p: Holm-adjusted over all tricks of the study.
        verdict: "helps", "no evidence" or "hurts".
        p_hurts, p_equivalent, p_helps: of the Bayesian correlated t-test.
        detectable: the smallest effect that so many runs would have found, see `detectable`.
        dropped: a race gave the trick up; its effect and interval describe what was seen, its
            adjusted p is 1.
    """

    name: str
    effect: Effect
    adjusted_p: float
    verdict: Verdict
    p_hurts: float
    p_equivalent: float
    p_helps: float
    detectable: float
    dropped: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and words, the effect's among them."""
        return {name: value for name, value in asdict(self).items() if name != "effect"} | asdict(
            self.effect
        )


def table(
    baseline_scores: ArrayLike,
    trick_scores: Mapping[str, ArrayLike],
    *,
    train: float,
    valid: float,
    folds: int | None = None,
    rope: float = 0.01,
    level: float = 0.05,
    power: float = 0.8,
    confidence: float = 0.95,
    dropped: Collection[str] = (),
) -> list[Row]:
    """Compare every trick with the baseline on the same runs.

    All tricks count in Holm's correction, also those without a p and those that were dropped.

    Args:
        baseline_scores: (repeats, folds) or (J,), higher is better; NaN where not run.
        trick_scores: {name: array of the same shape}, the same runs in the same places.
        train, valid: cases (with groups: groups) in the training and validation part of a fold.
        folds: k; the Bayesian test takes runs to correlate by 1 / k. None: by the share that
            validates, which is the same for whole cross-validations.
        rope: smallest difference that matters, in units of the score.
        level: of the family of tests, between 0 and 1.
        power: at which `detectable` is found.
        confidence: of the intervals, each for itself.
        dropped: tricks that a race gave up, see `vesalius.study.racing`. When to stop looked at
            the data, so their p counts as 1: whatever else is called "helps" then, would have been
            without the race too.

    Returns:
        one row per trick, in the order given.

    Raises:
        DataError: no trick, shapes that differ, infinite scores, names in `dropped` that are not
            tricks, or an argument out of its range.
    """
    if folds is not None and folds < 2:
        raise DataError(f"folds is {folds}; give 2 or more")
    differences = _differences(baseline_scores, trick_scores, dropped)
    correlation = valid / (train + valid) if folds is None else 1 / folds
    effects = {
        name: effect(values, train=train, valid=valid, confidence=confidence)
        for name, values in differences.items()
    }
    p_values = [1.0 if name in dropped else one.p for name, one in effects.items()]
    adjusted = holm(p_values, tests=len(effects))
    design = {"train": train, "valid": valid, "tests": len(effects), "power": power, "level": level}
    return [
        Row(
            name,
            one,
            float(p),
            verdict(one, float(p), level),
            *bayesian(differences[name], correlation=correlation, rope=rope),
            detectable(one.sd, one.runs, **design),
            name in dropped,
        )
        for (name, one), p in zip(effects.items(), adjusted, strict=True)
    ]


def _differences(
    baseline_scores: ArrayLike, trick_scores: Mapping[str, ArrayLike], dropped: Collection[str]
) -> dict[str, NDArray[np.float64]]:
    """Return trick minus baseline, without the noise of rounding."""
    baseline = np.asarray(baseline_scores, dtype=np.float64)
    scores = {name: np.asarray(values, dtype=np.float64) for name, values in trick_scores.items()}
    problems = [
        f"{name}: scores of shape {values.shape}; the baseline's have {baseline.shape}"
        for name, values in scores.items()
        if values.shape != baseline.shape
    ]
    problems += [
        f"{name}: infinite scores; mark runs that failed as NaN"
        for name, values in {"baseline": baseline, **scores}.items()
        if np.isinf(values).any()
    ]
    problems += [f"{name}: dropped, but not a trick" for name in sorted({*dropped} - {*scores})]
    problems += [] if scores else ["there is no trick to compare"]
    if problems:
        raise DataError("the scores of this study cannot be compared", problems)
    return {name: _without_rounding(values, baseline) for name, values in scores.items()}


def _without_rounding(scores: NDArray, baseline: NDArray) -> NDArray[np.float64]:
    difference = scores - baseline
    size = np.maximum(np.abs(scores), np.abs(baseline))
    return np.where(np.abs(difference) <= ROUNDING * size, 0.0, difference)


def _runs(values: ArrayLike) -> NDArray[np.float64]:
    """Return the values that are there, (J,)."""
    values = np.asarray(values, dtype=np.float64).ravel()
    if np.isinf(values).any():
        raise DataError(
            f"{np.isinf(values).sum()} of {len(values)} values are infinite; "
            "mark runs that failed as NaN"
        )
    return values[~np.isnan(values)]


def _summary(values: NDArray, ratio: float, confidence: float) -> dict[str, Any]:
    """Return the fields of an `Estimate` from values (J,) without NaN."""
    number = len(values)
    mean = float(values.mean()) if number else np.nan
    found = {"mean": mean, "low": np.nan, "high": np.nan, "sd": np.nan, "error": np.nan}
    found |= {"runs": number, "reason": ""}
    if number == 0:
        return found | {"reason": say("no run has a score", "没有任何一次训练有分数")}
    if number == 1:
        return found | {"reason": say("one run has no variance", "只有一次训练，无法估计方差")}
    # The mean of equal numbers is not always that number: without this the sd would be 1e-17.
    same = np.ptp(values) <= SAME * np.abs(values).max()
    if same:
        reason = say(
            "all runs have the same value: no variance to test against",
            "每次训练的数值都相同：没有可供检验的方差",
        )
        return found | {"sd": 0.0, "error": 0.0, "reason": reason}
    sd = float(values.std(ddof=1))
    error = sd * float(np.sqrt(1 / number + ratio))
    half = critical_value(number - 1, 1 - confidence) * error
    return found | {"low": mean - half, "high": mean + half, "sd": sd, "error": error}


def _p_value(t: float, freedom: int, alternative: Alternative) -> float:
    from scipy.special import stdtr

    if alternative == "two-sided":
        return float(min(1.0, 2 * stdtr(freedom, -abs(t))))
    return float(stdtr(freedom, -t if alternative == "greater" else t))
