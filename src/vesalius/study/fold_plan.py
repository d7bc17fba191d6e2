"""A plan of folds: which case validates when; splits, nested folds, and a form on disk."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.study import strata
from vesalius.study.leakage import Clusters, few
from vesalius.study.strata import Labels

GIVEN = "given"
"""The kind of folds that a user made."""


@dataclass(frozen=True)
class Split:
    """Ids of the cases on each side of one split, each ascending.

    Attributes:
        repeat, fold: its place in a plan, from 0.
        train_ids, valid_ids: who trains, who validates.
        test_ids: held out from both (`holdout` with a test share).
        warnings: for people, of `holdout`; those of folds are with their plan.
    """

    repeat: int
    fold: int
    train_ids: tuple[str, ...]
    valid_ids: tuple[str, ...]
    test_ids: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """The parts by name: train, valid, test."""
        return {"train": self.train_ids, "valid": self.valid_ids, "test": self.test_ids}

    def select(self, cases: Sequence[Case]) -> tuple[list[Case], list[Case], list[Case]]:
        """Return the cases that train, validate and test.

        Raises:
            DataError: an id is none of the cases'.
        """
        known = {case.id: case for case in cases}
        missing = [name for ids in self.parts.values() for name in ids if name not in known]
        if missing:
            raise DataError(
                f"{len(missing)} case(s) of the split are not in the data", few(missing)
            )
        train, valid, test = ([known[name] for name in ids] for ids in self.parts.values())
        return train, valid, test


@dataclass(frozen=True)
class FoldPlan:
    """Which case validates in which fold, for each repeat.

    Attributes:
        folds: k; folds are numbered 0 to k - 1.
        assignments: per repeat, case id -> fold.
        kind: what the folds are balanced by.
        seed: of the draw.
        warnings: for people: labels that a fold lacks, very uneven sizes.
        clusters: ids of near-duplicates that were kept together.

    Raises:
        DataError: a fold number is out of range, a fold is empty, or the repeats differ in ids.
    """

    folds: int
    assignments: tuple[Mapping[str, int], ...]
    kind: str
    seed: int = 0
    warnings: tuple[str, ...] = ()
    clusters: Clusters = ()

    def __post_init__(self):
        problems = [
            f"repeat {repeat}: {problem}"
            for repeat, fold_of in enumerate(self.assignments)
            for problem in _wrong(fold_of, self.folds, self.assignments[0])
        ]
        if self.folds < 2 or not self.assignments:
            problems.append("there must be 2 folds and a repeat at least")
        if problems:
            raise DataError("the folds are not valid", problems)

    @property
    def repeats(self) -> int:
        """How many times all cases are cut into folds."""
        return len(self.assignments)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that are equal for equal assignments."""
        rounds = [dict(fold_of) for fold_of in self.assignments]
        content = json.dumps([self.folds, rounds], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def splits(self) -> Iterator[Split]:
        """Yield repeats x folds splits, fold after fold, repeat after repeat."""
        for repeat, fold_of in enumerate(self.assignments):
            ids = sorted(fold_of)
            for fold in range(self.folds):
                train = tuple(name for name in ids if fold_of[name] != fold)
                yield Split(repeat, fold, train, tuple(n for n in ids if fold_of[n] == fold))

    def nested(
        self, cases: Sequence[Case], *, inner: int = 5, labels: Labels | None = None
    ) -> "Iterator[tuple[Split, FoldPlan]]":
        """Yield each split with folds of its training part, to choose settings within it.

        Args:
            cases: those of the plan.
            inner: number of inner folds.
            labels: as in `folds`.

        Raises:
            DataError, RecipeError: as `folds`.
        """
        from vesalius.study.folds import folds  # which imports this module

        kind = "auto" if self.kind == GIVEN else strata.ungrouped(self.kind)
        for split in self.splits():
            train = split.select(cases)[0]
            inside = set(split.train_ids)
            links = [linked for c in self.clusters if (linked := [n for n in c if n in inside])]
            drawn = np.random.SeedSequence((self.seed, split.repeat, split.fold)).generate_state(1)
            options = {"kind": kind, "labels": labels, "near_duplicates": links}
            yield split, folds(train, folds=inner, seed=int(drawn[0]), **options)

    def to_json(self) -> str:
        """Return JSON, with the fingerprint."""
        content: dict[str, Any] = asdict(self) | {"fingerprint": self.fingerprint}
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "FoldPlan":
        """Rebuild from `to_json`.

        Raises:
            DataError: it is no plan, or was changed since it was written.
        """
        try:
            content = json.loads(text)
            plan = cls(
                folds=int(content["folds"]),
                assignments=tuple(dict(fold_of) for fold_of in content["assignments"]),
                kind=content.get("kind", GIVEN),
                seed=int(content.get("seed", 0)),
                warnings=tuple(content.get("warnings", ())),
                clusters=tuple(tuple(cluster) for cluster in content.get("clusters", ())),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"this is no plan of folds: {error}") from error
        if content.get("fingerprint", plan.fingerprint) != plan.fingerprint:
            raise DataError(
                "the folds were changed since they were written (their fingerprint differs); "
                "restore the file, or remove its key 'fingerprint' to use them as they are"
            )
        return plan


def _wrong(fold_of: Mapping[str, int], folds: int, first: Mapping[str, int]) -> list[str]:
    """Return what is wrong with the folds of one repeat."""
    numbers = set(fold_of.values())
    # bool is an int in Python, but no fold.
    strange = [n for n in numbers if type(n) is not int or not 0 <= n < folds]
    if strange:
        return [f"{strange[0]!r} is no fold; they are numbered 0 to {folds - 1}"]
    empty = sorted(set(range(folds)) - numbers)
    found = [f"no case is in fold {number}" for number in empty]
    differing = sorted(fold_of.keys() ^ first.keys())
    return found + [f"'{name}' is not in all repeats" for name in differing[:20]]
