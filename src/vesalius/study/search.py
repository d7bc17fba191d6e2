"""Search for better settings of a recipe, on the same folds, with an honest score at the end.

Successive halving (Jamieson and Talwalkar 2016) spends little on many candidates and much on few.
What is spent are folds, so nothing is trained twice, or epochs. The winner's score on the folds
that chose it flatters (the best of many noisy numbers), so a part of the cases is held out from
the whole search, and the winner and the recipe it started from are compared there.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vesalius import files
from vesalius.engine.recipe import Recipe
from vesalius.engine.run import to_json
from vesalius.engine.task import Case, Task
from vesalius.errors import MissingDependencyError, RecipeError, StudyError
from vesalius.study import effects, space, store
from vesalius.study.cross_validate import Setting, Told, planned, setting, sizes
from vesalius.study.effects import Effect, Estimate
from vesalius.study.fold_plan import FoldPlan, Split
from vesalius.study.folds import holdout as hold_out
from vesalius.study.jobs import Job, Result
from vesalius.study.workers import work

Method = Literal["halving", "random", "tpe"]
Place = tuple[int, int]
BASELINE, BEST = "baseline", "best"


@dataclass(frozen=True)
class Candidate:
    """One setting.

    Attributes:
        name: "baseline" or c01, c02, ...
        patch: what it changes.
        results: (repeat, fold) -> result of its last round; with epochs as budget, of the longest.
        failures: (repeat, fold) -> why there is none.
        rounds: how many rounds it was in.
    """

    name: str
    patch: Mapping[str, Any]
    results: dict[Place, Result]
    failures: dict[Place, str]
    rounds: int = 0

    def score(self) -> float:
        """Return the mean headline, higher is better; -inf where a run failed or there is none."""
        values = [result.headline for result in self.results.values()]
        if self.failures or not values or not np.isfinite(values).all():
            return -math.inf
        return float(np.mean(values))


@dataclass(frozen=True)
class Search:
    """What came of a search.

    Attributes:
        folder: of the search.
        recipe: the one it started from.
        plan: which case validates when.
        candidates: the baseline first, then in the order of their draw.
        best: the one with the highest mean over all folds; may be the baseline.
        gain: the best minus the baseline on the folds that chose it: too good to be true.
        held_out: the ids that no candidate saw.
        final: baseline and best, trained on everything else and scored on `held_out`; without the
            best where that is the baseline; empty without held-out cases.
    """

    folder: Path
    recipe: Recipe
    plan: FoldPlan
    candidates: list[Candidate]
    best: Candidate
    gain: Effect
    held_out: tuple[str, ...]
    final: dict[str, Result]

    @property
    def headline(self) -> str:
        """Name of the score that is searched for."""
        return next(iter(self.candidates[0].results.values())).scores.headline

    @property
    def best_recipe(self) -> Recipe:
        """The recipe of the best candidate."""
        return self.recipe.patched(self.best.patch)

    def mean(self, candidate: Candidate) -> Estimate:
        """Return a candidate's mean score over its folds with its interval."""
        values = [result.scores.best for result in candidate.results.values()]
        return effects.mean_interval(values, **sizes(self.plan))


def search(
    task: Task | str,
    cases: str | Path | Sequence[Case],
    over: Mapping[str, Any] | Sequence[str] | str | Path,
    *,
    out: str | Path,
    recipe: Any = None,
    overrides: Sequence[str] = (),
    method: Method = "halving",
    candidates: int = 27,
    eta: int = 3,
    budget: Literal["folds", "epochs"] = "folds",
    held_out: float = 0.2,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    kind: str = "auto",
    near_duplicates: Any = None,
    processes: int = 1,
    cluster: bool = False,
    told: Told | None = None,
) -> Search:
    """Search for better settings, and write the search's folder with a report.

    The recipe itself is a candidate that is never dropped. The same call goes on with a search
    that was stopped.

    Args:
        task: name of a department, or a task of your own; see `cross_validate`.
        cases: what the department's `train` takes, or the cases themselves.
        over: what may be tried; see `study.space`.
        out: folder of the search.
        recipe, overrides: where the search starts, as for the department's `train`.
        method: "halving"; "random": every candidate on every fold; "tpe": Optuna's sampler, which
            learns from the candidates before (extra `search`), with its median pruner.
        candidates: how many settings beside the baseline.
        eta: halving keeps one in `eta` after every round, and gives the next `eta` times as much.
        budget: what halving spends: folds, or epochs (on all folds; shorter trainings first).
        held_out: share of the cases for the last comparison; 0: none.
        folds, repeats, seed, kind, near_duplicates: see `vesalius.study.folds`.
        processes: runs at once; 1: one after another, in this process.
        cluster: on a Ray cluster.
        told: called with each job and its result, or why there is none.

    Raises:
        DataError, RecipeError: the data, the folds, the space or the recipe are not usable.
        MissingDependencyError: "tpe" without Optuna.
        StudyError: no run of the baseline succeeded.
        InterruptedRun: stopped by the user; the same call goes on.

    References:
        Jamieson and Talwalkar 2016; Bergstra et al. 2011 (TPE); Cawley and Talbot 2010 for the
        held-out part.
    """
    folder, found = Path(out), setting(task, cases, recipe, overrides)
    known = space.space(over)
    _check(found.recipe, known, method, candidates, eta, budget)
    options = {"folds": folds, "repeats": repeats, "seed": seed, "kind": kind}
    asked = {
        "study": "search",
        "department": found.bench.task.department,
        "data": found.source,
        "recipe": found.recipe.model_dump(mode="json"),
        "over": {key: str(value) for key, value in known.items()},
        "method": [method, candidates, eta, budget],
        "held_out": held_out,
        "folds": options,
        "near_duplicates": near_duplicates is not None,
    }
    store.begin(folder, asked)
    seen, kept = _held(found, held_out, near_duplicates, seed=seed, kind=kind)
    plan = planned(folder, seen, found.bench.task, near_duplicates=near_duplicates, **options)

    announced: set[Path] = set()  # a later round reads the runs of the earlier ones again

    def act(jobs: Sequence[Job]) -> Iterator[tuple[Job, Result | None, str]]:
        for outcome in work(found.bench, jobs, processes=processes, cluster=cluster):
            if told and outcome[0].folder not in announced:
                told(*outcome)
            announced.add(outcome[0].folder)
            yield outcome

    field = _Field(folder, found.recipe, list(plan.splits()), act)
    if method == "tpe":
        _learn(field, known, candidates, seed, processes)
    else:
        draws = space.candidates(found.recipe, known, candidates, seed=seed)
        field.enter(draws)
        _halve(field, eta if method == "halving" else None, budget)
    return _finished(field, found, plan, kept)


