"""Folds beside their peers: CPU-seconds, and how even label shares and sizes are.

    python benchmarks/folds.py [--cases 20000] [--labels 50] [--folds 5] [--seeds 3]
        [--emotions FOLDER]

Peers: iterative-stratification (`MultilabelStratifiedKFold`, no groups) and scikit-learn's
`StratifiedKFold`, `GroupKFold` and `StratifiedGroupKFold` (one label per case). Sources: "records"
(Zipf frequencies, 1 to 2 labels a case), "dense" (independent labels with shares of 5 to 60 %, 15 a
case), "related" (labels through five hidden causes, at least one a case), each with random patients
of 2.9 cases on average, and with `--emotions` the sentences of a folder with `train.tsv` (text,
label numbers).

Columns, all means over seeds: CPU-seconds; "shares": mean absolute deviation of a label's share in
a fold from its share in all, in 1/1000; "worst": the largest; "pairs": as shares, of pairs of
labels; "sizes": mean absolute deviation of fold sizes from equal, in cases; "absent": times that a
fold has no case of a label which has as many cases as there are folds; "optimum": the smallest
"shares" that whole cases allow.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from vesalius.study.stratifying import assign, label_table

Method = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
COLUMNS = ("seconds", "shares", "worst", "pairs", "sizes", "absent", "optimum")


def records(rng: np.random.Generator, cases: int, labels: int) -> np.ndarray:
    return rng.random((cases, labels)) < 0.3 / np.arange(1, labels + 1)


def dense(rng: np.random.Generator, cases: int, labels: int) -> np.ndarray:
    return rng.random((cases, labels)) < rng.uniform(0.05, 0.6, labels)


def related(rng: np.random.Generator, cases: int, labels: int) -> np.ndarray:
    hidden = rng.normal(size=(cases, 5)) @ rng.normal(size=(5, labels)) * 1.2
    chance = 1 / (1 + np.exp(-hidden - rng.uniform(-5, -1, labels)))
    table = rng.random((cases, labels)) < chance
    table[~table.any(1), rng.integers(0, labels)] = True
    return table


def emotions(folder: Path) -> np.ndarray:
    with open(folder / "train.tsv", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return label_table([[int(number) for number in row[1].split(",")] for row in rows])


def numbers(splits: Iterator[tuple[np.ndarray, np.ndarray]], cases: int) -> np.ndarray:
    """Return the fold of each case, from pairs of training and held-out indices."""
    fold = np.empty(cases, np.int64)
    for number, (_, held) in enumerate(splits):
        fold[held] = number
    return fold


def ours(table, groups, folds, seed):
    return assign(table, folds=folds, seed=seed)


def ours_grouped(table, groups, folds, seed):
    return assign(table, folds=folds, groups=groups, seed=seed)


def ours_sizes_alone(table, groups, folds, seed):
    return assign(table[:, :0], folds=folds, groups=groups, seed=seed)


def iterative(table, groups, folds, seed):
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    splitter = MultilabelStratifiedKFold(folds, shuffle=True, random_state=seed)
    return numbers(splitter.split(table, table), len(table))


def group_k_fold(table, groups, folds, seed):
    from sklearn.model_selection import GroupKFold

    return numbers(GroupKFold(folds).split(table, None, groups), len(table))


def stratified(table, groups, folds, seed):
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return numbers(splitter.split(table, table.argmax(1)), len(table))


def stratified_group(table, groups, folds, seed):
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return numbers(splitter.split(table, table.argmax(1), groups), len(table))


SEVERAL: dict[str, Method] = {
    "vesalius": ours,
    "iterative-stratification": iterative,
    "vesalius, patients whole": ours_grouped,
    "vesalius, sizes alone, patients whole": ours_sizes_alone,
    "scikit-learn GroupKFold": group_k_fold,
}
ONE: dict[str, Method] = {
    "vesalius": ours,
    "scikit-learn StratifiedKFold": stratified,
    "vesalius, patients whole": ours_grouped,
    "scikit-learn StratifiedGroupKFold": stratified_group,
}


def measured(method: Method, table: np.ndarray, groups: np.ndarray, folds: int, seed: int):
    """Return the columns for one draw."""
    begin = time.process_time()
    fold = method(table, groups, folds, seed)
    seconds = time.process_time() - begin
    sides = [fold == number for number in range(folds)]
    off = np.abs([table[side].mean(0) - table.mean(0) for side in sides])
    whole = table.astype(np.float32)
    both = whole.T @ whole / len(table)
    pairs = [np.abs(whole[side].T @ whole[side] / side.sum() - both) for side in sides]
    upper = np.triu_indices(table.shape[1], 1)
    totals = table.sum(0)
    counts = np.stack([table[side].sum(0) for side in sides])
    rest = totals % folds
    least = 2 * rest * (folds - rest) / folds**2 * folds / len(table)
    sizes = np.abs(np.bincount(fold, minlength=folds) - len(table) / folds).mean()
    return (
        *(seconds, 1e3 * off.mean(), 1e3 * off.max(), 1e3 * np.mean([p[upper] for p in pairs])),
        *(sizes, ((counts == 0) & (totals >= folds)).sum(), 1e3 * least.mean()),
    )


def compare(name: str, table: np.ndarray, methods: dict[str, Method], options) -> None:
    groups = np.random.default_rng(9).integers(0, len(table) * 7 // 20, len(table))
    print(
        f"\n{name}: {len(table)} cases, {table.shape[1]} labels, {table.sum(1).mean():.1f} a case"
    )
    print(f"{'':40}" + "".join(f"{column:>10}" for column in COLUMNS))
    for title, method in methods.items():
        try:
            method(table[:100], groups[:100], 2, 0)  # imports are not timed
            rows = [
                measured(method, table, groups, options.folds, seed)
                for seed in range(options.seeds)
            ]
        except ImportError as error:
            print(f"{title:40}not measured: {error}")
            continue
        print(f"{title:40}" + "".join(f"{value:10.3f}" for value in np.mean(rows, axis=0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--emotions", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    for make in (records, dense, related):
        compare(make.__name__, make(rng, options.cases, options.labels), SEVERAL, options)
    if options.emotions:
        compare("emotions", emotions(options.emotions), SEVERAL, options)
    shares = 1 / np.arange(1, options.labels + 1)
    classes = rng.choice(options.labels, options.cases, p=shares / shares.sum())
    one = np.eye(options.labels, dtype=bool)[classes]
    compare("one label per case", one, ONE, options)


if __name__ == "__main__":
    main()
