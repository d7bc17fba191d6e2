"""What must stay on one side of a split."""

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.study.leakage import find_clusters, leaks, text_clusters, units

GROUPS = {"a": "x", "b": "x", "c": "y", "d": None, "e": "y", "f": ""}
CASES = [Case(name, "", None, group) for name, group in GROUPS.items()]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 25), min_size=1, max_size=4), max_size=15))
def test_clusters_are_connected_components(clusters):
    cases = [Case(f"{number:02}", "") for number in range(26)]
    graph = networkx.Graph()
    named = [[f"{number:02}" for number in cluster] for cluster in clusters]
    for first, *others in named:
        graph.add_edges_from((first, other) for other in others)
    expected = {tuple(sorted(part)) for part in networkx.connected_components(graph)}
    assert find_clusters(cases, named) == tuple(sorted(p for p in expected if len(p) > 1))
    assert find_clusters(cases, lambda _: named) == find_clusters(cases, named)


def test_groups_and_clusters_that_share_a_case_are_one_unit():
    # Groups: a, b | c, e; d and f are alone.
    assert units(CASES, ()).tolist() == [0, 0, 1, 2, 1, 3]
    assert units(CASES, (("b", "e"),)).tolist() == [0, 0, 0, 1, 0, 2]
    assert units(CASES[3:4] + CASES[5:], ()) is None


def test_leaks_name_the_group_and_its_members():
    part_of = {"a": "train", "b": "valid", "c": "train", "d": "valid"}
    assert leaks(part_of, CASES, (("c", "d"),)) == [
        "group 'x' on several sides (train: a; valid: b)",
        "the near-duplicates on several sides (train: c; valid: d)",
    ]
    assert leaks({"a": "train", "b": "train", "c": "valid"}, CASES, ()) == []


def test_wrong_clusters_are_refused():
    with pytest.raises(DataError, match=r"names 1 id\(s\) that no case has") as caught:
        find_clusters(CASES, [("a", "zz")])
    assert caught.value.problems == ["zz"]
    with pytest.raises(DataError, match="expected the ids"):
        find_clusters(CASES, ["ab"])
    with pytest.raises(DataError, match="expected the ids"):
        find_clusters(CASES, [(0, 1)])


def test_texts_are_joined_from_all_fields_and_empty_ones_are_in_no_cluster():
    rng = np.random.default_rng(0)

    def note() -> str:
        return "".join(map(chr, rng.integers(0x4E00, 0x9FA5, 80)))

    one, other, third = note(), note(), note()
    inputs = [
        {"a": one, "b": other},
        {"a": one[:-2], "b": other},  # nearly
        {"a": one},  # half
        [third, ("", {"deep": "x"})],
        [third, ("", {"deep": "x"})],
        "",
        {"a": "", "n": 3},
    ]
    cases = [Case(f"c{number}", given) for number, given in enumerate(inputs)]
    assert text_clusters(cases) == (("c0", "c1"), ("c3", "c4"))
    assert text_clusters(cases, threshold=1.0) == (("c3", "c4"),)
    assert text_clusters(cases, threshold=0.3) == (("c0", "c1", "c2"), ("c3", "c4"))


def test_cases_without_any_text_are_refused():
    with pytest.raises(DataError, match="no case has text"):
        text_clusters([Case("a", 3), Case("b", None)])
    assert text_clusters([]) == ()
