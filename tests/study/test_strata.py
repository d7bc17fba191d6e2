"""What folds are balanced by."""

import numpy as np
import pytest

from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.study.strata import absences, size_warnings, strata


def read(targets, labels=None, kind="auto"):
    cases = [Case(f"c{number}", "", target) for number, target in enumerate(targets)]
    return strata(cases, kind=kind, labels=labels, grouped=False)


def test_labels_become_a_table_with_a_column_per_name():
    found = read([("b", "a"), None, ["c", "c"], "b"])
    assert found.names == ("a", "b", "c")
    assert found.table.astype(int).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_a_function_may_return_names_a_name_or_nothing():
    answers = {"c0": ["x", "y"], "c1": "xy", "c2": None, "c3": 7, "c4": np.int64(7)}
    found = read([None] * 5, labels=lambda case: answers[case.id])
    assert found.names == ("7", "x", "xy", "y")
    assert found.table.sum(1).tolist() == [2, 1, 0, 1, 1]


def test_a_function_that_returns_no_names_is_refused():
    with pytest.raises(DataError, match=r"labels\('c0'\) returned \[0.5\]"):
        read([None], labels=lambda case: [0.5])


def test_random_folds_know_the_labels_but_do_not_balance_them():
    found = read(["a", "a", "b"], kind="random")
    assert found.balanced.shape == (3, 0)
    assert found.table.shape == (3, 2)


def test_absences_are_per_part_and_label():
    table = np.array([[1, 0], [1, 0], [0, 1]], bool)
    assert absences(np.array([0, 1, 1]), 3, table).tolist() == [
        [False, True],
        [False, False],
        [True, True],
    ]


def test_sizes_are_warned_of_beyond_a_fifth_and_a_case():
    assert size_warnings(np.repeat([0, 1], [11, 9]), [0.5, 0.5], None) == []
    assert size_warnings(np.repeat([0, 1], [4, 2]), [0.5, 0.5], None) == []
    assert size_warnings(np.repeat([0, 1], [12, 8]), [0.5, 0.5], None) == []
    assert len(size_warnings(np.repeat([0, 1], [13, 7]), [0.5, 0.5], None)) == 1
