"""What must stay on one side of a split: the cases of a patient, and near-duplicates.

A patient's cases and a case's copies are linked; what is linked, also through several links, is one
unit. A split that cuts a unit lets the model see in training what it is then tested on.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vesalius.engine.task import Case
from vesalius.errors import DataError

Clusters = tuple[tuple[str, ...], ...]
NearDuplicates = Iterable[Iterable[str]] | Callable[[Sequence[Case]], Iterable[Iterable[str]]]
"""Links or clusters of case ids, or a function that finds them."""


def unique_ids(cases: Sequence[Case]) -> set[str]:
    """Return the ids of the cases.

    Raises:
        DataError: an id occurs twice.
    """
    counts = Counter(case.id for case in cases)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise DataError(
            f"{len(twice)} id(s) name several cases; give every case its own id", few(twice)
        )
    return set(counts)


def find_clusters(cases: Sequence[Case], near_duplicates: NearDuplicates | None) -> Clusters:
    """Return disjoint clusters of two or more ids, each ascending, by their first id.

    Args:
        cases: with unique ids.
        near_duplicates: links (two ids) or clusters (any number), which are joined where they share
            an id; or a function of the cases that returns them.

    Raises:
        DataError: an id is none of the cases', or a cluster is no sequence of ids.
    """
    found = near_duplicates(cases) if callable(near_duplicates) else near_duplicates
    clusters = [_cluster(cluster) for cluster in found or ()]
    known = {case.id for case in cases}
    strange = sorted({name for cluster in clusters for name in cluster} - known)
    if strange:
        raise DataError(
            f"near_duplicates names {len(strange)} id(s) that no case has", few(strange)
        )
    return components(clusters)


def _cluster(given: Iterable[str]) -> tuple[str, ...]:
    cluster = () if isinstance(given, str) else tuple(given)
    if not cluster or not all(isinstance(name, str) for name in cluster):
        raise DataError(
            f"near_duplicates has {given!r}; expected the ids of two or more cases, such as "
            "('case-1', 'case-7')"
        )
    return cluster


def components(clusters: Iterable[Sequence[str]]) -> Clusters:
    """Join what shares a member (union-find)."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for first, *others in clusters:
        root(first)
        for other in others:
            parent[root(other)] = root(first)
    members = defaultdict(list)
    for name in sorted(parent):
        members[root(name)].append(name)
    return tuple(sorted(tuple(group) for group in members.values() if len(group) > 1))


def units(cases: Sequence[Case], clusters: Clusters) -> np.ndarray | None:
    """Return the number of each case's unit, int64 (n,), or None where every case is its own.

    Groups (`case.group`, None and "" are none) and clusters that share a case are one unit.
    """
    members = [ids for ids in _groups(cases).values() if len(ids) > 1]
    first = {name: unit[0] for unit in components([*members, *clusters]) for name in unit}
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(first.get(case.id, case.id), len(numbers)) for case in cases]
    return None if len(numbers) == len(cases) else np.array(found)


def _groups(cases: Sequence[Case]) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for case in cases:
        if case.group:
            groups[case.group].append(case.id)
    return groups


def leaks(part_of: Mapping[str, Any], cases: Sequence[Case], clusters: Clusters) -> list[str]:
    """Return a line for each group and each cluster that lies in several parts.

    Args:
        part_of: id -> name of its part. Ids that are not in it lie nowhere.
    """
    units = [(f"group '{name}'", ids) for name, ids in sorted(_groups(cases).items())]
    units += [("the near-duplicates", list(cluster)) for cluster in clusters]
    found = []
    for name, ids in units:
        parts = defaultdict(list)
        for member in ids:
            if member in part_of:
                parts[part_of[member]].append(member)
        if len(parts) > 1:
            sides = "; ".join(f"{part}: {_listed(ids)}" for part, ids in parts.items())
            found.append(f"{name} on several sides ({sides})")
    return found


def text_clusters(
    cases: Sequence[Case], *, threshold: float = 0.7, ngram: int = 5, seed: int = 0
) -> Clusters:
    """Return clusters of cases whose texts are copies or nearly so.

    A case's text is `case.input`, or all strings in it one after another where it is a mapping or a
    sequence. Cases without text are in no cluster. A function for `near_duplicates` of
    `vesalius.study.folds`; with other settings, `functools.partial(text_clusters, threshold=0.9)`.

    Args:
        cases: with unique ids.
        threshold, ngram, seed: as in `vesalius.text.near_duplicates`.

    Raises:
        DataError: no case has text.
        RecipeError: threshold or ngram out of range.
    """
    from vesalius.text.duplicates import duplicates, near_duplicates

    found = {case.id: "\n".join(_strings(case.input)) for case in cases}
    ids = [name for name, text in found.items() if text.strip()]
    if cases and not ids:
        raise DataError("no case has text: near-duplicates are found in case.input only as strings")
    texts = [found[name] for name in ids]
    copies = duplicates(texts)
    # One of each set of copies is enough: the pairs of n copies would grow with n squared.
    dropped = {index for group in copies for index in group[1:]}
    kept = [index for index in range(len(ids)) if index not in dropped]
    pairs = near_duplicates(
        [texts[index] for index in kept], threshold=threshold, ngram=ngram, seed=seed
    )
    links = [*copies, *((kept[i], kept[j]) for i, j, _ in pairs)]
    return components([[ids[index] for index in link] for link in links])


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return []
    return [text for item in value for text in _strings(item)]


def few(lines: Sequence[str], most: int = 50) -> list[str]:
    """Return the lines to show, and how many are left out."""
    more = len(lines) - most
    return [*lines[:most], *([f"... and {more} more"] if more > 0 else [])]


def _listed(ids: Sequence[str], most: int = 3) -> str:
    more = len(ids) - most
    return ", ".join(ids[:most]) + (f" and {more} more" if more > 0 else "")
