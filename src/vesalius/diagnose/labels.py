"""Labels: the rules that bring them into order, and the set that turns them into numbers.

`LabelRules` renames, merges, drops and completes labels by a YAML file. `LabelSet` is the ordered
list of names that a model predicts, with how often each stands in the training records.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from vesalius.block import Block
from vesalius.diagnose.records import Record
from vesalius.errors import DataError, RecipeError

if TYPE_CHECKING:
    import numpy as np

R = TypeVar("R", bound=Record)
EXAMPLE = Path(__file__).with_name("label_rules_example.yaml")
"""The rules that ship as an example: seven labels of a contest that need no diagnosis."""


class LabelRules(Block):
    """Rules for labels, applied in the order rename, merge, drop, implies."""

    rename: Mapping[str, str] = Field(default_factory=dict)
    """old name -> new name"""
    merge: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """new name -> the labels that become it"""
    drop: tuple[str, ...] = ()
    """labels that are not predicted"""
    implies: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """label -> labels that whoever has it has too, and so on from these"""

    @model_validator(mode="after")
    def _must_agree(self) -> Self:
        problems = self._disagreements()
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _disagreements(self) -> list[str]:
        sources = Counter(old for olds in self.merge.values() for old in olds)
        problems = [f"merge: '{old}' goes into two labels" for old, n in sources.items() if n > 1]
        problems += [
            f"merge.{new}: '{old}' is renamed to '{self.rename[old]}' before, name that"
            for new, olds in self.merge.items()
            for old in olds
            if self.rename.get(old, old) != old
        ]
        problems += [
            f"rename.{old}: '{new}' is itself renamed, name the last one"
            for old, new in self.rename.items()
            if self.rename.get(new, new) != new
        ]
        gone = set(self.rename) | set(sources) - set(self.merge)
        problems += [
            f"drop: '{name}' is renamed or merged before" for name in self.drop if name in gone
        ]
        problems += [
            f"implies.{name}: '{other}' is dropped, renamed or merged"
            for name, others in self.implies.items()
            for other in (name, *others)
            if other in gone | set(self.drop)
        ]
        return problems

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read rules from a YAML file.

        Raises:
            DataError: the file cannot be read or an entry is wrong; all at once, with the entry.
        """
        import yaml

        try:
            rows = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DataError(f"{path} holds no label rules: {error}") from error
        if not isinstance(rows, dict | None):
            raise DataError(f"{path}: rename, merge, drop and implies are expected, see {EXAMPLE}")
        # an entry left empty in YAML is null
        rows = {name: value for name, value in (rows or {}).items() if value is not None}
        try:
            return cls.model_validate(rows)
        except ValidationError as error:
            raise DataError(f"{path}: the label rules are wrong", _entries(error)) from error

    def apply_to(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Return the labels after the rules, each once, in their order."""
        target = {old: new for new, olds in self.merge.items() for old in olds}
        target |= {old: target.get(new, new) for old, new in self.rename.items()}
        kept = [target.get(name, name) for name in labels]
        kept = [name for name in kept if name not in self.drop]
        for name in kept:  # grows while it is read, so implied labels imply theirs
            kept += [other for other in self.implies.get(name, ()) if other not in kept]
        return tuple(dict.fromkeys(kept))

    def apply(self, records: Sequence[R]) -> tuple[list[R], "RuleReport"]:
        """Return the records with their labels after the rules, and what the rules did.

        Records that have no label left keep an empty tuple; those without labels stay so.
        """
        before = Counter(label for record in records for label in record.labels or ())
        changed = [
            record
            if record.labels is None
            else replace(record, labels=self.apply_to(record.labels))
            for record in records
        ]
        emptied = sum(
            bool(old.labels) and not new.labels for old, new in zip(records, changed, strict=True)
        )
        return changed, self._report(before, emptied)

    def _report(self, before: Counter[str], emptied: int) -> "RuleReport":
        """Count how many labels each rule met, at the moment when it is applied."""
        used: dict[str, int] = {}
        stage = Counter(before)
        for old, new in self.rename.items():
            used[f"rename.{old}"] = before[old]
            stage[new] += stage.pop(old, 0)
        for new, olds in self.merge.items():
            for old in olds:
                used[f"merge.{new}.{old}"] = stage[old]
                if old != new:
                    stage[new] += stage.pop(old, 0)
        used |= {f"drop.{name}": stage.pop(name, 0) for name in self.drop}
        reached = {name for name, count in stage.items() if count}
        for name in self.implies:
            reached |= set(self.apply_to([name])) if name in reached else set()
        used |= {f"implies.{name}": stage[name] or int(name in reached) for name in self.implies}
        return RuleReport(used, emptied)


@dataclass(frozen=True)
class RuleReport:
    """What rules did: labels that each rule met, and records that have no label any more."""

    used: Mapping[str, int]
    emptied: int

    @property
    def unused(self) -> tuple[str, ...]:
        """Rules that met no label: a name that is spelled otherwise in the data, perhaps."""
        return tuple(rule for rule, count in self.used.items() if not count)


def _entries(error: ValidationError) -> list[str]:
    problems = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"] if part != "[key]")
        if item["type"] == "value_error":  # ours: all disagreements between entries
            problems += item["msg"].removeprefix("Value error, ").split("; ")
        elif item["type"] == "string_type":
            problems.append(f"{place}: {item['input']!r} is no text; put it in quotes")
        elif item["type"] == "extra_forbidden":
            problems.append(f"{place}: unknown; rename, merge, drop and implies are known")
        else:
            problems.append(f"{place}: {item['msg']}")
    return problems


@dataclass(frozen=True)
class LabelSet:
    """The labels that are predicted, in the order of a model's outputs.

    Attributes:
        names: of the labels, the most frequent first where it was made by `of`.
        counts: records that carry each, in the records that it was made from.
        size: number of these records.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    size: int

    def __post_init__(self):
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated or len(self.names) != len(self.counts) or not self.names:
            raise RecipeError(
                f"A label set needs names, each once, and a count for each: {len(self.names)} "
                f"names, {len(self.counts)} counts, repeated: {', '.join(repeated) or 'none'}"
            )

    @classmethod
    def of(cls, records: Iterable[Record | Iterable[str]], *, minimum: int = 1) -> Self:
        """Collect the labels of records, the most frequent first, equal ones by name.

        Args:
            records: records, or the labels of each; records without labels are left out.
            minimum: labels with fewer records are left out; nothing can be learned from none.

        Raises:
            DataError: there is no label that often.
        """
        found = [item.labels if isinstance(item, Record) else tuple(item) for item in records]
        labelled = [labels for labels in found if labels is not None]
        counts = Counter(label for labels in labelled for label in set(labels))
        kept = sorted((item for item in counts.items() if item[1] >= minimum), key=_by_frequency)
        if not kept:
            raise DataError(
                f"No label stands in at least {minimum} of the {len(labelled)} labelled records. "
                "Check which column holds the labels."
            )
        names, numbers = zip(*kept, strict=True)
        return cls(names, numbers, len(labelled))

    def __len__(self) -> int:
        return len(self.names)

    def encode(
        self, records: Iterable[Record | Iterable[str]], *, unknown: str = "error"
    ) -> "np.ndarray":
        """Return which record has which label, bool of shape (N, L).

        Args:
            records: records, or the labels of each.
            unknown: what to do with labels that are not in the set: "error", or "ignore" (as for
                labels that `minimum` left out).

        Raises:
            DataError: unknown labels, all at once, each with its count and the nearest name; or
                records without labels.
        """
        import numpy as np

        records = list(records)
        found = [
            record.labels if isinstance(record, Record) else tuple(record) for record in records
        ]
        if unknown not in ("error", "ignore"):
            raise RecipeError(f"unknown={unknown!r}; 'error' and 'ignore' are allowed")
        self._check(records, found, unknown)
        place = {name: number for number, name in enumerate(self.names)}
        matrix = np.zeros((len(found), len(self.names)), bool)
        for row, labels in enumerate(found):
            matrix[row, [place[name] for name in labels if name in place]] = True
        return matrix

    def _check(self, records: list[Any], found: list[Any], unknown: str) -> None:
        problems = [
            f"{record.place or record.id}: has no labels"
            for record, labels in zip(records, found, strict=True)
            if labels is None
        ]
        known = set(self.names)
        strange = Counter(name for labels in found for name in labels or () if name not in known)
        if unknown == "error":
            problems += [
                self._unknown(*item) for item in sorted(strange.items(), key=_by_frequency)
            ]
        if problems:
            raise DataError("The labels cannot be encoded", problems)

    def _unknown(self, name: str, count: int) -> str:
        near = get_close_matches(name, self.names, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return f"unknown label '{name}' in {count} records{hint}"

    def decode(self, matrix: Any) -> list[tuple[str, ...]]:
        """Return the names where `matrix`, bool of shape (N, L), is true, in the set's order."""
        rows = [[bool(cell) for cell in row] for row in matrix]
        if any(len(row) != len(self.names) for row in rows):
            raise DataError(f"{len(self.names)} columns are needed, one per label")
        return [tuple(n for n, cell in zip(self.names, row, strict=True) if cell) for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """Return names, counts and size for a JSON or YAML file."""
        return {"names": list(self.names), "counts": list(self.counts), "size": self.size}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Make the set that `to_dict` described."""
        return cls(tuple(stored["names"]), tuple(stored["counts"]), stored["size"])


def _by_frequency(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
