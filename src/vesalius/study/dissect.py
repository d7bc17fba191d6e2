"""Which tricks help? Baseline and tricks on the same folds and seeds, with intervals and a verdict.

A trick is a named patch to a recipe (`engine.tricks`). Every variant trains on the same folds with
the same seeds, so differences are paired; they are tested with the corrected resampled t-test and
Holm's correction over all tricks (`study.effects`), and a race may give hopeless ones up.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius import files
from vesalius.engine.run import to_json
from vesalius.engine.task import Case, Task
from vesalius.engine.tricks import Trick, catalogue
from vesalius.errors import StudyError
from vesalius.study import effects, store
from vesalius.study.cross_validate import Setting, Told, planned, setting, sizes
from vesalius.study.effects import Effect, Estimate, Row
from vesalius.study.folds import FoldPlan
from vesalius.study.jobs import Job, Result
from vesalius.study.racing import Race
from vesalius.study.variants import (
    ALL,
    BASELINE,
    WITHOUT,
    Variants,
    chosen,
    fitting,
    variants,
)
from vesalius.study.workers import work

Place = tuple[int, int]
"""Repeat and fold."""
Results = dict[str, dict[Place, Result]]


@dataclass(frozen=True)
class Dissection:
    """What came of a study of tricks.

    Attributes:
        folder: of the study.
        tricks: by name.
        variants: recipes, and which tricks could not be together.
        plan: which case validates when.
        results: variant -> (repeat, fold) -> result.
        failures: variant -> (repeat, fold) -> why there is none.
        rows: one per trick that was compared with the baseline, in the order asked for.
        together: all tricks against the baseline; None where that was not run.
        without: trick -> all tricks minus all but this one: what it adds to the others.
        dropped: tricks that the race gave up, and after how many blocks.
        out_of_time: whether the budget ended the study before all runs were made.
    """

    folder: Path
    tricks: Mapping[str, Trick]
    variants: Variants
    plan: FoldPlan
    results: Results
    failures: dict[str, dict[Place, str]]
    rows: list[Row]
    together: Effect | None
    without: dict[str, Effect]
    dropped: dict[str, int]
    out_of_time: bool

    @property
    def headline(self) -> str:
        """Name of the score that is compared."""
        return _some(self.results).scores.headline

    def mean(self, variant: str = BASELINE) -> Estimate:
        """Return a variant's mean score over its runs, with its interval."""
        values = [result.scores.best for result in self.results[variant].values()]
        return effects.mean_interval(values, **sizes(self.plan))

    def cost(self, variant: str) -> dict[str, float]:
        """Return seconds, CPU seconds and MiB of a variant as multiples of the baseline's.

        Medians of the ratios over the folds where both are known; NaN where none is.
        """
        shared = self.results[BASELINE].keys() & self.results.get(variant, {}).keys()
        found = {}
        for name in ("seconds", "cpu_seconds", "memory"):
            pairs = [
                (getattr(self.results[variant][k], name), getattr(self.results[BASELINE][k], name))
                for k in shared
            ]
            ratios = [ours / base for ours, base in pairs if ours and base]
            found[name] = float(np.median(ratios)) if ratios else float("nan")
        return found

    def labels(self, variant: str) -> dict[str, Effect]:
        """Return the effect of a variant on each label, of the metric that `label_metric` names."""
        return {
            label: effects.effect(
                _differences(self.results, variant, BASELINE, list(_places(self.plan)), label),
                **sizes(self.plan),
            )
            for label in _some(self.results).scores.labels
        }


def label_metric(result: Result) -> str | None:
    """Return the metric of the labels that is the headline's, else their first."""
    metrics = next(iter(result.scores.labels.values()), {})
    wanted = (result.scores.headline, result.scores.headline.rpartition("_")[2])
    return next((name for name in (*wanted, *metrics) if name in metrics), None)


