"""Folds of k-fold cross-validation: stratified by labels, with patients and copies kept whole.

    plan = folds(cases, folds=5, repeats=2, near_duplicates=text_clusters)
    for split in plan.splits():
        train, valid, _ = split.select(cases)

The folds depend on ids, groups and labels, not on the order in which cases are given. How they are
drawn is in `study/stratifying.py`, what must stay together in `study/leakage.py`.
"""

from collections.abc import Sequence

import numpy as np

from vesalius.engine.task import Case
from vesalius.errors import DataError, RecipeError
from vesalius.language import say
from vesalius.study import leakage, strata
from vesalius.study.fold_checks import check, read
from vesalius.study.fold_plan import FoldPlan, Split
from vesalius.study.leakage import Clusters, NearDuplicates, text_clusters
from vesalius.study.strata import Labels
from vesalius.study.stratifying import assign

__all__ = ["FoldPlan", "Split", "check", "folds", "holdout", "read", "text_clusters"]


def folds(
    cases: Sequence[Case],
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    kind: str = "auto",
    labels: Labels | None = None,
    near_duplicates: NearDuplicates | None = None,
) -> FoldPlan:
    """Cut cases into folds of nearly equal size and nearly equal shares of every label.

    Whole groups (`case.group`, a patient) and near-duplicates are in one fold under every kind.
    Cases that the source marks as test (`case.extra["split"]`) are in none.

    Args:
        cases: with unique ids, in any order.
        folds: their number, 2 to the number of cases (groups).
        repeats: how many times to cut, each time differently.
        seed: of the draws, not negative.
        kind: what is balanced. "random" (sizes alone), "stratified" (one label per case) or
            "multilabel"; "auto": what the labels allow. "grouped", "grouped stratified" and
            "grouped multilabel" are the same, but demand that some cases have a group.
        labels: a function from a case to the names of its labels; None: `case.target` where it is a
            string or a tuple, list or set of strings.
        near_duplicates: links or clusters of ids, or a function from cases to them, such as
            `text_clusters`.

    Raises:
        RecipeError: folds, repeats, seed or kind is wrong.
        DataError: ids are not unique, labels or groups are lacking, or there are fewer groups than
            folds.
    """
    if repeats < 1:
        raise RecipeError(f"repeats is {repeats}; at least 1")
    drawn = _Drawn(cases, kind, labels, near_duplicates)
    rounds = [drawn.assign((seed, repeat), folds) for repeat in range(repeats)]
    warnings = drawn.warnings()
    for repeat, fold in enumerate(rounds):
        found = strata.size_warnings(fold, [1 / folds] * folds, drawn.units)
        found += strata.fold_warnings(fold, folds, drawn.strata)
        warnings += [strata.place(repeat, repeats) + line for line in found]
    return FoldPlan(
        folds=folds,
        assignments=tuple(dict(zip(drawn.ids, fold.tolist(), strict=True)) for fold in rounds),
        kind=drawn.strata.kind,
        seed=seed,
        warnings=tuple(warnings),
        clusters=drawn.clusters,
    )


def holdout(
    cases: Sequence[Case],
    share: float = 0.2,
    *,
    test: float = 0.0,
    seed: int = 0,
    kind: str = "auto",
    labels: Labels | None = None,
    near_duplicates: NearDuplicates | None = None,
) -> Split:
    """Hold out a part of the cases for validation, and perhaps another for the test.

    Args:
        cases: with unique ids, in any order.
        share: of the cases that validate, above 0.
        test: share of the cases that test; 0: none. Below 1 together with `share`.
        seed, kind, labels, near_duplicates: as in `folds`.

    Raises:
        RecipeError, DataError: as `folds`; also where a test share is asked for and the source
            names its own test cases.
    """
    if not (share > 0 and test >= 0 and share + test < 1):
        raise RecipeError(f"share {share} and test {test}: positive, and together less than 1")
    if test and any(case.extra.get("split") == "test" for case in cases):
        raise DataError("the source names its own test cases: leave test out")
    drawn = _Drawn(cases, kind, labels, near_duplicates)
    shares = [1 - share - test, share, test][: 3 if test else 2]
    part = drawn.assign((seed, 0), len(shares), shares)
    warnings = drawn.warnings() + strata.size_warnings(part, shares, drawn.units)
    warnings += strata.part_warnings(part, ["train", "valid", "test"][: len(shares)], drawn.strata)
    ids = np.array(drawn.ids, object)
    train, valid, held = (tuple(ids[part == number].tolist()) for number in range(3))
    return Split(0, 0, train, valid, held, tuple(warnings))


class _Drawn:
    """Cases that can be in a fold, ordered by id, with what they are balanced and bound by."""

    def __init__(
        self,
        cases: Sequence[Case],
        kind: str,
        labels: Labels | None,
        near_duplicates: NearDuplicates | None,
    ):
        leakage.unique_ids(cases)
        self.cases = sorted(cases, key=lambda case: case.id)
        usable = [case for case in self.cases if case.extra.get("split") != "test"]
        self.ids = [case.id for case in usable]
        # Test cases take part in the search for copies, since a copy of one is a leak.
        self.found = leakage.find_clusters(self.cases, near_duplicates)
        self.clusters = _within(self.found, set(self.ids))
        self.units = leakage.units(usable, self.clusters)
        grouped = bool(self.clusters) or any(case.group for case in usable)
        self.strata = strata.strata(usable, kind=kind, labels=labels, grouped=grouped)

    def assign(self, seed, parts: int, shares: Sequence[float] | None = None) -> np.ndarray:
        """Return the part of each case, int (n,)."""
        table = self.strata.balanced
        return assign(table, folds=parts, groups=self.units, seed=seed, proportions=shares)

    def warnings(self) -> list[str]:
        """Return lines about test cases of the source that resemble others."""
        if len(self.ids) == len(self.cases):
            return []
        part_of = {case.id: "test" for case in self.cases} | dict.fromkeys(self.ids, "folds")
        return [
            say("the source's test cases leak: ", "数据自带的测试集有泄漏：") + line
            for line in leakage.leaks(part_of, self.cases, self.found)
        ]


def _within(clusters: Clusters, ids: set[str]) -> Clusters:
    kept = (tuple(name for name in cluster if name in ids) for cluster in clusters)
    return tuple(cluster for cluster in kept if len(cluster) > 1)
