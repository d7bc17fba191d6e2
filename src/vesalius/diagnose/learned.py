"""What a diagnosis learns from its training records before training: labels, fields, vocabulary."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from vesalius.diagnose.labels import LabelSet
from vesalius.engine.task import Case

SOFT = "soft"
"""Key of a case's `extra` that holds soft targets: label -> probability."""


@dataclass(frozen=True)
class Learned:
    """Facts of the training records.

    Attributes:
        labels: names, the most frequent first.
        counts: training records of each label.
        size: training records.
        fields: names of the fields in their order.
        rare: labels that were left out because they are too rare: name -> records.
        special: numbers of the tokenizer's special tokens; empty for features.
        vocabulary: number of tokens or features.
        encoder: configuration of a pretrained encoder, None for other models.
    """

    labels: tuple[str, ...]
    counts: tuple[int, ...]
    size: int
    fields: tuple[str, ...]
    rare: Mapping[str, int] = field(default_factory=dict)
    special: Mapping[str, int | None] = field(default_factory=dict)
    vocabulary: int = 0
    encoder: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Learned":
        """Rebuild from `to_json`."""
        known = {key: data[key] for key in cls.__dataclass_fields__ if key in data}
        for key in ("labels", "counts", "fields"):
            known[key] = tuple(data[key])
        return cls(**known)

    def encode(self, cases: Sequence[Case]) -> np.ndarray:
        """Return the truth as bool (cases, labels); labels that are not known are left out."""
        known = LabelSet(self.labels, self.counts, self.size)
        return known.encode([case.target or () for case in cases], unknown="ignore")

    def targets(self, cases: Sequence[Case]) -> np.ndarray:
        """Return what is trained on, (cases, labels): the truth, or float32 with soft targets.

        A record with soft targets (`case.extra["soft"]`) has 0 for the labels that they lack.
        """
        table = self.encode(cases)
        soft = [(row, case.extra[SOFT]) for row, case in enumerate(cases) if SOFT in case.extra]
        if not soft:
            return table
        table = table.astype(np.float32)
        for row, values in soft:
            table[row] = [values.get(name, 0.0) for name in self.labels]
        return table


def count_labels(cases: Sequence[Case], *, min_count: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return the labels to learn, the most frequent first, and those that are too rare.

    Raises:
        DataError: no label is frequent enough, or none is given at all.
    """
    found = [case.target for case in cases if case.target is not None]
    kept = LabelSet.of(found, minimum=min_count)
    every = LabelSet.of(found)
    counts = dict(zip(every.names, every.counts, strict=True))
    rare = {name: count for name, count in counts.items() if name not in kept.names}
    return dict(zip(kept.names, kept.counts, strict=True)), rare