def dissect(
    task: Task | str,
    cases: str | Path | Sequence[Case],
    tricks: Sequence[str] | Mapping[str, Trick] = (),
    *,
    out: str | Path,
    recipe: Any = None,
    overrides: Sequence[str] = (),
    extra: str | Path | None = None,
    together: bool = True,
    but_one: bool = False,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    kind: str = "auto",
    near_duplicates: Any = None,
    race: bool = False,
    minutes: float | None = None,
    rope: float = 0.01,
    level: float = 0.05,
    keep: str = "scores",
    processes: int = 1,
    cluster: bool = False,
    told: Told | None = None,
    started: Callable[[int], None] | None = None,
) -> Dissection:
    """Measure what each trick does, and write the study's folder with a report.

    Blocks (one fold of one repeat) are run one after another with all variants, so that a study
    that ends early has whole blocks. The same call goes on with a study that was stopped.

    Args:
        task: name of a department, or a task of your own; see `cross_validate`.
        cases: what the department's `train` takes, or the cases themselves.
        tricks: names in the department's catalogue (none: all that fit the recipe), or tricks by
            name.
        out: folder of the study.
        recipe, overrides: the baseline, as for the department's `train`.
        extra: YAML file with more tricks.
        together: also run all tricks at once.
        but_one: also all but each one in turn.
        folds, repeats, seed, kind, near_duplicates: see `vesalius.study.folds`.
        race: give up tricks that can hardly end as "helps"; see `study.racing`.
        minutes: begin no run that would likely end later, counted from this call.
        rope: smallest difference that matters, in units of the score.
        level: of the whole family of tests.
        keep: "scores", "predictions" or "weights" of every run.
        processes: runs at once; 1: one after another, in this process.
        cluster: on a Ray cluster.
        told: called with each job and its result, or why there is none.
        started: called with the number of runs.

    Raises:
        DataError, RecipeError: the data, the folds, a trick or the recipe are not usable.
        StudyError: no run of the baseline succeeded.
        InterruptedRun: stopped by the user; the same call goes on.

    References:
        Nadeau and Bengio 2003; Holm 1979; Benavoli et al. 2017.
    """
    folder, found = Path(out), setting(task, cases, recipe, overrides)
    department = found.bench.task.department
    own = isinstance(tricks, Mapping)
    known = tricks if own else catalogue(department, extra=extra)
    names = () if own else tricks
    asked_for = chosen(known, names) if names or own else fitting(found.recipe, known)
    made = variants(found.recipe, asked_for, together=together, but_one=but_one)
    options = {"folds": folds, "repeats": repeats, "seed": seed, "kind": kind}
    asked = {
        "study": "dissect",
        "department": department,
        "data": found.source,
        "recipe": found.recipe.model_dump(mode="json"),
        "tricks": {name: dict(trick.patch) for name, trick in asked_for.items()},
        "variants": list(made.recipes),
        "folds": options,
        "near_duplicates": near_duplicates is not None,
        "race": race,
    }
    store.begin(folder, asked)
    plan = planned(
        folder, found.cases, found.bench.task, near_duplicates=near_duplicates, **options
    )
    schedule = _Schedule(folder, made, plan, keep, race=race, level=level, minutes=minutes)
    if started:
        started(len(made.recipes) * len(schedule.places))
    for job, result, problem in work(found.bench, schedule, processes=processes, cluster=cluster):
        schedule.note(job, result, problem)
        if told:
            told(job, result, problem)
    finished = _finished(folder, asked_for, schedule, rope=rope, level=level)
    _write(finished, found)
    return finished


class _Schedule:
    """Jobs in the order of their blocks, without tricks that the race gave up or that fail.

    Asked for the next job, it may know more than when it began: a trick is given up as soon as a
    finished block says so.
    """

    def __init__(self, folder, made: Variants, plan: FoldPlan, keep, *, race, level, minutes):
        self.folder, self.made, self.plan, self.keep = folder, made, plan, keep
        self.splits = list(plan.splits())
        self.places = [(split.repeat, split.fold) for split in self.splits]
        self.results: Results = {name: {} for name in made.recipes}
        self.failures: dict[str, dict[Place, str]] = {name: {} for name in made.recipes}
        self.singles = [n for n in made.recipes if n not in (BASELINE, ALL) and WITHOUT not in n]
        self.race = None
        if race and self.singles and len(self.splits) > 2:
            self.race = Race(self.singles, runs=len(self.splits), level=level, **sizes(plan))
        self.told = 0
        self.end = None if minutes is None else time.monotonic() + 60 * minutes
        self.out_of_time = False

    @property
    def dropped(self) -> dict[str, int]:
        """Tricks that the race gave up."""
        return {} if self.race is None else dict(self.race.dropped)

    def __iter__(self) -> Iterator[Job]:
        for split in self.splits:
            for name, recipe in self.made.recipes.items():
                if name in self.dropped:
                    continue
                job = Job(
                    store.job_folder(self.folder, name, split.repeat, split.fold),
                    store.honest(recipe, split.repeat),
                    tuple(split.train_ids),
                    tuple(split.valid_ids),
                    self.keep,
                    {"variant": name, "repeat": split.repeat, "fold": split.fold},
                )
                if not job.done and self._too_late(name):
                    self.out_of_time = True
                    return
                yield job

    def _too_late(self, name: str) -> bool:
        """Tell whether a run would likely end after the budget."""
        if self.end is None:
            return False
        likely = self.results[name] or self.results[BASELINE]
        seconds = [result.seconds for result in likely.values() if result.seconds]
        return time.monotonic() + (max(seconds) if seconds else 0) > self.end

    def note(self, job: Job, result: Result | None, problem: str) -> None:
        """Take a job's outcome, and let the race see blocks that are whole."""
        name, place = job.facts["variant"], (job.facts["repeat"], job.facts["fold"])
        if result is None:
            self.failures[name][place] = problem
        else:
            self.results[name][place] = result
        while self.race is not None and self.told < len(self.places):
            place = self.places[self.told]
            needed = [BASELINE, *self.race.running]
            if any(place not in self.results[n] | self.failures[n] for n in needed):
                return
            self.race.tell({n: self._difference(n, place) for n in self.race.running})
            self.told += 1

    def _difference(self, name: str, place: Place) -> float:
        ours, base = self.results[name].get(place), self.results[BASELINE].get(place)
        if ours is None or base is None:
            return float("nan")
        difference = ours.headline - base.headline
        return difference if np.isfinite(difference) else float("nan")


