"""Folds that a user made are read, and refused if they leak."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.language import say
from vesalius.study import strata
from vesalius.study.fold_plan import GIVEN, FoldPlan, Split
from vesalius.study.leakage import (
    Clusters,
    NearDuplicates,
    components,
    few,
    find_clusters,
    leaks,
    unique_ids,
    units,
)
from vesalius.study.strata import Labels

_Row = tuple[str, Any, Any, Any]
"""Where it stands, id, fold, repeat."""


def check(
    plan: FoldPlan | Split,
    cases: Sequence[Case],
    *,
    near_duplicates: NearDuplicates | None = None,
) -> None:
    """Refuse a plan or a split that leaks.

    Args:
        plan: folds, or one split.
        cases: all cases of the source.
        near_duplicates: as in `folds`; those that a plan was made with are looked at anyway.

    Raises:
        DataError: all problems listed: a group or a cluster of near-duplicates on several sides, a
            case on several sides or twice on one, a test case of the source in training or
            validation, an id that no case has.
    """
    unique_ids(cases)
    clusters = find_clusters(cases, near_duplicates)
    if isinstance(plan, Split):
        problems = _split_problems(plan, cases, clusters)
    else:
        problems = _plan_problems(plan, cases, components([*clusters, *plan.clusters]))
    if problems:
        raise DataError(f"the split is not valid: {len(problems)} problem(s)", few(problems))


def _plan_problems(plan: FoldPlan, cases: Sequence[Case], clusters: Clusters) -> list[str]:
    found = _strangers(plan.assignments[0], cases) + _test_cases(plan.assignments[0], cases)
    for repeat, fold_of in enumerate(plan.assignments):
        part_of = {name: f"fold {fold}" for name, fold in fold_of.items()}
        lines = leaks(part_of, cases, clusters)
        found += [strata.place(repeat, plan.repeats) + line for line in lines]
    return found


def _split_problems(split: Split, cases: Sequence[Case], clusters: Clusters) -> list[str]:
    places = [(name, part) for part, ids in split.parts.items() for name in ids]
    counts = Counter(name for name, _ in places)
    found = [
        f"'{name}' occurs {count} times ({', '.join(part for n, part in places if n == name)})"
        for name, count in counts.items()
        if count > 1
    ]
    found += _strangers(counts, cases)
    found += _test_cases((*split.train_ids, *split.valid_ids), cases)
    return found + leaks(dict(places), cases, clusters)


def _strangers(ids: Iterable[str], cases: Sequence[Case]) -> list[str]:
    known = {case.id for case in cases}
    return [f"'{name}' is the id of no case" for name in sorted(set(ids) - known)]


def _test_cases(ids: Iterable[str], cases: Sequence[Case]) -> list[str]:
    held = {case.id for case in cases if case.extra.get("split") == "test"}
    return [
        f"'{name}' is a test case of the source; it must not train or validate"
        for name in sorted(held.intersection(ids))
    ]


# --- reading ----------------------------------------------------------------------------------


def read(
    path: str | Path,
    cases: Sequence[Case],
    *,
    labels: Labels | None = None,
    near_duplicates: NearDuplicates | None = None,
) -> FoldPlan:
    """Read folds that a user made (or that `FoldPlan.to_json` wrote), and check them.

    Args:
        path: CSV or TSV with the columns id, fold and, for several repeats, repeat; or JSON: a list
            of objects with these keys, an object id -> fold, or a plan. Folds and repeats are whole
            numbers; they are renumbered from 0 in their order, so folds 1 to 5 become 0 to 4.
        cases: all cases of the source. Those that the file leaves out neither train nor validate;
            a warning of the plan says so.
        labels, near_duplicates: as in `folds`.

    Raises:
        DataError: the file is not readable, a row is wrong, or the folds leak (see `check`).
    """
    path = Path(path)
    plan = _parse(path)
    check(plan, cases, near_duplicates=near_duplicates)
    clusters = components([*plan.clusters, *find_clusters(cases, near_duplicates)])
    warnings = _warnings(plan, cases, labels, clusters)
    return FoldPlan(plan.folds, plan.assignments, plan.kind, plan.seed, warnings, clusters)


def _parse(path: Path) -> FoldPlan:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the folds {path}: {error}") from error
    if path.suffix.lower() != ".json":
        return _plan(path, _table_rows(path, text))
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if isinstance(content, dict) and "assignments" in content:
        return FoldPlan.from_json(text)
    return _plan(path, _json_rows(path, content))


def _table_rows(path: Path, text: str) -> list[_Row]:
    lines = text.splitlines()
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.DictReader(lines, delimiter=delimiter)
    lacking = {"id", "fold"} - set(rows.fieldnames or ())
    if lacking:
        raise DataError(
            f"{path} has no column {' and no column '.join(sorted(lacking))}; the first line must "
            "name the columns id, fold and perhaps repeat"
        )
    return [(f"line {rows.line_num}", row["id"], row["fold"], row.get("repeat", 0)) for row in rows]


def _json_rows(path: Path, content: Any) -> list[_Row]:
    if isinstance(content, dict):
        return [(f"'{name}'", name, fold, 0) for name, fold in content.items()]
    is_list = isinstance(content, list) and all(isinstance(row, Mapping) for row in content)
    if not is_list or not all({"id", "fold"} <= row.keys() for row in content):
        raise DataError(
            f'{path}: expected a list of objects {{"id": ..., "fold": ...}}, or one object '
            "id -> fold"
        )
    return [
        (f"entry {number}", row["id"], row["fold"], row.get("repeat", 0))
        for number, row in enumerate(content)
    ]


def _plan(path: Path, rows: Sequence[_Row]) -> FoldPlan:
    """Return the plan that rows tell.

    Raises:
        DataError: every wrong row, listed.
    """
    problems, found = [], {}
    for place, name, *numbers in rows:
        fold, repeat = map(_whole, numbers)
        if not isinstance(name, str) or not name:
            problems.append(f"{place}: no id")
        elif fold is None or repeat is None:
            problems.append(f"{place}: fold {numbers[0]!r}, repeat {numbers[1]!r}: whole numbers")
        elif (repeat, name) in found:
            before = found[repeat, name][0]
            problems.append(f"{place}: '{name}' a second time; it has a fold in {before}")
        else:
            found[repeat, name] = (place, fold)
    if problems:
        raise DataError(f"{path} has wrong rows", few(problems))
    numbers = {fold: new for new, fold in enumerate(sorted({fold for _, fold in found.values()}))}
    rounds: dict[int, dict[str, int]] = {}
    for (repeat, name), (_, fold) in sorted(found.items()):
        rounds.setdefault(repeat, {})[name] = numbers[fold]
    return FoldPlan(len(numbers), tuple(rounds.values()), GIVEN)


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None


def _warnings(
    plan: FoldPlan, cases: Sequence[Case], labels: Labels | None, clusters: Clusters
) -> tuple[str, ...]:
    known = {case.id: case for case in cases}
    ids = sorted(plan.assignments[0])
    used = [known[name] for name in ids]
    found = strata.strata(used, kind="auto", labels=labels, grouped=False)
    usable = {case.id for case in cases if case.extra.get("split") != "test"}
    left = sorted(usable - set(ids))
    lines = []
    if left:
        named = ", ".join(few(left, 5))
        count = len(left)
        lines.append(
            say(f"{count} case(s) are in no fold: {named}", f"{count} 例不在折中：{named}")
        )
    for repeat, fold_of in enumerate(plan.assignments):
        fold = np.array([fold_of[name] for name in ids])
        more = strata.size_warnings(fold, [1 / plan.folds] * plan.folds, units(used, clusters))
        more += strata.fold_warnings(fold, plan.folds, found)
        lines += [strata.place(repeat, plan.repeats) + line for line in more]
    return tuple(lines)
