"""What a diagnosis learns from its training records before training: labels, fields, vocabulary."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from vesalius.engine.task import Case
from vesalius.errors import DataError


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
        index = {name: number for number, name in enumerate(self.labels)}
        truth = np.zeros((len(cases), len(self.labels)), bool)
        for row, case in zip(truth, cases, strict=True):
            for name in case.target or ():
                if name in index:
                    row[index[name]] = True
        return truth


def count_labels(cases: Sequence[Case], *, min_count: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return the labels to learn, the most frequent first, and those that are too rare.

    Raises:
        DataError: no label is frequent enough, or none is given at all.
    """
    counts = Counter(name for case in cases for name in case.target or ())
    if not counts:
        raise DataError("no training record has a label; name their column in records.label")
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    kept = {name: count for name, count in ordered.items() if count >= min_count}
    if not kept:
        raise DataError(
            f"no label has {min_count} training records; the most frequent, "
            f"'{next(iter(ordered))}', has {next(iter(ordered.values()))}. Lower data.min_count."
        )
    return kept, {name: count for name, count in ordered.items() if name not in kept}
