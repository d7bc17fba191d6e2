"""Images to masks: `train`, `predict`, `evaluate` and `export`, as the command line calls them.

from vesalius import segment

run = segment.train("nuclei", out="runs/nuclei", **{"data.target": "foreground", "epochs": 20})
run.evaluate("more-nuclei").values
segment.predict(run, "new-images", out="masks")
"""

from vesalius.lazy import lazily

__getattr__ = lazily(
    __name__,
    modules=("losses", "metrics", "models", "recipe", "task"),
    names={
        "evaluate": "commands",
        "export": "exports",
        "predict": "commands",
        "train": "commands",
    },
)
