"""Macro-F1 of recipes on records, by k folds: every record is scored by a model that never saw it.

    python benchmarks/records.py DATA --recipes tfidf default frozen [--folds 5] [key=value ...]

Each fold is a run of `vesalius diagnose train` with data.folds and data.fold, kept under --out and
gone on with when the command is repeated. Thresholds are cross-fitted within each held-out fold, so
no record is decided by a threshold that was fitted to it. Printed are the pooled macro-F1 with a
95 % bootstrap interval over records (patients where they are known), the mean over folds, other
scores, parameters and seconds; with several recipes the difference to the first, paired over
records.
"""

import argparse
from pathlib import Path

import numpy as np

from vesalius.diagnose import deciding
from vesalius.diagnose.commands import train
from vesalius.diagnose.metrics import score
from vesalius.engine.run import Run
from vesalius.report.tables import to_markdown

RESAMPLES = 1000


def fold_runs(data: Path, recipe: str, folds: int, out: Path, overrides: list[str]) -> list[Run]:
    """Return the finished runs of all folds."""
    found = []
    for fold in range(folds):
        folder = out / f"{recipe}-{fold}"
        done = folder.exists() and Run(folder).finished and Run(folder).assets.get("decision.json")
        if not done:
            items = [*overrides, f"data.folds={folds}", f"data.fold={fold}"]
            again = {"resume": True} if folder.exists() else {"recipe": recipe, "overrides": items}
            train(data, out=folder, quiet=True, **again)
        found.append(Run(folder))
    return found


def pooled(data: Path, runs: list[Run]) -> dict[str, tuple]:
    """Return id -> (true labels, decided labels, patient) of every held-out record."""
    found = {}
    for run in runs:
        task, held = run.task, set(run.config["split"]["valid"])
        cases = [case for case in task.cases(data) if case.id in held]
        table = np.stack([item.probabilities for item in run.predictions(cases)]).astype(float)
        truth = task.known.encode(cases)
        decided = deciding.cross_fitted(run.recipe.decide, table, truth, cases, task.label_names)
        names = np.array(task.label_names, object)
        for case, row in zip(cases, decided, strict=True):
            found[case.id] = (set(case.target), set(names[row]), case.group or case.id)
    return found


def matrices(found: dict[str, tuple], labels: list[str], ids: list[str]):
    """Return truth and decisions, bool (records, labels)."""
    return tuple(
        np.array([[label in found[i][part] for label in labels] for i in ids]) for part in (0, 1)
    )


def macro_f1(truth: np.ndarray, decided: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return macro-F1 for each row of record weights (resamples, records)."""
    hits = weights @ (truth & decided).astype(float)
    either = weights @ truth.astype(float) + weights @ decided.astype(float)
    return np.divide(2 * hits, either, out=np.zeros_like(hits), where=either > 0).mean(1)


def draws(groups: list[str]) -> np.ndarray:
    """Return how often each record counts in each bootstrap resample of the patients."""
    rng = np.random.default_rng(0)
    names, index = np.unique(groups, return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    return counts[:, index]


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--recipes", nargs="+", default=["tfidf"])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/records"))
    options = parser.parse_intermixed_args()
    rows, first = [], None
    for recipe in options.recipes:
        runs = fold_runs(options.data, recipe, options.folds, options.out, options.overrides)
        found = pooled(options.data, runs)
        ids = sorted(found)
        labels = sorted({name for truth, decided, _ in found.values() for name in truth | decided})
        truth, decided = matrices(found, labels, ids)
        weights = draws([found[i][2] for i in ids])
        resampled = macro_f1(truth, decided, weights)
        low, high = np.quantile(resampled, [0.025, 0.975])
        values = score(truth, decided, labels=labels, resamples=0)["values"]
        own = (values["macro_f1"], resampled)
        first = first or own
        low_gain, high_gain = np.quantile(resampled - first[1], [0.025, 0.975])
        gain = f"{own[0] - first[0]:+.4f} [{low_gain:+.4f}, {high_gain:+.4f}]"
        rows.append(
            {
                "recipe": recipe,
                "macro-F1, pooled": f"{own[0]:.4f} [{low:.4f}, {high:.4f}]",
                "mean of folds": f"{np.mean([run.scores.best for run in runs]):.4f}",
                "micro-F1": f"{values['micro_f1']:.4f}",
                "gain": "" if own is first else gain,
                "parameters": f"{runs[0].config['parameters']:,}",
                "seconds": f"{sum(run.history[-1]['seconds'] for run in runs):.0f}",
            }
        )
    print(f"{options.data.name}: {len(ids)} records, {len(labels)} labels, {options.folds} folds")
    print(to_markdown(rows, list(rows[0])))


if __name__ == "__main__":
    main()