def _finished(folder, tricks, schedule: _Schedule, *, rope: float, level: float) -> Dissection:
    results, places = schedule.results, schedule.places
    if not results[BASELINE]:
        reasons = [f"fold {k}: {why}" for k, why in schedule.failures[BASELINE].items()]
        raise StudyError("no run of the baseline succeeded; there is nothing to compare", reasons)
    design = sizes(schedule.plan)
    rows = []
    if schedule.singles:
        rows = effects.table(
            _headlines(results, BASELINE, places),
            {name: _headlines(results, name, places) for name in schedule.singles},
            **design,
            folds=len({fold for _, fold in places}),
            rope=rope,
            level=level,
            dropped=schedule.dropped,
        )
    together, without = None, {}
    if results.get(ALL):
        together = effects.effect(_differences(results, ALL, BASELINE, places), **design)
        without = {
            name.removeprefix(WITHOUT): effects.effect(
                _differences(results, ALL, name, places), **design
            )
            for name in results
            if name.startswith(WITHOUT)
        }
    return Dissection(
        folder,
        tricks,
        schedule.made,
        schedule.plan,
        results,
        schedule.failures,
        rows,
        together,
        without,
        schedule.dropped,
        schedule.out_of_time,
    )


def _some(results: Results) -> Result:
    return next(iter(results[BASELINE].values()))


def _places(plan: FoldPlan) -> Iterator[Place]:
    return ((split.repeat, split.fold) for split in plan.splits())


def _headlines(results: Results, name: str, places: Sequence[Place]) -> NDArray[np.float64]:
    """Return a variant's scores per block, higher is better, NaN where there is none."""
    found = results[name]
    values = np.array([found[k].headline if k in found else np.nan for k in places])
    return np.where(np.isfinite(values), values, np.nan)


def _differences(
    results: Results, name: str, other: str, places: Sequence[Place], label: str | None = None
) -> NDArray[np.float64]:
    """Return one variant minus another per block; with `label` of that label's metric."""
    if label is None:
        return _headlines(results, name, places) - _headlines(results, other, places)
    metric = label_metric(_some(results))

    def value(variant: str, place: Place) -> float:
        result = results[variant].get(place)
        known = {} if result is None else result.scores.labels.get(label, {})
        return known.get(metric, float("nan"))

    return np.array([value(name, place) - value(other, place) for place in places])


def _write(found: Dissection, where: Setting) -> None:
    from vesalius.study.reporting import report_dissection

    files.write_text(found.folder / "effects.json", to_json(summary(found)))
    report_dissection(found, where.source)


def summary(found: Dissection) -> dict[str, Any]:
    """Return everything about a dissection, JSON-ready."""
    return {
        "headline": found.headline,
        "baseline": found.mean().to_dict(),
        "tricks": [
            row.to_dict() | {"score": found.mean(row.name).mean, "cost": found.cost(row.name)}
            for row in found.rows
        ],
        "together": None
        if found.together is None
        else found.together.to_dict()
        | {"tricks": list(found.variants.together), "cost": found.cost(ALL)},
        "without": {name: effect.to_dict() for name, effect in found.without.items()},
        "left_out": dict(found.variants.left_out),
        "dropped": found.dropped,
        "failures": {
            name: {f"repeat {r}, fold {k}": why for (r, k), why in places.items()}
            for name, places in found.failures.items()
            if places
        },
        "out_of_time": found.out_of_time,
        "warnings": list(found.plan.warnings),
    }
