"""What a department tells the engine, and nothing else.

The engine moves batches to a device, asks for named losses, steps, saves and scores. What a case
is (an image, a record, a backbone) only the department's task knows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from vesalius.engine.data import Batch, Loader


@dataclass(frozen=True)
class Case:
    """One example as it lies on disk: small, picklable, without its pixels or words loaded.

    Attributes:
        id: unique within a source; names outputs and error messages.
        input: what a model sees (paths, a text, ...); the department says what it is.
        target: the truth, or None where it is not known.
        group: cases that must stay on one side of a split (a patient), or None.
        extra: anything else the department keeps (paths for error messages, spacing, ...).
    """

    id: str
    input: Any
    target: Any = None
    group: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """A model's answer for one case, as probabilities (numpy), so that ensembles can average."""

    id: str
    probabilities: Any
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """Named numbers of one evaluation.

    Attributes:
        headline: the key of `values` that decides which weights are kept.
        values: over all cases.
        labels: per label (class, disease, ...): name -> metric -> value.
        cases: per case: id -> metric -> value.
        higher_is_better: direction of the headline.
        intervals, label_intervals: 95 % intervals (low, high) of some of `values` and `labels`.
    """

    headline: str
    values: Mapping[str, float]
    labels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    cases: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    higher_is_better: bool = True
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    label_intervals: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)

    def __post_init__(self):
        if self.headline not in self.values:
            raise ValueError(f"headline '{self.headline}' is none of {sorted(self.values)}")

    @property
    def best(self) -> float:
        """The headline's value."""
        return self.values[self.headline]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary (NaN and infinities are kept as Python floats)."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Scores":
        """Rebuild from `to_dict`; null is NaN again, keys that a file adds are ignored."""
        return cls(**{key: _numbers(data[key]) for key in cls.__dataclass_fields__ if key in data})


def _numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_numbers(item) for item in value)
    return float("nan") if value is None else value


@runtime_checkable
class Task(Protocol):
    """The contract. `engine.fit` and everything in `study` work with these methods alone.

    A task whose model has a last stage that is solved rather than trained (R-CNN's SVMs) may have
    `finish(model, cases, *, quiet)`: called with the training cases when the last step is done,
    before the last evaluation, it changes the model's buffers.

    For pseudo-labels a task may also have `labelled(case, prediction, decided, folder, *, soft)`:
    the case with the accepted labels (bool (labels,); None: the map, as a file) as its target.
    """

    department: str
    """Name of the department's package, "segment" for example; a run folder is reopened by it."""

    def cases(self, source: str | Path) -> list[Case]:
        """Read and validate a source. Every bad file is listed at once, with the remedy."""
        ...

    def config(self) -> dict[str, Any]:
        """Return what was learned from the data (label names, intensities): JSON-ready.

        It is stored in `config.json`; the department's `load_task(recipe, config, assets)` takes
        it back. A task may also have `assets()`, which returns text files (name -> text) that are
        kept beside the weights, such as a tokenizer: `load_task` gets them as its third argument.
        """
        ...

    def loader(self, cases: Sequence[Case], *, training: bool) -> "Loader":
        """Return batches; with `training` shuffled and augmented, else in order."""
        ...

    def build(self) -> "nn.Module":
        """Return a model with fresh weights (drawn from torch's current random state)."""
        ...

    def loss(self, model: "nn.Module", batch: "Batch") -> "dict[str, Tensor]":
        """Return named scalar terms; their sum is minimised. Pure: a step may call it twice."""
        ...

    def predict(self, model: "nn.Module", batch: "Batch") -> list[Prediction]:
        """Return one prediction per case of the batch, on the CPU, as probabilities."""
        ...

    def combine(self, predictions: Sequence[Sequence[Prediction]], how: str) -> list[Prediction]:
        """Combine several models' predictions for the same cases into one list."""
        ...

    def score(self, cases: Sequence[Case], predictions: Iterable[Prediction]) -> Scores:
        """Compare with the truth. `predictions` is read once, in any order."""
        ...

    def draw(self, case: Case, prediction: Prediction) -> "Figure":
        """Return a matplotlib figure that shows the case, the truth and the prediction."""
        ...
