"""k-fold cross-validation of a recipe, for every department."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesalius import files
from vesalius.engine.recipe import Recipe
from vesalius.engine.run import to_json
from vesalius.engine.task import Case, Scores, Task
from vesalius.errors import DataError, StudyError
from vesalius.study import predictions, store
from vesalius.study.departments import again, fresh_task, recipe_class, scorer
from vesalius.study.effects import Estimate, mean_interval
from vesalius.study.folds import FoldPlan
from vesalius.study.folds import folds as make_folds
from vesalius.study.jobs import PREDICTIONS, Bench, Job, Result
from vesalius.study.workers import work

Told = Callable[[Job, Result | None, str], None]


@dataclass(frozen=True)
class CrossValidation:
    """What came of the folds.

    Attributes:
        folder: of the study.
        plan: which case validates when.
        results: (repeat, fold) -> result.
        failures: (repeat, fold) -> why there is none.
        pooled: per repeat the scores of all held-out predictions together; empty where folds are
            missing, or know different labels.
    """

    folder: Path
    plan: FoldPlan
    results: dict[tuple[int, int], Result]
    failures: dict[tuple[int, int], str]
    pooled: tuple[Scores, ...] = ()

    @property
    def headline(self) -> str:
        """Name of the score that matters."""
        return next(iter(self.results.values())).scores.headline

    def mean(self, name: str | None = None) -> Estimate:
        """Return the mean of a score over the folds with its corrected 95 % interval."""
        key = name or self.headline
        values = [result.scores.values.get(key, float("nan")) for result in self.results.values()]
        return mean_interval(values, **sizes(self.plan))


def sizes(plan: FoldPlan) -> dict[str, float]:
    """Return the mean numbers of training and validation cases of a fold."""
    splits = list(plan.splits())
    return {
        "train": sum(len(split.train_ids) for split in splits) / len(splits),
        "valid": sum(len(split.valid_ids) for split in splits) / len(splits),
    }


@dataclass(frozen=True)
class Setting:
    """What a study works on: the bench, the cases as the baseline reads them, the recipe."""

    bench: Bench
    cases: list[Case]
    recipe: Recipe
    source: str


def setting(
    task: Task | str, source: str | Path | Sequence[Case], recipe: Any, overrides: Sequence[str]
) -> Setting:
    """Return the setting of a study, from a department's name or a task.

    Raises:
        DataError: a case has no truth, or the source is not readable.
        RecipeError: no such department, or a wrong recipe.
    """
    if isinstance(task, str):
        chosen = recipe_class(task).load(recipe, overrides)
        task = fresh_task(task, chosen)
    else:
        given = getattr(task, "recipe", None)
        chosen = recipe if isinstance(recipe, Recipe) else given
        if chosen is None or overrides:
            raise DataError("with a task of your own give its complete recipe, and no overrides")
        task = again(task, chosen)
    if isinstance(source, str | Path):
        cases, bench = task.cases(source), Bench(task, source=Path(source))
    else:
        cases, bench = list(source), Bench(task, cases=tuple(source))
    usable = [case for case in cases if case.extra.get("split") != "test"]
    blind = [case.id for case in usable if case.target is None]
    if blind:
        raise DataError(f"{len(blind)} case(s) have no truth to learn from", blind[:20])
    name = str(source) if isinstance(source, str | Path) else f"{len(cases)} cases"
    return Setting(bench, usable, chosen, name)


def planned(
    folder: Path,
    cases: Sequence[Case],
    task: Task,
    *,
    folds: int,
    repeats: int,
    seed: int,
    kind: str,
    near_duplicates: Any = None,
) -> FoldPlan:
    """Return the folds of a study: those it began with, or new ones, which are stored."""
    path = folder / store.FOLDS
    if path.exists():
        return FoldPlan.from_json(path.read_text(encoding="utf-8"))
    plan = make_folds(
        cases,
        folds=folds,
        repeats=repeats,
        seed=seed,
        kind=kind,
        labels=getattr(task, "strata", None),
        near_duplicates=near_duplicates,
    )
    files.write_text(path, plan.to_json())
    return plan


def cross_validate(
    task: Task | str,
    cases: str | Path | Sequence[Case],
    *,
    out: str | Path,
    recipe: Any = None,
    overrides: Sequence[str] = (),
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    kind: str = "auto",
    near_duplicates: Any = None,
    keep: str = "predictions",
    processes: int = 1,
    cluster: bool = False,
    told: Told | None = None,
) -> CrossValidation:
    """Train once per fold, predict the fold that did not train, and score it.

    The held-out fold chooses nothing: the weights at the end of training are scored, also where
    the recipe would keep the best. The same call goes on with a study that was stopped.

    Args:
        task: name of a department, or a task of your own (any that fulfils `engine.Task` and is
            made from its recipe alone).
        cases: what the department's `train` takes, or the cases themselves. Cases that the source
            marks as test are never used.
        out: folder of the study.
        recipe, overrides: as for the department's `train`; for a task of your own its recipe.
        folds, repeats, seed, kind, near_duplicates: see `vesalius.study.folds`.
        keep: "scores", "predictions" (of the held-out cases; the default) or "weights".
        processes: folds that train at once; 1: one after another, in this process.
        cluster: on a Ray cluster.
        told: called with each job and its result, or why there is none.

    Returns:
        results per fold, their mean and interval, and the scores of all held-out cases together.

    Raises:
        DataError, RecipeError: the data, the folds or the recipe are not usable.
        StudyError: every fold failed.
        InterruptedRun: stopped by the user; the same call goes on.

    References:
        Nadeau and Bengio 2003 for the interval of the mean.
    """
    folder, found = Path(out), setting(task, cases, recipe, overrides)
    bench, chosen = found.bench, found.recipe
    asked = {
        "study": "cross-validate",
        "department": bench.task.department,
        "data": found.source,
        "recipe": chosen.model_dump(mode="json"),
        "folds": {"folds": folds, "repeats": repeats, "seed": seed, "kind": kind},
        "near_duplicates": near_duplicates is not None,
    }
    store.begin(folder, asked)
    options = {"folds": folds, "repeats": repeats, "seed": seed, "kind": kind}
    plan = planned(folder, found.cases, bench.task, near_duplicates=near_duplicates, **options)
    jobs = [
        Job(
            store.job_folder(folder, "baseline", split.repeat, split.fold),
            store.honest(chosen, split.repeat),
            tuple(split.train_ids),
            tuple(split.valid_ids),
            keep,
            {"variant": "baseline", "repeat": split.repeat, "fold": split.fold},
        )
        for split in plan.splits()
    ]
    results, failures = {}, {}
    for job, result, problem in work(bench, jobs, processes=processes, cluster=cluster):
        place = job.facts["repeat"], job.facts["fold"]
        if result is None:
            failures[place] = problem
        else:
            results[place] = result
        if told:
            told(job, result, problem)
    if not results:
        raise StudyError("every fold failed", [f"fold {k}: {why}" for k, why in failures.items()])
    results = dict(sorted(results.items()))
    pooled = () if keep == "scores" else _pooled(found, jobs, results)
    made = CrossValidation(folder, plan, results, failures, pooled)
    files.write_text(folder / "scores.json", to_json(summary(made)))
    return made


def _pooled(
    found: Setting, jobs: Sequence[Job], results: Mapping[tuple[int, int], Result]
) -> tuple[Scores, ...]:
    """Score all held-out predictions of each repeat together, where that has a meaning."""
    scored = []
    for repeat in sorted({job.facts["repeat"] for job in jobs}):
        parts = [job for job in jobs if job.facts["repeat"] == repeat]
        if any((repeat, job.facts["fold"]) not in results for job in parts):
            return ()
        kept = [predictions.read(job.folder / PREDICTIONS) for job in parts]
        if len({frozenset(part.labels) for part in kept}) > 1:
            return ()  # a rare label is unknown to some fold: there is no common answer to score
        everything = [item for part in kept for item in predictions.aligned(part, kept[0].labels)]
        first = results[repeat, parts[0].facts["fold"]]
        task = scorer(found.bench.task.department, parts[0].recipe, first.task)
        scored.append(task.score(found.cases, everything))
    return tuple(scored)


def summary(made: CrossValidation) -> dict[str, Any]:
    """Return everything about a cross-validation, JSON-ready."""
    return {
        "headline": made.headline,
        "mean": made.mean().to_dict(),
        "folds": [
            {"repeat": repeat, "fold": fold, **result.scores.values}
            for (repeat, fold), result in made.results.items()
        ],
        "failures": [
            {"repeat": repeat, "fold": fold, "reason": why}
            for (repeat, fold), why in made.failures.items()
        ],
        "pooled": [
            {"values": scores.values, "intervals": scores.intervals} for scores in made.pooled
        ],
        "warnings": list(made.plan.warnings),
    }
