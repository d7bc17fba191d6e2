"""Medical records to all of a patient's diseases: `train`, `predict`, `evaluate`, `pretrain`.

from vesalius import diagnose

run = diagnose.train("records.jsonl", out="runs/emr", **{"model.name": "tfidf"})
run.evaluate("more-records.jsonl").values
diagnose.predict(run, "new-records.jsonl", out="answers.json")
"""

from vesalius.lazy import lazily

__getattr__ = lazily(
    __name__,
    modules=(
        "calibration",
        "cohort",
        "decisions",
        "losses",
        "metrics",
        "models",
        "recipe",
        "records",
        "task",
        "thresholds",
    ),
    names={
        "evaluate": "commands",
        "export": "commands",
        "predict": "commands",
        "pretrain": "commands",
        "train": "commands",
    },
)
