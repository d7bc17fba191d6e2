"""Trained runs side by side: scores with intervals, parameters, multiply-adds, seconds.

    python benchmarks/runs.py RUN RUN ... [--size 256 256] [--steps 5]   paired with the first
    python benchmarks/runs.py FOLD0 FOLD1 ... --pool               the folds of one recipe, pooled

Scores are those of each run's validation cases. Runs that are compared must have the same cases:
the differences are paired case by case, with a bootstrap interval and Wilcoxon's p after Holm's
correction. Multiply-adds are counted by torch while the network predicts one image of --size.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from vesalius.engine.data import Batch
from vesalius.engine.run import Run
from vesalius.report.tables import to_markdown
from vesalius.segment.metrics import bootstrap, bootstrap_counts, compare


def per_case(run: Run, metric: str) -> dict[str, float]:
    """Return a metric of every validation case."""
    found = {case: row.get(metric) for case, row in run.scores.cases.items()}
    return {case: np.nan if value is None else value for case, value in found.items()}


def shown(interval, index=None) -> str:
    """Write an interval."""
    part = interval if index is None else interval[index]
    return f"{float(part.estimate):.4f} [{float(part.low):.4f}, {float(part.high):.4f}]"


def multiply_adds(run: Run, size: list[int]) -> float:
    """Return the multiply-adds of one prediction, in thousands of millions."""
    model, facts = run.model(), run.task.facts
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        model(torch.zeros(1, facts.channels, *size))
    return counter.get_total_flops() / 2e9


def seconds(run: Run) -> float:
    """Return the seconds that the training loop took."""
    return run.history[-1]["seconds"]


def step_seconds(runs: list[Run], steps: int) -> str:
    """Return the CPU seconds of a training step of each run's network and loss, in turns."""
    made = []
    for run in runs:
        facts, task = run.task.facts, run.task
        model = run.model().train()
        images = torch.randn(run.recipe.batch_size, facts.channels, *facts.patch)
        truth = torch.randint(0, len(facts.labels), (len(images), *facts.patch))
        made.append((task, model, Batch(["x"] * len(images), images, truth)))
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(steps + 1):
        for own, (task, model, batch) in zip(taken, made, strict=True):
            start = time.process_time()
            sum(task.loss(model, batch).values()).backward()
            own.append(time.process_time() - start)
    medians = [float(np.median(own[1:])) for own in taken]  # the first warms up
    return "\n".join(
        f"{run.folder.name}: {value:.2f} CPU s per step, {value / medians[0]:.2f} x the first"
        for run, value in zip(runs, medians, strict=True)
    )


def objects_f1(run: Run) -> str:
    """Return the F1 of all objects of all cases together, where objects were scored."""
    rows = list(run.scores.cases.values())
    if "instance_f1" not in rows[0]:
        return "–"
    # Of a case's F1 and its two counts of objects the matched ones follow.
    both = np.array([[row["objects"], row["predicted_objects"]] for row in rows], float)
    f1 = np.array([np.nan_to_num(row["instance_f1"] or 0.0) for row in rows])
    matched = np.rint(f1 * both.sum(1) / 2)
    counts = {"tp": matched, "fp": both[:, 1] - matched, "fn": both[:, 0] - matched}
    counts = {key: value.astype(int)[:, None] for key, value in counts.items()}
    return shown(bootstrap_counts(counts)["mean_dice"])


def table(runs: list[Run], size: list[int]) -> str:
    """Return one row per run."""
    rows = []
    for run in runs:
        name = run.recipe.model.name
        rows.append(
            {
                "run": run.folder.name,
                "network": name,
                "parameters": f"{run.config['parameters']:,}",
                f"GMAC at {' x '.join(map(str, size))}": f"{multiply_adds(run, size):.2f}",
                "steps": run.weights_step,
                "training, s": f"{seconds(run):.0f}",
                "dice": shown(bootstrap(list(per_case(run, "dice").values()))),
                "F1 of objects": objects_f1(run),
            }
        )
    return to_markdown(rows, list(rows[0]))


def differences(runs: list[Run], metric: str) -> str:
    """Return each run's paired difference from the first."""
    first = per_case(runs[0], metric)
    others = []
    for run in runs[1:]:
        own = per_case(run, metric)
        if own.keys() != first.keys():
            raise SystemExit(f"{run.folder} was scored on other cases than {runs[0].folder}")
        others.append([own[case] for case in first])
    base = np.repeat(np.array(list(first.values()))[:, None], len(others), axis=1)
    found = compare(np.array(others).T, base)
    return "\n".join(
        f"{metric}, {run.folder.name} - {runs[0].folder.name}: {shown(found.difference, index)}, "
        f"p {float(found.wilcoxon_holm[index]):.3g} (Wilcoxon, Holm over {len(others)})"
        for index, run in enumerate(runs[1:])
    )


def pooled(runs: list[Run]) -> str:
    """Return the scores of all folds' cases together, each case by the model that never saw it."""
    cases: dict[str, dict[str, float]] = {}
    for run in runs:
        both = cases.keys() & run.scores.cases.keys()
        if both:
            raise SystemExit(f"{run.folder} scores cases that another fold scores too: {both}")
        cases |= run.scores.cases
    metrics = [name for name in next(iter(cases.values())) if name.startswith("dice")]
    values = np.array(
        [[row[m] if row[m] is not None else np.nan for m in metrics] for row in cases.values()]
    )
    found = bootstrap(values)
    lines = [f"{m}: {shown(found, i)} over {len(cases)} cases" for i, m in enumerate(metrics)]
    of_folds = [run.scores.values["dice"] for run in runs]
    lines.append(f"folds: {', '.join(f'{value:.4f}' for value in of_folds)}")
    lines.append(f"training loops: {sum(seconds(run) for run in runs):.0f} s in all")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--size", nargs="+", type=int, default=[256, 256])
    parser.add_argument("--pool", action="store_true")
    parser.add_argument(
        "--steps", type=int, default=0, help="time so many training steps, in turns"
    )
    options = parser.parse_args()
    runs = [Run(path) for path in options.runs]
    if options.pool:
        print(pooled(runs))
        return
    print(table(runs, options.size))
    if options.steps:
        print(step_seconds(runs, options.steps))
    if len(runs) > 1:
        for metric in ("dice", "instance_f1"):
            if metric in next(iter(runs[0].scores.cases.values())):
                print(differences(runs, metric))


if __name__ == "__main__":
    main()
