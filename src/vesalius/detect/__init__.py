"""Images to boxes and masks: `train`, `predict` and `evaluate`, as the command line calls them.

from vesalius import detect

run = detect.train("blood-cells", recipe="faster-rcnn", out="runs/cells")
run.evaluate("more-cells").values
detect.predict(run, "new-images", out="found")
"""

from vesalius.lazy import lazily

__getattr__ = lazily(
    __name__,
    modules=(
        *("boxes", "coco", "formats", "metrics", "models", "proposals"),
        *("recipe", "roi", "scene", "task"),
    ),
    names={
        "evaluate": "commands",
        "export": "commands",
        "predict": "commands",
        "train": "commands",
    },
)