def _check(recipe: Recipe, known: space.Space, method, candidates: int, eta: int, budget) -> None:
    space.check(recipe, known)
    problems = []
    if method not in ("halving", "random", "tpe"):
        problems.append(f"method '{method}' is none of halving, random, tpe")
    if candidates < 1 or eta < 2:
        problems.append(f"candidates {candidates} and eta {eta}: at least 1 and 2")
    if budget not in ("folds", "epochs"):
        problems.append(f"budget '{budget}' is neither folds nor epochs")
    if budget == "epochs" and ("epochs" in known or recipe.epochs < eta or method != "halving"):
        problems.append(
            f"budget epochs goes with halving, a recipe of at least {eta} epochs (this has "
            f"{recipe.epochs}), and no search over epochs"
        )
    if problems:
        raise RecipeError("this search cannot be made", problems)


def _held(found: Setting, share: float, near_duplicates, **options) -> tuple[list[Case], Split]:
    """Return the cases of the search, and the split that holds the others out."""
    ids = tuple(case.id for case in found.cases)
    if not share:
        return found.cases, Split(0, 0, ids, ())
    labels = getattr(found.bench.task, "strata", None)
    split = hold_out(found.cases, share, labels=labels, near_duplicates=near_duplicates, **options)
    inside = set(split.train_ids)
    return [case for case in found.cases if case.id in inside], split


class _Field:
    """The candidates and what is known about each."""

    def __init__(self, folder: Path, recipe: Recipe, splits: list[Split], act: Callable):
        self.folder, self.recipe, self.splits, self.act = folder, recipe, splits, act
        self.all = [Candidate(BASELINE, {}, {}, {})]

    def enter(self, patches: Sequence[Mapping[str, Any]]) -> list[Candidate]:
        """Add candidates and return them."""
        first = len(self.all)
        added = [Candidate(f"c{first + i:02d}", patch, {}, {}) for i, patch in enumerate(patches)]
        self.all += added
        return added

    def job(self, candidate: Candidate, split: Split, epochs: int | None = None) -> Job:
        """Return a run of a candidate."""
        recipe = self.recipe.patched(candidate.patch)
        name = candidate.name
        if epochs is not None and epochs != recipe.epochs:
            recipe, name = recipe.patched({"epochs": epochs}), f"{name}-epochs{epochs}"
        return Job(
            store.job_folder(self.folder, name, split.repeat, split.fold),
            store.honest(recipe, split.repeat),
            split.train_ids,
            split.valid_ids,
            "scores",
            {"variant": candidate.name, "repeat": split.repeat, "fold": split.fold},
        )

    def run(
        self, candidates: Sequence[Candidate], blocks: int, epochs: int | None = None
    ) -> list[Candidate]:
        """Run candidates on the first `blocks` folds; return them as they are known then."""
        jobs = [
            self.job(one, split, epochs) for split in self.splits[:blocks] for one in candidates
        ]
        results: dict[str, dict[Place, Result]] = {one.name: {} for one in candidates}
        failures: dict[str, dict[Place, str]] = {one.name: {} for one in candidates}
        for job, result, problem in self.act(jobs):
            name, place = job.facts["variant"], (job.facts["repeat"], job.facts["fold"])
            if result is None:
                failures[name][place] = problem
            else:
                results[name][place] = result
        after = {
            one.name: Candidate(
                one.name,
                one.patch,
                dict(sorted(results[one.name].items())),
                failures[one.name],
                one.rounds + 1,
            )
            for one in candidates
        }
        self.all = [after.get(one.name, one) for one in self.all]
        return list(after.values())


