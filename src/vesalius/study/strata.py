"""What folds are balanced by (the labels of cases), and warnings where that was not possible."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vesalius.engine.task import Case
from vesalius.errors import DataError, RecipeError
from vesalius.language import say
from vesalius.study.stratifying import label_table

Labels = Callable[[Case], Any]
"""Returns a case's label names: an iterable of strings, one string, or None."""

KINDS = (
    *("auto", "random", "stratified", "multilabel"),
    *("grouped", "grouped stratified", "grouped multilabel"),
)
_UNEVEN = 0.2
"""Sizes further than this share from what was asked for are warned of."""


@dataclass(frozen=True)
class Strata:
    """The labels of n cases.

    Attributes:
        kind: what the folds are balanced by, one of `KINDS` but not "auto".
        names: of the L labels that occur, ascending.
        table: bool (n, L).
    """

    kind: str
    names: tuple[str, ...]
    table: np.ndarray

    @property
    def balanced(self) -> np.ndarray:
        """The labels to balance, bool (n, L or 0)."""
        return self.table[:, :0] if self.kind in ("random", "grouped") else self.table


def strata(cases: Sequence[Case], *, kind: str, labels: Labels | None, grouped: bool) -> Strata:
    """Read the labels of cases and settle the kind.

    Args:
        cases: n cases.
        kind: one of `KINDS`; "auto": what the labels allow.
        labels: None: `case.target` where it is a string or a tuple, list or set of strings.
        grouped: some cases belong together.

    Raises:
        RecipeError: no such kind.
        DataError: the cases lack the labels or the groups that the kind needs.
    """
    if kind not in KINDS:
        raise RecipeError(f"kind '{kind}': choose one of {', '.join(KINDS)}")
    rows = [_names(case, labels) for case in cases]
    names = tuple(sorted({name for row in rows for name in row}))
    numbers = {name: number for number, name in enumerate(names)}
    found = label_table([[numbers[name] for name in row] for row in rows])
    if kind.startswith("grouped") and not grouped:
        raise DataError(
            f"kind '{kind}': no case has a group, and no near-duplicates are given; choose another "
            "kind, or give the cases their patients"
        )
    base = _possible(found) if kind == "auto" else ungrouped(kind)
    _check(base, cases, found)
    joined = f"grouped {base}" if base != "random" else "grouped"
    return Strata(joined if grouped else base, names, found)


def ungrouped(kind: str) -> str:
    """Return a kind without its demand that some cases belong together."""
    return "random" if kind == "grouped" else kind.removeprefix("grouped ")


def _names(case: Case, labels: Labels | None) -> set[str]:
    if labels is None:
        target = case.target
        if isinstance(target, str):
            return {target}
        is_names = isinstance(target, tuple | list | set | frozenset)
        return set(target) if is_names and all(isinstance(name, str) for name in target) else set()
    found = labels(case)
    if found is None:
        return set()
    names = {found} if isinstance(found, str) or not isinstance(found, Iterable) else set(found)
    if not all(isinstance(name, str | int | np.integer) for name in names):
        raise DataError(
            f"labels({case.id!r}) returned {found!r}; expected the names of the case's labels"
        )
    return {str(name) for name in names}


def _possible(table: np.ndarray) -> str:
    """Return the kind that the labels allow; labels that occur once cannot be spread."""
    if not (table.sum(0) > 1).any():
        return "random"
    return "multilabel" if (table.sum(1) > 1).any() else "stratified"


def _check(kind: str, cases: Sequence[Case], table: np.ndarray) -> None:
    if kind == "random" or not len(cases):
        return
    if not table.any():
        raise DataError(
            f"kind '{kind}': no case has labels; give labels=, a function from a case to the names "
            "of its labels, or choose kind 'random'"
        )
    several = [case.id for case, count in zip(cases, table.sum(1), strict=True) if count > 1]
    if kind == "stratified" and several:
        raise DataError(
            f"kind 'stratified' is for one label per case; {len(several)} have several: choose "
            "'multilabel'",
            several[:20],
        )


# --- warnings ---------------------------------------------------------------------------------


def absences(part: np.ndarray, parts: int, table: np.ndarray) -> np.ndarray:
    """Tell which part has no case of which label, bool (parts, L).

    Args:
        part: int (n,), 0 to parts - 1.
        parts: their number.
        table: bool (n, L).
    """
    return np.stack([~table[part == number].any(0) for number in range(parts)])


def fold_warnings(fold: np.ndarray, folds: int, found: Strata) -> list[str]:
    """Return a line for each label that some fold cannot be trained on or validated with."""
    lacking = absences(fold, folds, found.table)
    # A training part lacks a label where all other folds do.
    alone = (lacking.sum(0) == folds - 1) & ~lacking
    lines = []
    for number in np.flatnonzero(lacking.any(0)).tolist():
        where = np.flatnonzero(lacking[:, number]).tolist()
        line = _label(found, number) + say(
            f" is absent from the validation part of fold {_listed(where)}",
            f"不在第 {_listed(where)} 折的验证部分",
        )
        if alone[:, number].any():
            only = int(alone[:, number].argmax())
            line += say(
                f", and from the training part of fold {only}", f"，也不在第 {only} 折的训练部分"
            )
        lines.append(line)
    return lines


def part_warnings(part: np.ndarray, names: Sequence[str], found: Strata) -> list[str]:
    """Return a line for each label that one of the named parts (train, valid, test) lacks."""
    lacking = absences(part, len(names), found.table)
    return [
        _label(found, number)
        + say(" is absent from: ", "不在以下部分：")
        + ", ".join(name for name, absent in zip(names, lacking[:, number], strict=True) if absent)
        for number in np.flatnonzero(lacking.any(0)).tolist()
    ]


def _label(found: Strata, number: int) -> str:
    count, name = int(found.table[:, number].sum()), found.names[number]
    return say(f"label '{name}' ({count} case{'s' * (count > 1)})", f"标签“{name}”（{count} 例）")


def place(repeat: int, repeats: int) -> str:
    """Return the beginning of a line about one of several repeats."""
    return say(f"repeat {repeat}: ", f"第 {repeat} 次重复：") if repeats > 1 else ""


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def size_warnings(part: np.ndarray, shares: Sequence[float], units: np.ndarray | None) -> list[str]:
    """Return a line if a part is more than 20 % (and more than a case) off the size asked for."""
    sizes = np.bincount(part, minlength=len(shares))
    wanted = np.asarray(shares) * len(part)
    if (np.abs(sizes - wanted) <= np.maximum(1, _UNEVEN * wanted)).all():
        return []
    found, asked = _listed(sizes.tolist()), ", ".join(f"{size:.1f}" for size in wanted)
    largest = 1 if units is None else int(np.bincount(units).max())
    return [
        say(
            f"the parts have {found} cases where {asked} were wanted; the largest group that must "
            f"stay together has {largest}",
            f"各部分有 {found} 例，应为 {asked} 例；必须放在一起的最大一组有 {largest} 例",
        )
    ]
