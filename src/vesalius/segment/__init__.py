"""Images to masks: `train`, `predict` and `evaluate`, as the command line calls them.

from vesalius import segment

run = segment.train("nuclei", out="runs/nuclei", **{"data.target": "foreground", "epochs": 20})
run.evaluate("more-nuclei").values
segment.predict(run, "new-images", out="masks")
"""

from vesalius.segment.commands import evaluate, predict, train

__all__ = ["evaluate", "predict", "train"]
