"""Planted label errors: how many of the suspects are right, how many of the planted are found.

    python benchmarks/label_errors.py [--records 3000] [--share 0.05]

Definitions of the Human Phenotype Ontology with their organ systems (data set `hpo`). In a share of
the records one label is taken away or a wrong one is added. Suspects that were not planted can
still be errors of the set itself, so the precision is a lower bound. Beside it cleanlab on the same
out-of-fold probabilities, where it is installed.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import numpy as np

from vesalius import datasets
from vesalius.text.audits import label_errors
from vesalius.text.audits.entries import Collection, collect, folds


def planted(number: int, share: float) -> tuple[Collection, set[tuple[str, str]]]:
    """Return records with wrong labels, and which (record, label) are wrong."""
    with tempfile.TemporaryDirectory() as folder:
        datasets.open("hpo", Path(folder) / "hpo")
        with next((Path(folder) / "hpo").glob("*.jsonl")).open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    generator = random.Random(0)
    rows = generator.sample(rows, min(number, len(rows)))
    names = sorted({name for row in rows for name in row["labels"]})
    wrong = set()
    for row in generator.sample(rows, round(share * len(rows))):
        take = generator.random() < 0.5 and len(row["labels"]) > 1
        others = [name for name in names if name not in row["labels"]]
        name = generator.choice(row["labels"] if take else others)
        row["labels"] = sorted(set(row["labels"]) ^ {name})
        wrong.add((row["id"], name))
    records = [{"id": r["id"], "fields": {"text": r["text"]}, "labels": r["labels"]} for r in rows]
    return collect(records), wrong


def main() -> None:
    """Print precision, recall and CPU seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=3000)
    parser.add_argument("--share", type=float, default=0.05)
    options = parser.parse_args()
    records, wrong = planted(options.records, options.share)
    start = time.process_time()
    found = label_errors.suspects(records)
    seconds = time.process_time() - start
    named = [(one.record, one.label) for one in found]
    print(f"{len(records.entries)} records, {len(wrong)} planted errors, {seconds:.1f} CPU seconds")
    _print("vesalius", named, wrong)
    _print("vesalius, first as many as planted", named[: len(wrong)], wrong)
    _cleanlab(records, wrong)


def _print(name: str, named: list[tuple[str, str]], wrong: set[tuple[str, str]]) -> None:
    hits = len(set(named) & wrong)
    print(f"{name}: {len(named)} suspects, precision {hits / max(1, len(named)):.3f}, "
          f"recall {hits / len(wrong):.3f}")  # fmt: skip


def _cleanlab(records: Collection, wrong: set[tuple[str, str]]) -> None:
    try:
        from cleanlab.internal.multilabel_utils import onehot2int
        from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
    except ImportError:
        print("cleanlab: not installed")
        return
    texts = [entry.text for entry in records.entries]
    fold = folds(records.truth, records.groups, 5)
    probabilities = label_errors.out_of_fold(label_errors.features(texts), records.truth, fold)
    given = onehot2int(records.truth.astype(int))
    issues = find_multilabel_issues_per_class(given, probabilities)
    named = [
        (records.entries[row].id, records.labels[column])
        for row, column in np.argwhere(np.asarray(issues))
    ]
    _print("cleanlab", named, wrong)


if __name__ == "__main__":
    main()
