"""The diagnosis part of `vesalius demo`: synthetic Chinese records, cleaned, learned, explained."""

from collections import Counter
from pathlib import Path
from typing import Any

from vesalius.language import say

RECORDS = 1200
MODELS = {"TextCNN": "records-text-cnn", "TF-IDF": "records-tfidf"}
RECIPES: dict[str, dict[str, Any]] = {
    "TextCNN": {
        "epochs": 8,
        "batch_size": 16,
        "optimizer": {"name": "adamw", "learning_rate": 2e-3},
        "data": {"length": 384, "min_count": 5},
        "model": {"name": "text_cnn", "filters": 64, "embedding": 64},
        "evaluate_every": 2,
    },
    "TF-IDF": {"epochs": 0, "data": {"min_count": 5}, "model": {"name": "tfidf"}},
}


def demonstrate(folder: Path, *, quiet: bool = False, **changes: Any) -> dict[str, Path]:
    """Write a synthetic cohort and train both models on it; return name -> run folder.

    A run that is there already is gone on with, so an interrupted demo does not start again.
    """
    from vesalius.diagnose.cohort import synthetic_records, write_cohort
    from vesalius.diagnose.commands import train
    from vesalius.engine import recipe_yaml

    source = folder / "records.jsonl"
    if not source.exists():
        write_cohort(synthetic_records(RECORDS, seed=0), source)
    runs = {}
    for name, place in MODELS.items():
        out, recipe = folder / place, RECIPES[name]
        own = {} if recipe["epochs"] == 0 else changes
        train(
            source,
            recipe=None if out.exists() else recipe_yaml.merge({}, recipe),
            out=out,
            resume=out.exists(),
            quiet=quiet,
            **({} if out.exists() else own),
        )
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
