"""Labelled records as the audit sees them, and the folds that keep a patient on one side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vesalius.errors import DataError


@dataclass(frozen=True)
class Entry:
    """One record: `fields` by name, `labels` or None where nobody has labelled it."""

    id: str
    fields: Mapping[str, str]
    labels: tuple[str, ...] | None
    group: str | None

    @property
    def text(self) -> str:
        """All fields, one a line."""
        return "\n".join(self.fields.values())


@dataclass(frozen=True)
class Collection:
    """The records of one audit."""

    entries: tuple[Entry, ...]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """All label names, sorted."""
        return tuple(sorted({name for entry in self.entries for name in entry.labels or ()}))

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """All field names, in the order in which they first stand."""
        return tuple(dict.fromkeys(name for entry in self.entries for name in entry.fields))

    @cached_property
    def labelled(self) -> tuple[int, ...]:
        """Places of the records that have been labelled."""
        return tuple(i for i, entry in enumerate(self.entries) if entry.labels is not None)

    @cached_property
    def truth(self) -> np.ndarray:
        """The labels of the labelled records, (N, labels) bool."""
        places = {name: place for place, name in enumerate(self.labels)}
        truth = np.zeros((len(self.labelled), len(places)), dtype=bool)
        for row, index in enumerate(self.labelled):
            truth[row, [places[name] for name in self.entries[index].labels]] = True
        return truth

    @cached_property
    def groups(self) -> np.ndarray:
        """The number of each labelled record's group, (N,); a record without one is its own."""
        names = [self.entries[index].group for index in self.labelled]
        keys = [("group", name) if name else ("record", row) for row, name in enumerate(names)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return np.array([numbers[key] for key in keys], dtype=np.int64)


def collect(records: Iterable[Any]) -> Collection:
    """Return records as entries.

    Args:
        records: mappings {"id", "fields", "labels", "group"} or objects with these attributes; id,
            labels and group may be missing.

    Raises:
        DataError: records without fields, labels that are one string, ids that stand twice; all
            at once.
    """
    entries, problems = [], []
    for number, record in enumerate(records, 1):
        try:
            entries.append(_entry(record, number))
        except DataError as error:
            problems.append(str(error))
    if not entries and not problems:
        raise DataError("there are no records to audit")
    if problems:
        raise DataError("records cannot be audited", problems[:50])
    return Collection(tuple(entries))


def _entry(record: Any, number: int) -> Entry:
    def get(name: str) -> Any:
        return record.get(name) if isinstance(record, Mapping) else getattr(record, name, None)

    fields, labels = get("fields"), get("labels")
    where = f"record {number}" if get("id") is None else f"record {get('id')}"
    if not isinstance(fields, Mapping):
        raise DataError(f"{where}: 'fields' must be a mapping from field name to text")
    wrong = [name for name, text in fields.items() if not isinstance(text, str)]
    if wrong:
        raise DataError(f"{where}: the field '{wrong[0]}' is no text")
    if isinstance(labels, str):
        raise DataError(f"{where}: 'labels' is one string; give a list of label names")
    group = get("group")
    return Entry(
        str(number if get("id") is None else get("id")),
        {str(name): text for name, text in fields.items()},
        None if labels is None else tuple(dict.fromkeys(map(str, labels))),
        None if group is None else str(group),
    )


def folds(truth: np.ndarray, groups: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Return the fold of each record, (N,), spreading every label over the folds.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) over groups instead of single
    records: the groups of the rarest remaining label go first, each to the fold that lacks most
    of this label.

    Args:
        truth: (N, labels) bool.
        groups: (N,) group numbers from 0; a group is never split.
        count: number of folds.
        seed: of the order of equal groups.
    """
    sums = np.zeros((groups.max() + 1, truth.shape[1]))
    np.add.at(sums, groups, truth)
    sizes = np.bincount(groups).astype(float)
    wanted = np.tile(sums.sum(axis=0) / count, (count, 1))
    room = np.full(count, sizes.sum() / count)
    chosen = np.full(len(sizes), -1)
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    for label in np.argsort(truth.sum(axis=0), kind="stable"):
        for group in shuffled[(chosen[shuffled] < 0) & (sums[shuffled, label] > 0)]:
            _place(group, label, chosen, wanted, room, sums, sizes)
    for group in shuffled[chosen[shuffled] < 0]:
        fold = int(room.argmax())
        chosen[group], room[fold] = fold, room[fold] - sizes[group]
    return chosen[groups]


def _place(
    group: int,
    label: int,
    chosen: np.ndarray,
    wanted: np.ndarray,
    room: np.ndarray,
    sums: np.ndarray,
    sizes: np.ndarray,
) -> None:
    lacking = wanted[:, label]
    best = np.flatnonzero(lacking >= lacking.max() - 1e-9)
    fold = best[room[best].argmax()]
    chosen[group] = fold
    wanted[fold] -= sums[group]
    room[fold] -= sizes[group]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted, highest = np.ones(len(order)), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted.tolist()
