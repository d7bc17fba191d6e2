"""One training of a study: some cases train, others are predicted and scored, the cost is noted.

A job is its folder. `run/` is an ordinary run folder, `result.json` is written last: a job that has
it is done, any other is gone on with from its last checkpoint.
"""

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vesalius import files
from vesalius.engine.recipe import Recipe
from vesalius.engine.run import from_json, to_json
from vesalius.engine.task import Case, Scores, Task
from vesalius.errors import DataError, StudyError
from vesalius.study import predictions
from vesalius.study.departments import again

RESULT, PREDICTIONS, RUN = "result.json", "predictions.npz", "run"


@dataclass(frozen=True)
class Job:
    """What to train and where.

    Attributes:
        folder: of this job.
        recipe: the complete recipe.
        train, valid: ids of the cases.
        keep: "scores" alone, "predictions" too, or also the "weights" (the whole run folder).
        facts: what is stored with the result (the variant's name, the fold, ...).
    """

    folder: Path
    recipe: Recipe
    train: tuple[str, ...]
    valid: tuple[str, ...]
    keep: str = "predictions"
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return (self.folder / RESULT).exists()


@dataclass(frozen=True)
class Result:
    """What came of a job.

    Attributes:
        scores: of the cases that did not train.
        seconds, cpu_seconds: of reading, training, prediction and scoring; None for a job that
            was interrupted and gone on with.
        memory: most memory that the process held, in MiB; None where the system does not tell.
        parameters: of the model.
        facts: as the job gave them.
        task: what the run's task had learned (`Task.config`).
    """

    scores: Scores
    seconds: float | None
    cpu_seconds: float | None
    memory: float | None
    parameters: int
    facts: dict[str, Any]
    task: dict[str, Any]

    @property
    def headline(self) -> float:
        """The headline score, turned so that higher is better."""
        return self.scores.best if self.scores.higher_is_better else -self.scores.best


def result_of(job: Job) -> Result:
    """Read the result of a job that is done.

    Raises:
        DataError: the file is damaged.
    """
    path = job.folder / RESULT
    try:
        stored = from_json(path.read_text(encoding="utf-8"))
        return Result(**{**stored, "scores": Scores.from_dict(stored["scores"])})
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error}. Delete it, and the job runs again.") from None


@dataclass(frozen=True)
class Bench:
    """What all jobs of a study share; picklable, so that processes can work through the jobs.

    Attributes:
        task: any task of the department; each job makes a fresh one with its own recipe.
        source: where the cases are read from, as each recipe reads them; or
        cases: the cases themselves, the same for all recipes.
    """

    task: Task
    source: Path | None = None
    cases: tuple[Case, ...] = ()

    def read(self, task: Task) -> list[Case]:
        """Return the cases as a recipe's task reads them."""
        return list(self.cases) if self.source is None else task.cases(self.source)


def carry_out(bench: Bench, job: Job) -> Result:
    """Do a job, or go on with it; what is done already is read.

    Raises:
        DataError: the source lacks a case of the job.
        VesaliusError: what training raises.
    """
    if job.done:
        return result_of(job)
    from vesalius.engine.loop import fit

    folder = job.folder / RUN
    resumed = folder.exists()
    clock = _Clock(whole=not resumed)
    task = again(bench.task, job.recipe)
    cases = {case.id: case for case in bench.read(task)}
    training, held = _chosen(cases, job.train), _chosen(cases, job.valid)
    # Scores alone come out of training's last evaluation; else the held-out cases wait until then.
    scored = job.keep != "predictions"
    run = fit(
        task,
        training,
        held if scored else [],
        job.recipe,
        folder,
        resume=resumed,
        quiet=True,
        extra={"split": {"train": list(job.train), "valid": list(job.valid)}, **job.facts},
    )
    scores = run.scores if scored else None
    if job.keep != "scores":
        found = list(run.predictions(held))
        names = getattr(run.task, "label_names", ())
        predictions.write(job.folder / PREDICTIONS, found, names)
        scores = scores or run.task.score(held, found)
    if scores is None:
        raise StudyError(f"{folder} ended without scores; delete it and run the study again")
    result = Result(
        scores=scores,
        **clock.read(),
        parameters=int(run.config.get("parameters", 0)),
        facts=dict(job.facts),
        task=run.config["task"],
    )
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    files.write_text(job.folder / RESULT, to_json(asdict(result)))
    if job.keep != "weights":
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _chosen(cases: dict[str, Case], ids: Sequence[str]) -> list[Case]:
    missing = [name for name in ids if name not in cases]
    if missing:
        raise DataError(
            f"{len(missing)} case(s) of the study's folds are not in the data any more; put them "
            "back, or begin a study in another folder",
            missing[:20],
        )
    return [cases[name] for name in ids]


class _Clock:
    """Time and memory of a job; of one that was interrupted and gone on with they are not known."""

    def __init__(self, *, whole: bool):
        self.whole = whole
        self.wall, self.cpu = time.perf_counter(), _cpu()
        self.tells = _forget_peak()

    def read(self) -> dict[str, float | None]:
        """Return seconds, CPU seconds (of data workers too) and the peak in MiB."""
        return {
            "seconds": time.perf_counter() - self.wall if self.whole else None,
            "cpu_seconds": _cpu() - self.cpu if self.whole else None,
            "memory": _peak() if self.tells and self.whole else None,
        }


def _cpu() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _forget_peak() -> bool:
    """Let the system count this process's peak memory anew; tell whether it can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak() -> float | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None
