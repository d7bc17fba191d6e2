"""The diagnosis part of `vesalius demo`: synthetic Chinese records, cleaned, learned, explained."""

from collections import Counter
from pathlib import Path
from typing import Any

from vesalius.language import say

RECORDS = 800
MODELS = {"TF-IDF, logistic regression": "records-logistic", "TF-IDF, SVM": "records-svm"}
_MODEL = {"name": "tfidf", "words": [1, 1], "characters": [1, 2]}
RECIPES: dict[str, dict[str, Any]] = {
    "TF-IDF, logistic regression": {"model": _MODEL},
    "TF-IDF, SVM": {"model": {**_MODEL, "solver": "svm", "C": 1.0}},
}
"""Linear models, because they take seconds; networks need more records and time than a demo."""


def demonstrate(folder: Path, *, quiet: bool = False) -> dict[str, Path]:
    """Write a synthetic cohort and train both models on it; return name -> run folder.

    A run that is there already is left as it is, so an interrupted demo does not start again.
    """
    from vesalius.diagnose.cohort import synthetic_records, write_cohort
    from vesalius.diagnose.commands import train

    source = folder / "records.jsonl"
    if not source.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_cohort(synthetic_records(RECORDS, seed=0), source)
    runs = {}
    for name, place in MODELS.items():
        out = folder / place
        if not (out / "report.html").exists():
            recipe = {"epochs": 0, "data": {"min_count": 5}, **RECIPES[name]}
            start = {"resume": True} if out.exists() else {"recipe": recipe}
            train(source, out=out, quiet=quiet, **start)
        runs[name] = out
    return runs


def introduction(folder: Path) -> list[str]:
    """Return what the reader must know of the data, and what cleaning did to it."""
    return [
        say(
            f"{RECORDS:,} synthetic Chinese admission records, written by this program, with "
            "denied symptoms, diseases of the family, slips of the keyboard and a long tail of "
            "diseases. No patient's data. Both models see the same records and validation fifth.",
            f"{RECORDS:,} 份合成的中文入院记录，由本程序撰写，含否认的症状、家族史、"
            "错别字与长尾疾病，不含任何患者数据。两个模型使用相同的病历和相同的五分之一验证集。",
        ),
        say(
            "A score on synthetic records says how well a model reads these sentences, not how "
            "well it reads those of a hospital.",
            "在合成病历上的分数只说明模型读懂这些句子的能力，不能代表真实病历上的表现。",
        ),
        cleaning(folder / "records.jsonl"),
    ]


def cleaning(source: Path) -> str:
    """Return a sentence: what value-safe cleaning changed in the records."""
    from vesalius.diagnose.records import read
    from vesalius.text.cleaning import Cleaner

    cleaner, steps, changed, texts = Cleaner(), Counter(), 0, 0
    for record in read(source):
        for text in record.fields.values():
            new, changes = cleaner.explain(text)
            texts, changed = texts + 1, changed + (new != text)
            steps.update(changes.keys())
    listed = ", ".join(f"{name} {count:,}" for name, count in steps.most_common())
    return say(
        f"Cleaning changed {changed:,} of {texts:,} fields ({listed or 'nothing'}).",
        f"清洗改动了 {texts:,} 个字段中的 {changed:,} 个（{listed or '无'}）。",
    )


def evidence(runs: dict[str, Path]) -> list:
    """Return three validation records with the sentences that carried their diseases."""
    from vesalius.diagnose.reporting import sections
    from vesalius.engine.run import Run

    folder = next(iter(runs.values()))
    run = Run(folder)
    held = set(run.config["split"]["valid"])
    cases = [case for case in run.task.cases(folder.parent / "records.jsonl") if case.id in held]
    return sections(run, cases)
