"""What a study could have seen: power and the smallest detectable effect.

Under the corrected resampled t-test (see `vesalius.study.effects`) a true effect makes t a
non-central Student variable with J - 1 degrees of freedom and non-centrality effect / error.
"""

from functools import lru_cache

import numpy as np

from vesalius.errors import DataError


def power(
    effect: float,
    sd: float,
    runs: int,
    *,
    train: float,
    valid: float,
    tests: int = 1,
    level: float = 0.05,
) -> float:
    """Return the chance that a true effect is called by its right name ("helps" or "hurts").

    Non-central t with J - 1 degrees of freedom, at level / tests, two-sided: the first step of
    Holm's method, so a lower bound where several tricks have effects. Holds where runs correlate
    as the corrected t-test supposes.

    Args:
        effect: true mean difference; its sign does not matter.
        sd: standard deviation of the differences within a study, as `Effect.sd` estimates it.
        runs: J = repeats x folds.
        train, valid: cases in the training and validation part of a fold.
        tests: number of tricks that are corrected for.
        level: of the family of tests.

    Returns:
        0 to 1; NaN for fewer than two runs or an sd of 0 or NaN.

    Raises:
        DataError: an argument out of its range.
    """
    from scipy.special import nctdtr

    alpha, error = _design(sd, runs, train, valid, tests, level)
    if not error > 0:
        return np.nan
    return float(1 - nctdtr(runs - 1, abs(effect) / error, critical_value(runs - 1, alpha)))


def detectable(
    sd: float,
    runs: int,
    *,
    train: float,
    valid: float,
    tests: int = 1,
    power: float = 0.8,
    level: float = 0.05,
) -> float:
    """Return the smallest true effect that this design calls "helps" with the given power.

    The inverse of `power`, found numerically; the same effect with a minus is called "hurts" as
    often. Arguments and errors as there.

    Returns:
        in units of the score, above 0; NaN for fewer than two runs or an sd of 0 or NaN.
    """
    alpha, error = _design(sd, runs, train, valid, tests, level)
    if not alpha / 2 < power < 1:
        raise DataError(f"power is {power}; give a share between {alpha / 2:.3g} and 1")
    if not error > 0:
        return np.nan
    return _non_centrality(runs - 1, alpha, power) * error


def _design(
    sd: float, runs: int, train: float, valid: float, tests: int, level: float
) -> tuple[float, float]:
    """Return the level of a single test and the corrected standard error, NaN for one run."""
    check_share(level, "level")
    ratio = valid_to_train(train, valid)
    if tests < 1 or runs < 0 or sd < 0:
        raise DataError(f"tests is {tests}, runs {runs}, sd {sd}; give tests >= 1, the others >= 0")
    return level / tests, sd * float(np.sqrt(1 / runs + ratio)) if runs > 1 else np.nan


@lru_cache(maxsize=1024)
def critical_value(freedom: int, alpha: float) -> float:
    """Return the two-sided critical value of Student's t."""
    from scipy.special import stdtrit

    return float(-stdtrit(freedom, alpha / 2))


@lru_cache(maxsize=1024)
def _non_centrality(freedom: int, alpha: float, power: float) -> float:
    """Return the non-centrality whose t exceeds the critical value with probability `power`."""
    from scipy.optimize import brentq
    from scipy.special import nctdtr

    critical = critical_value(freedom, alpha)
    high = 1.0
    while 1 - nctdtr(freedom, high, critical) < power:
        high *= 2
    return float(brentq(lambda x: 1 - nctdtr(freedom, x, critical) - power, 0.0, high, xtol=1e-10))


def valid_to_train(train: float, valid: float) -> float:
    """Return n_valid / n_train."""
    if not (0 < train < np.inf and 0 < valid < np.inf):
        raise DataError(f"train is {train} and valid {valid}; give numbers of cases above 0")
    return valid / train


def check_share(value: float, name: str) -> None:
    """Raise DataError unless the value lies between 0 and 1."""
    if not 0 < value < 1:
        raise DataError(f"{name} is {value}; give a share between 0 and 1, for example 0.05")
