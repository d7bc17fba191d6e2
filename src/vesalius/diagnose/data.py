"""From records to batches: tokens per field, a budget of length, buckets of similar length."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from vesalius.engine.data import Batch
from vesalius.engine.task import Case
from vesalius.text.augmenters import mixing

POOL = 32
"""Batches whose records are sorted by length together; larger pools pad less and shuffle less."""


class Reader(Protocol):
    """How a model reads text: see `diagnose.reading`."""

    def read(self, fields: Mapping[str, str]) -> dict[str, np.ndarray]:
        """Return one record's arrays, each of shape (tokens,)."""
        ...

    padding: Mapping[str, Any]
    """What fills up the shorter records of a batch: array name -> value."""


def allot(lengths: Sequence[int], budget: int, weights: Sequence[float] | None = None) -> list[int]:
    """Share `budget` tokens among fields of the given lengths.

    Fields shorter than their share leave the rest to the others; what is left is shared in
    proportion to `weights` (equal by default) until the budget is spent or every field is whole.

    >>> allot([5, 400, 300], 205)
    [5, 100, 100]
    """
    shares = list(weights) if weights is not None else [1.0] * len(lengths)
    given = [0] * len(lengths)
    left, open_fields = budget, [i for i, n in enumerate(lengths) if n and shares[i] > 0]
    while open_fields and left > 0:
        total = sum(shares[i] for i in open_fields)
        fits = [i for i in open_fields if lengths[i] <= left * shares[i] / total]
        if not fits:
            for i in open_fields:
                given[i] = int(left * shares[i] / total)
            return given
        for i in fits:
            given[i] = lengths[i]
        left -= sum(lengths[i] for i in fits)
        open_fields = [i for i in open_fields if i not in fits]
    return given


def cut(tokens: np.ndarray, length: int, keep: str) -> np.ndarray:
    """Shorten to `length`: keep the "head", the "tail" or both "ends" (two thirds head)."""
    if len(tokens) <= length or length == 0:
        return tokens[:length]
    if keep == "head":
        return tokens[:length]
    if keep == "tail":
        return tokens[len(tokens) - length :]
    head = max(1, 2 * length // 3)
    return np.concatenate([tokens[:head], tokens[len(tokens) - (length - head) :]])


class Records:
    """Fetch one record as arrays, changed by augmentation where there is any.

    Records that are not augmented are read once and kept.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        reader: Reader,
        targets: np.ndarray | None,
        *,
        augment: Callable[[Mapping[str, str], np.random.Generator], Mapping[str, str]] | None,
        mixing: float | None = None,
    ):
        self.cases, self.reader, self.targets = list(cases), reader, targets
        self.augment, self.mixing = augment, mixing
        self._kept: dict[int, dict[str, np.ndarray]] = {}

    def arrays(self, index: int) -> dict[str, np.ndarray]:
        """Return the unchanged record's arrays."""
        if index not in self._kept:
            self._kept[index] = self.reader.read(self.cases[index].input)
        return self._kept[index]

    def __call__(self, index: int, rng: np.random.Generator) -> tuple[str, dict, Any, Any]:
        """Return (id, arrays, target row or None, (seed of mixing, alpha) or None)."""
        case = self.cases[index]
        arrays = None
        if self.augment is not None:
            changed = self.augment(case.input, rng)
            arrays = None if changed is case.input else self.reader.read(changed)
        if arrays is None:
            arrays = self.arrays(index)
        target = None if self.targets is None else self.targets[index]
        drawn = None if self.mixing is None else (int(rng.integers(2**62)), self.mixing)
        return case.id, arrays, target, drawn


class Collate:
    """Pad a list of records to the longest of them."""

    def __init__(self, padding: Mapping[str, Any]):
        self.padding = dict(padding)

    def __call__(self, items: Sequence[tuple]) -> Batch:
        """Return a batch; `extra["mixture"]` says who is mixed with whom, where records are."""
        ids, arrays, targets, drawn = zip(*items, strict=True)
        longest = max(1, *(len(item["tokens"]) for item in arrays))
        inputs = {
            name: torch.from_numpy(_padded([item[name] for item in arrays], longest, value))
            for name, value in self.padding.items()
        }
        truth = None
        if targets[0] is not None:
            truth = torch.from_numpy(np.stack(targets).astype(np.float32))
        extra = {}
        if drawn[0] is not None:
            seed, alpha = drawn[0]
            rng = np.random.default_rng(seed)
            extra["mixture"] = mixing.draw(len(ids), rng=rng, alpha=alpha)
        return Batch(list(ids), inputs, truth, extra)


def _padded(rows: Sequence[np.ndarray], longest: int, value: Any) -> np.ndarray:
    out = np.full((len(rows), longest), value, rows[0].dtype)
    for line, row in zip(out, rows, strict=True):
        line[: len(row)] = row
    return out


def bucketed(lengths: Sequence[int], batch_size: int) -> Callable[..., np.ndarray]:
    """Return an order for `Loader`: shuffled, but records of a batch are of similar length."""
    sizes = np.asarray(lengths)

    def order(_: int, rng: np.random.Generator) -> np.ndarray:
        shuffled = rng.permutation(len(sizes))
        pools = [
            shuffled[start : start + POOL * batch_size]
            for start in range(0, len(shuffled), POOL * batch_size)
        ]
        ordered = np.concatenate([pool[np.argsort(sizes[pool], kind="stable")] for pool in pools])
        whole = len(ordered) // batch_size
        batches = ordered[: whole * batch_size].reshape(whole, batch_size)
        return np.concatenate(
            [batches[rng.permutation(whole)].ravel(), ordered[whole * batch_size :]]
        )

    return order
