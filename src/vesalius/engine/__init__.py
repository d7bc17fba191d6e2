"""The loop that every department trains with; it knows no task."""

from vesalius.lazy import lazily

__getattr__ = lazily(
    __name__,
    modules=("checkpoint", "hub", "loop", "optim", "pieces", "recipe", "steps", "tricks"),
    names={
        "Batch": "data",
        "Case": "task",
        "Loader": "data",
        "Prediction": "task",
        "PretrainedModel": "hub",
        "Recipe": "recipe",
        "Run": "run",
        "Scores": "task",
        "Task": "task",
        "fit": "loop",
    },
)
