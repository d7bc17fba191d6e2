"""What an ensemble gains over its members, with a paired bootstrap interval over cases."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.engine.task import Case, Prediction, Scores, Task
from vesalius.errors import DataError

PER_CASE_RESAMPLES = 2000
RESCORED_RESAMPLES = 100
"""Scoring anew is slow; for a standard error 50 to 200 resamples do (Efron and Tibshirani 1993)."""
_BLOCK = 100


@dataclass(frozen=True)
class Gain:
    """The ensemble's headline minus another one's, positive where the ensemble is better.

    Attributes:
        over: "best member" or "mean member".
        value: the difference of the headlines.
        low, high: 95 % interval; NaN where there is none.
        method: how the interval was made: "cases" (percentiles of the mean over resampled cases),
            "rescored" (value +- 1.96 standard deviations of the scores of resampled cases), "none".
        resamples: their number.
        mean_of_cases: where the headline is not the mean of its values per case: the difference
            of these means, which is what the interval is of; else None.
    """

    over: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    method: str = "none"
    resamples: int = 0
    mean_of_cases: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


def gains(
    task: Task,
    cases: Sequence[Case],
    members: Sequence[Scores],
    ensemble: Scores,
    answers: Sequence[Mapping[str, NDArray]],
    *,
    resamples: int | None = None,
    interval: str = "auto",
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Gain]:
    """Return the gains over the best member and over the mean member.

    The best member is the one that scores best on these very cases, so the gain over it errs, if
    at all, on the sceptical side. Whole patients are resampled where cases have groups.

    Args:
        task: scores.
        cases: those that were scored.
        members, ensemble: their scores.
        answers: of each member and, last, of the ensemble.
        resamples: None: 2000 of values per case, 100 where the task scores anew.
        interval: "cases" (needs the headline per case), "rescored", or "auto": the first where
            there are values per case, else the second.
        seed: of the resamples.
        progress: called with 1 after each resample that is scored anew.
    """
    sign = 1.0 if ensemble.higher_is_better else -1.0
    everyone = [*members, ensemble]
    heads = sign * np.array([scores.best for scores in everyone])
    best = int(np.nanargmax(heads[:-1])) if not np.isnan(heads[:-1]).all() else 0
    plain = [Gain("best member", float(heads[-1] - heads[best]))]
    plain += [Gain("mean member", float(heads[-1] - heads[:-1].mean()))]
    units = _units(cases)
    if resamples == 0 or len(units) < 2:
        return plain
    table = per_case(everyone, cases)
    if interval == "cases" and table is None:
        raise DataError(f"{ensemble.headline} has no values per case; use interval rescored")
    if table is not None and interval in ("auto", "cases"):
        number = resamples or PER_CASE_RESAMPLES
        return _from_cases(plain, sign * table, heads, best, units, number, seed)
    number = resamples or RESCORED_RESAMPLES
    drawn = np.array(
        [
            _rescored(task, cases, units, answers, np.random.default_rng((seed, k)), progress)
            for k in range(number)
        ]
    )
    return _from_scores(plain, sign * drawn, best)


def per_case(everyone: Sequence[Scores], cases: Sequence[Case]) -> NDArray[np.float64] | None:
    """Return the headline per case (scores, cases), or None where some have none."""
    headline = everyone[0].headline
    rows = [[scores.cases.get(case.id, {}).get(headline) for case in cases] for scores in everyone]
    if any(value is None for row in rows for value in row):
        return None
    return np.array(rows, np.float64)


def is_mean_of_cases(scores: Scores, row: ArrayLike) -> bool:
    """Tell whether the headline is the mean of its values per case."""
    known = np.asarray(row, np.float64)
    known = known[~np.isnan(known)]
    return bool(known.size) and bool(np.isclose(known.mean(), scores.best, rtol=1e-6, atol=1e-9))


def _units(cases: Sequence[Case]) -> list[list[int]]:
    """Return the rows of each patient, or of each case that has none."""
    members: dict[tuple[str, str], list[int]] = {}
    for row, case in enumerate(cases):
        key = ("group", case.group) if case.group else ("case", case.id)
        members.setdefault(key, []).append(row)
    return list(members.values())


def _from_cases(plain, table, heads, best, units, number, seed) -> list[Gain]:
    """Percentile intervals of differences of means over resampled cases."""
    others = np.stack([table[best], table[:-1].mean(0)])  # (2, cases)
    differences = table[-1] - others
    known = ~np.isnan(differences)
    member = np.zeros((len(units), table.shape[1]))
    for unit, rows in enumerate(units):
        member[unit, rows] = 1
    sums = member @ np.where(known, differences, 0).T
    sizes = member @ known.T.astype(np.float64)
    rng, drawn = np.random.default_rng(seed), []
    for start in range(0, number, _BLOCK):
        picks = rng.integers(0, len(units), (min(_BLOCK, number - start), len(units)))
        counts = np.stack([np.bincount(row, minlength=len(units)) for row in picks])
        total, size = counts @ sums, counts @ sizes
        drawn.append(np.divide(total, size, out=np.full(total.shape, np.nan), where=size > 0))
    low, high = np.nanpercentile(np.concatenate(drawn), [2.5, 97.5], axis=0)
    made = []
    for k, gain in enumerate(plain):
        mean = float(sums[:, k].sum() / sizes[:, k].sum()) if known[k].any() else float("nan")
        other = None if np.isclose(mean, gain.value, rtol=1e-6, atol=1e-9) else mean
        made.append(
            replace(
                gain,
                low=float(low[k]),
                high=float(high[k]),
                method="cases",
                resamples=number,
                mean_of_cases=other,
            )
        )
    return made


def _rescored(task, cases, units, answers, rng, progress) -> list[float]:
    """Return the headlines of all on one resample of the cases.

    A case that is drawn again gets an id of its own, for tasks that count by id, and stays one
    patient with its first copy, for tasks that fit thresholds to some patients and apply them to
    others.
    """
    copies, origin = [], {}
    for time, unit in enumerate(rng.integers(0, len(units), len(units))):
        for row in units[unit]:
            case = cases[row]
            copy = replace(case, id=f"{case.id}#{time}", group=case.group or case.id)
            copies.append(copy)
            origin[copy.id] = case.id
    found = [
        task.score(copies, (Prediction(copy.id, own[origin[copy.id]]) for copy in copies)).best
        for own in answers
    ]
    if progress:
        progress(1)
    return found


def _from_scores(plain: Sequence[Gain], drawn: NDArray, best: int) -> list[Gain]:
    """Intervals of 1.96 standard deviations, which need far fewer resamples than percentiles."""
    others = [drawn[:, best], drawn[:, :-1].mean(1)]
    made = []
    for gain, other in zip(plain, others, strict=True):
        difference = drawn[:, -1] - other
        known = difference[~np.isnan(difference)]
        half = 1.959964 * float(known.std(ddof=1)) if len(known) > 1 else float("nan")
        made.append(
            replace(
                gain,
                low=gain.value - half,
                high=gain.value + half,
                method="rescored",
                resamples=len(known),
            )
        )
    return made