def rounds(candidates: int, eta: int, most: int) -> list[tuple[int, int]]:
    """Return (candidates, budget) of each round of successive halving.

    Budgets are 1, eta, eta**2, ... and at last `most`; every round keeps one candidate in `eta`,
    rounded up. Where the candidates are spent before the budget, the smallest budgets are left out.

    Args:
        candidates: at the beginning.
        eta: see `search`.
        most: the largest budget (folds, epochs).
    """
    budgets = [most]
    while eta ** (len(budgets) - 1) < most:
        budgets.insert(-1, eta ** (len(budgets) - 1))
    useful = 1
    while math.ceil(candidates / eta ** (useful - 1)) > 1:
        useful += 1
    budgets = budgets[-useful:]
    return [(math.ceil(candidates / eta**k), budget) for k, budget in enumerate(budgets)]


def _halve(field: _Field, eta: int | None, budget: str) -> None:
    baseline, *running = field.all
    blocks = len(field.splits)
    most = blocks if budget == "folds" else field.recipe.epochs
    plan = [(len(running), most)] if eta is None else rounds(len(running), eta, most)
    for count, amount in plan:
        running = sorted(running, key=lambda one: -one.score())[:count]
        by_epochs = budget == "epochs"
        seen = field.run(
            [baseline, *running], blocks if by_epochs else amount, amount if by_epochs else None
        )
        baseline, *running = seen


def _learn(field: _Field, known: space.Space, count: int, seed: int, processes: int) -> None:
    """Ask Optuna's sampler for one candidate after another, and tell it what each was worth."""
    try:
        import optuna
    except ImportError:
        raise MissingDependencyError(
            "optuna", "a search by TPE", "pip install 'vesalius[search]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Seeded and told in order, it asks the same again, so a stopped search goes on by replaying.
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )
    blocks = sorted({*range(processes, len(field.splits), processes), len(field.splits)})
    field.run(field.all, blocks[-1])
    for _ in range(count):
        trial = study.ask()
        patch = {key: values.suggest(trial, key) for key, values in known.items()}
        if _invalid(field.recipe, patch):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        (one,) = field.enter([patch])
        pruned = False
        for block in blocks:
            (one,) = field.run([one], block)
            if one.score() == -math.inf:
                break
            trial.report(one.score(), block)
            if pruned := block < blocks[-1] and trial.should_prune():
                break
        if one.score() == -math.inf:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, one.score())


def _invalid(recipe: Recipe, patch: Mapping[str, Any]) -> bool:
    try:
        recipe.patched(patch)
    except RecipeError:
        return True
    return False


def _finished(field: _Field, found: Setting, plan: FoldPlan, kept: Split) -> Search:
    baseline = field.all[0]
    if not baseline.results:
        reasons = [f"fold {place}: {why}" for place, why in baseline.failures.items()]
        raise StudyError("no run of the baseline succeeded; there is nothing to compare", reasons)
    whole = [one for one in field.all if len(one.results) == len(field.splits)]
    best = max(whole or [baseline], key=Candidate.score)
    pairs = [
        best.results[place].headline - result.headline
        for place, result in baseline.results.items()
        if place in best.results
    ]
    final = {}
    if kept.valid_ids:
        last = {BASELINE: baseline} | ({} if best is baseline else {BEST: best})
        for name, one in last.items():
            job = field.job(one, kept)
            folder = field.folder / "held-out" / name
            jobs = [Job(folder, job.recipe, job.train, job.valid, "scores", {**job.facts})]
            for _, result, problem in field.act(jobs):
                if result is None:
                    raise StudyError(f"the {name} failed on the held-out cases: {problem}")
                final[name] = result
    made = Search(
        field.folder,
        found.recipe,
        plan,
        field.all,
        best,
        effects.effect(pairs, **sizes(plan)),
        tuple(kept.valid_ids),
        final,
    )
    _write(made, found.source)
    return made


def _write(made: Search, source: str) -> None:
    from vesalius.study.search_report import report_search

    files.write_text(made.folder / "search.json", to_json(summary(made)))
    files.write_text(made.folder / "best.yaml", made.best_recipe.to_yaml())
    report_search(made, source)


def summary(made: Search) -> dict[str, Any]:
    """Return everything about a search, JSON-ready."""
    return {
        "headline": made.headline,
        "best": {"name": made.best.name, "patch": dict(made.best.patch)},
        "gain_on_the_folds_that_chose": made.gain.to_dict(),
        "held_out": {
            name: {"cases": len(made.held_out), **result.scores.values}
            for name, result in made.final.items()
        },
        "candidates": [
            {
                "name": one.name,
                "patch": dict(one.patch),
                "rounds": one.rounds,
                "runs": len(one.results),
                "mean": made.mean(one).to_dict(),
                "failures": {f"{r}/{f}": why for (r, f), why in one.failures.items()},
            }
            for one in made.candidates
        ],
    }
