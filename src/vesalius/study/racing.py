"""An early stop for studies: tricks with hardly a chance left are not run to the end.

Racing (Maron and Moore 1994; for paired blocks Birattari et al. 2002; for resampled models Kuhn
2014, "Futility analysis") gives up candidates block by block. Unlike those, which look for the
best candidate, a race here asks of each trick alone whether the finished study would still call it
"helps": the predictive power of Spiegelhalter, Freedman and Blackburn (1986), with the corrected
resampled t-test at the end.

After J of N runs with mean d and standard deviation s the final mean is d plus a Student variable
with J - 1 degrees of freedom, times s sqrt(1 / J - 1 / N): what all runs share has been seen
already, so the correction for overlapping training sets does not enter. It enters the bar: the
final mean must exceed t* s sqrt(1 / N + n_valid / n_train), with t* of the two-sided level without
correction for the number of tricks, the lowest bar that Holm's method ever sets.

Stopping for futility takes chances to be called "helps" away and gives none (Lachin 2005), as long
as tricks that were dropped still count: `effects.table(..., dropped=race.dropped)`. What remains
and is called "helps" then, would have been called so without the race. In simulated studies of 10
tricks, one of them with an effect, a race saved 38 to 49 % of the runs and lost at most 0.016 of
the power, nothing in most (`benchmarks/study_honesty.py`).
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from vesalius.errors import DataError
from vesalius.study.power import check_share, critical_value, valid_to_train


def chance(
    differences: ArrayLike, *, runs: int, train: float, valid: float, level: float = 0.05
) -> float:
    """Return the predictive probability that the finished study calls a trick "helps".

    The standard deviation of the finished study is taken to be that of the runs so far.

    Args:
        differences: (J,) trick minus baseline so far, higher is better; NaN where a run failed.
        runs: N, how many there will be.
        train, valid: cases (with groups: groups) in the training and validation part of a fold.
        level: of the final two-sided test of this trick.

    Returns:
        0 to 1; NaN for fewer than two differences. Differences that are all the same give 1 above
        0, else 0. At J = N it is 1 or 0: significant or not.

    Raises:
        DataError: more differences than runs, infinite ones, or an argument out of its range.
    """
    from scipy.special import stdtr

    ratio = valid_to_train(train, valid)
    check_share(level, "level")
    values = np.asarray(differences, dtype=np.float64).ravel()
    if len(values) > runs or np.isinf(values).any():
        raise DataError(f"{len(values)} differences, {values.tolist()}, do not fit {runs} runs")
    # Runs that failed will not come back, so the finished study has fewer.
    runs -= int(np.isnan(values).sum())
    values = values[~np.isnan(values)]
    done = len(values)
    if done < 2:
        return np.nan
    mean, sd = values.mean(), values.std(ddof=1)
    margin = mean - critical_value(runs - 1, level) * sd * np.sqrt(1 / runs + ratio)
    spread = sd * np.sqrt(1 / done - 1 / runs)
    if spread == 0:
        return float(margin > 0)
    return float(stdtr(done - 1, margin / spread))


class Race:
    """Says after each block (fold) which tricks to give up.

    The baseline is not in the race and is never given up. A trick that was dropped stays so. The
    same differences told in the same order drop the same tricks, so a study that was interrupted
    goes on by telling them again.

    Args:
        names: of the tricks.
        runs: blocks in the whole study, repeats x folds.
        train, valid: cases (with groups: groups) in the training and validation part of a fold.
        least: blocks with a value before a trick can be dropped, at least 2.
        level: at which the finished study tests.
        futility: a trick is dropped when its `chance` falls below; 0 drops none.

    Raises:
        DataError: names that are not distinct, or an argument out of its range.

    Example:
        >>> race = Race(["works", "harms"], runs=10, train=80, valid=20)
        >>> race.tell({"works": 0.03, "harms": -0.02})
        []
        >>> race.tell({"works": 0.02, "harms": -0.03})
        []
        >>> race.tell({"works": 0.04, "harms": -0.02})
        ['harms']
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        runs: int,
        train: float,
        valid: float,
        least: int = 3,
        level: float = 0.05,
        futility: float = 0.05,
    ):
        self.names = tuple(names)
        valid_to_train(train, valid)
        check_share(level, "level")
        problems = [
            message
            for wrong, message in (
                (len({*self.names}) < len(self.names), "names of tricks must be distinct"),
                (runs < 2, f"runs is {runs}; give 2 or more"),
                (least < 2, f"least is {least}; give 2 or more"),
                (not 0 <= futility < 1, f"futility is {futility}; give 0 to below 1"),
            )
            if wrong
        ]
        if problems:
            raise DataError("this race cannot be run", problems)
        self.least, self.futility = least, futility
        self._design = {"runs": runs, "train": train, "valid": valid, "level": level}
        self._told: dict[str, list[float]] = {name: [] for name in self.names}
        self.dropped: dict[str, int] = {}
        """Tricks that were given up, with the number of blocks after which."""

    @property
    def running(self) -> list[str]:
        """Tricks that are still in the race."""
        return [name for name in self.names if name not in self.dropped]

    def chances(self) -> dict[str, float]:
        """Return of each trick in the race its chance to end as "helps", NaN before two values."""
        return {name: chance(self._told[name], **self._design) for name in self.running}

    def tell(self, differences: Mapping[str, float]) -> list[str]:
        """Take the differences of one more block and return the tricks to drop now.

        Args:
            differences: {trick: trick minus baseline}, of every trick in the race; NaN where a run
                failed. Those of tricks that were dropped (say, runs that had begun) are ignored.

        Raises:
            DataError: a name that is not in the race, one that is missing, an infinite
                difference, or a block too many.
        """
        self._check(differences)
        for name in self.running:
            self._told[name].append(float(differences[name]))
        dropped = [name for name in self.running if self._hopeless(name)]
        self.dropped |= {name: len(self._told[name]) for name in dropped}
        return dropped

    def replay(self, blocks: Sequence[Mapping[str, float]]) -> list[str]:
        """Take the differences of many blocks, in their order; return all that were dropped."""
        return [name for block in blocks for name in self.tell(block)]

    def _hopeless(self, name: str) -> bool:
        told = self._told[name]
        finished = len(told) == self._design["runs"]
        if finished or np.count_nonzero(~np.isnan(told)) < self.least:
            return False
        return chance(told, **self._design) < self.futility

    def _check(self, differences: Mapping[str, float]) -> None:
        problems = [f"{name}: not in this race" for name in {*differences} - {*self.names}]
        problems += [
            f"{name}: missing; NaN if it failed" for name in {*self.running} - {*differences}
        ]
        problems += [
            f"{name}: infinite; give NaN for a run that failed"
            for name, value in differences.items()
            if np.isinf(value)
        ]
        full = [name for name in self.running if len(self._told[name]) == self._design["runs"]]
        problems += [
            f"{name}: all {self._design['runs']} blocks were told already" for name in full
        ]
        if problems:
            raise DataError("this block does not fit the race", sorted(problems))
