"""The members of an ensemble: opened, asked for the same cases, their labels put in one order."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.engine.run import Run
from vesalius.engine.task import Case, Prediction, Task
from vesalius.errors import DataError
from vesalius.language import say
from vesalius.study import predictions

_SUM_SLACK = 2e-3
"""Probabilities of classes may miss the sum 1 by so much (float16, resampling)."""


class Answers(Mapping[str, NDArray]):
    """Arrays by case id: vectors in memory, maps of pixels in a temporary folder."""

    def __init__(self, given: Iterable[Prediction] = ()):
        self._kept: dict[str, Any] = {}
        self._folder: tempfile.TemporaryDirectory | None = None
        for item in given:
            self.add(item.id, item.probabilities)

    def add(self, name: str, array: Any) -> None:
        """Keep the array of a case.

        Raises:
            DataError: the case has one already.
        """
        if name in self._kept:
            raise DataError(f"case {name} is predicted twice")
        array = np.asarray(array)
        if array.ndim < 2:
            self._kept[name] = array
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="vesalius-")
        path = Path(self._folder.name) / f"{len(self._kept)}.npy"
        np.save(path, array.astype(np.float32), allow_pickle=False)
        self._kept[name] = path

    def __getitem__(self, name: str) -> NDArray:
        found = self._kept[name]
        return np.load(found, mmap_mode="r") if isinstance(found, Path) else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


@dataclass(frozen=True)
class Member:
    """One model's answers.

    Attributes:
        name: for tables and messages.
        answers: case id -> probabilities, the first axis being the labels.
        labels: names along the first axis, or None where the department names none.
        trained_on: ids of the cases that trained it; None: not known.
    """

    name: str
    answers: Mapping[str, NDArray] = field(repr=False)
    labels: tuple[str, ...] | None = None
    trained_on: frozenset[str] | None = None

    @classmethod
    def of(
        cls, name: str, given: Iterable[Prediction], labels: Sequence[str] | None = None
    ) -> "Member":
        """Make a member of predictions that are there already."""
        return cls(name, Answers(given), None if labels is None else tuple(labels))

    @classmethod
    def read(cls, path: str | Path) -> "Member":
        """Read a predictions.npz, as ensembles keep it.

        Raises:
            DataError: there is no such file, or it is damaged.
        """
        path = Path(path)
        kept = predictions.read(path)
        return cls.of(path.parent.name or path.stem, kept.predictions, kept.labels or None)

    @classmethod
    def out_of_fold(cls, folder: str | Path, *, repeat: int = 0) -> "Member":
        """Read a variant of a cross-validation: every case by the run that did not see it.

        Args:
            folder: jobs/VARIANT of the study's folder.
            repeat: which repeat of the folds.

        A label that a fold's run does not know has probability 0 there.

        Raises:
            DataError: the folder keeps no predictions of that repeat, or they are damaged.
        """
        paths = sorted(Path(folder).glob(f"r{repeat}-f*/predictions.npz"))
        if not paths:
            raise DataError(
                f"{folder} keeps no predictions of repeat {repeat}: run the cross-validation with "
                "keep=predictions, and give the folder jobs/VARIANT"
            )
        kept = [predictions.read(path) for path in paths]
        labels = tuple(dict.fromkeys(name for part in kept for name in part.labels))
        found = [item for part in kept for item in predictions.aligned(part, labels)]
        made = cls.of(Path(folder).name, found, labels or None)
        return replace(made, trained_on=frozenset())


def open_members(given: Sequence[Any]) -> list[Run | Member]:
    """Open run folders and stored predictions, and name equal ones apart.

    Raises:
        DataError: fewer than two, or runs of different departments.
    """
    found = [_opened(item) for item in given]
    if len(found) < 2:
        raise DataError(f"An ensemble needs two members or more; there are {len(found)}.")
    departments = {item.department for item in found if isinstance(item, Run)}
    if len(departments) > 1:
        raise DataError(
            f"The runs are of different departments: {', '.join(sorted(departments))}. Combine "
            "models that answer the same question."
        )
    return found


def _opened(item: Any) -> Run | Member:
    if isinstance(item, Run | Member):
        return item
    return Member.read(item) if Path(item).suffix == ".npz" else Run(item)


def predict(
    run: Run, name: str, cases: Sequence[Case], *, device: str, progress: Callable | None
) -> Member:
    """Ask a run for all cases."""
    split = run.config.get("split") or {}
    train = split.get("train")
    made = Answers(run.predictions(list(cases), device=device, progress=progress))
    known = frozenset(train) if isinstance(train, list) else None
    return Member(name, made, label_names(run.task), known)


def label_names(task: Task) -> tuple[str, ...] | None:
    """Return what the first axis of a prediction stands for, where the task has names."""
    names = getattr(task, "label_names", None)
    return None if names is None else tuple(names)


def distinct(names: Sequence[str]) -> list[str]:
    """Return the names, with " (2)" and so on behind those that come again."""
    made: list[str] = []
    for name in names:
        number, own = 1, name
        while own in made:
            number += 1
            own = f"{name} ({number})"
        made.append(own)
    return made


def aligned(
    members: Sequence[Member], labels: Sequence[str] | None, ids: Sequence[str]
) -> tuple[list[Member], list[str]]:
    """Put every member's labels in one order; NaN for labels that it lacks.

    Args:
        members: two or more.
        labels: the wanted order: the names that the scoring task knows.
        ids: of the cases that all must have answered.

    Returns:
        The members, and sentences about labels that some lack or that are dropped.

    Raises:
        DataError: a case is not answered, shapes differ, or a member knows none of the labels.
    """
    problems = [
        f"{member.name} has no prediction of {len(missing)} case(s), such as {missing[0]}"
        for member in members
        if (missing := [name for name in ids if name not in member.answers])
    ]
    if problems:
        raise DataError("Members must answer the same cases.", problems)
    if labels is None or any(member.labels is None for member in members):
        made, notes = list(members), []
    else:
        known = [set(member.labels or ()) & set(labels) for member in members]
        strangers = [m.name for m, own in zip(members, known, strict=True) if not own]
        if strangers:
            raise DataError(
                f"{', '.join(strangers)}: knows none of the labels {', '.join(labels[:8])}. "
                "Combine models of the same question."
            )
        made = [replace(m, answers=_Ordered(m, labels), labels=tuple(labels)) for m in members]
        notes = _gaps(members, labels)
    _refuse_shapes(made, ids)
    return made, notes


def _gaps(members: Sequence[Member], labels: Sequence[str]) -> list[str]:
    notes = []
    for member in members:
        own = member.labels or ()
        lacking = [name for name in labels if name not in own]
        dropped = [name for name in own if name not in labels]
        if lacking:
            listed = ", ".join(lacking[:8])
            notes.append(
                say(
                    f"{member.name} lacks {len(lacking)} label(s) ({listed}): there the others "
                    "answer alone, and its own score counts them as never predicted",
                    f"{member.name} 缺 {len(lacking)} 个标签（{listed}）：由其余成员回答；"
                    "其自身得分按从未预测计",
                )
            )
        if dropped:
            listed = ", ".join(dropped[:8])
            notes.append(
                say(
                    f"{member.name}: {len(dropped)} label(s) that the scoring model does not know "
                    f"are left out ({listed})",
                    f"{member.name}：评分模型不认识的 {len(dropped)} 个标签未计入（{listed}）",
                )
            )
    return notes


class _Ordered(Mapping[str, NDArray]):
    """A member's answers with the labels in another order, made when asked for."""

    def __init__(self, member: Member, labels: Sequence[str]):
        own = {name: index for index, name in enumerate(member.labels or ())}
        self._answers, self._name, self._own = member.answers, member.name, len(own)
        self._from = np.array([own.get(name, -1) for name in labels])
        self._same = self._from.tolist() == list(range(len(own)))

    def __getitem__(self, name: str) -> NDArray:
        array = self._answers[name]
        if array.ndim < 1 or len(array) != self._own:
            raise DataError(
                f"{self._name}, case {name}: an array of shape {array.shape} does not have "
                f"{self._own} labels along its first axis"
            )
        if self._same:
            return array
        known = (self._from >= 0).reshape(-1, *[1] * (array.ndim - 1))
        return np.where(known, np.asarray(array, np.float64)[self._from], np.nan)

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)


def _refuse_shapes(members: Sequence[Member], ids: Sequence[str]) -> None:
    problems = []
    for name in ids:
        shapes = {member.name: member.answers[name].shape for member in members}
        if len(set(shapes.values())) > 1:
            problems.append(f"{name}: " + ", ".join(f"{m} {s}" for m, s in shapes.items()))
    if problems:
        raise DataError("Members answer the same cases with arrays of other shapes.", problems[:20])


def are_classes(members: Sequence[Member], ids: Sequence[str]) -> bool:
    """Tell whether every answer sums to 1 over its first axis: classes that exclude each other.

    A member's missing labels (NaN) count as 0.
    """
    return all(
        np.asarray(member.answers[name]).shape[0] > 1
        and np.abs(np.nansum(member.answers[name], axis=0) - 1).max() <= _SUM_SLACK
        for member in members
        for name in ids
    )
