"""What a study costs beside the runs that it makes, and what a second process saves.

    OMP_NUM_THREADS=1 python benchmarks/study_overhead.py hpo3000.jsonl [--recipe tfidf] [--folds 5]

Plain: a fresh task per fold reads the source and `engine.fit` trains it on the fold's cases and
scores the others, one after another in this process. Study: `cross_validate` of the same folds and
recipe. CPU seconds and wall time of both; then the study with two processes, wall time.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from vesalius.engine.loop import fit
from vesalius.report.tables import to_markdown
from vesalius.study import cross_validate, store
from vesalius.study.departments import fresh_task, recipe_class
from vesalius.study.fold_plan import FoldPlan


def spent() -> tuple[float, float]:
    """Return CPU seconds (children included) and wall time."""
    times = os.times()
    cpu = times.user + times.system + times.children_user + times.children_system
    return cpu, time.perf_counter()


def plain(options: argparse.Namespace, plan: FoldPlan, folder: Path) -> None:
    """Train and score every fold without the study room."""
    chosen = recipe_class(options.department).load(options.recipe, options.overrides)
    for split in plan.splits():
        recipe = store.honest(chosen, split.repeat)
        task = fresh_task(options.department, recipe)
        train, valid, _ = split.select(task.cases(options.data))
        fit(task, train, valid, recipe, folder / f"{split.fold}", quiet=True)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--department", default="diagnose")
    parser.add_argument("--recipe", default="tfidf")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=1)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for turn in range(options.turns):
            folder = Path(place) / f"{turn}"
            shared = {"recipe": options.recipe, "overrides": options.overrides}
            shared |= {"folds": options.folds, "keep": "scores"}
            begun = spent()
            one = cross_validate(options.department, options.data, out=folder / "one", **shared)
            middle = spent()
            plain(options, one.plan, folder / "plain")
            ended = spent()
            two = spent()[1]
            cross_validate(
                options.department, options.data, out=folder / "two", processes=2, **shared
            )
            two = spent()[1] - two
            study = [b - a for a, b in zip(begun, middle, strict=True)]
            alone = [b - a for a, b in zip(middle, ended, strict=True)]
            rows.append([turn, *alone, *study, study[0] / alone[0] - 1, two, study[1] / two])
    columns = ["turn", "plain CPU s", "plain s", "study CPU s", "study s", "CPU overhead"]
    print(to_markdown(rows, [*columns, "two processes s", "times as fast"]))


if __name__ == "__main__":
    main()
