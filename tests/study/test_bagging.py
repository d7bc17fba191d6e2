"""Bagging: who is drawn, who is out, and a score that has seen nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import DataError
from vesalius.study.bagging import bagging, bags


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=4, max_size=30), st.integers(0, 3))
def test_groups_are_in_the_bag_or_out_of_it(groups, seed):
    ids = [f"c{k}" for k in range(len(groups))]
    if len(set(groups)) < 2:
        with pytest.raises(DataError):
            bags(ids, groups=groups)
        return
    by_id = dict(zip(ids, groups, strict=True))
    for bag in bags(ids, 5, groups=groups, seed=seed):
        inside, out = {by_id[i] for i in bag.train}, {by_id[i] for i in bag.out_of_bag}
        assert out
        assert not inside & out
        assert set(bag.train) | set(bag.out_of_bag) == set(ids)


def test_samples_do_not_depend_on_their_number_and_leave_out_a_third():
    ids = [f"c{k}" for k in range(400)]
    drawn = bags(ids, 8, seed=1)
    assert drawn[:3] == bags(ids, 3, seed=1)
    share = np.mean([len(bag.out_of_bag) for bag in drawn]) / 400
    assert share == pytest.approx(np.exp(-1), abs=0.03)
    assert all(len(bag.train) == 400 for bag in drawn)


def test_out_of_bag_answers_come_from_members_that_did_not_see_the_case():
    ids = [f"c{k}" for k in range(20)]

    def fit(train):
        return lambda asked: np.array([float(name in train) for name in asked])

    found = bagging(fit, ids, number=6)
    assert (found.out_of_bag == 0).all()
    assert set(found.ids) | set(found.never_out) == set(ids)
    assert (found.predict(ids) > 0).any()
    assert found.out_of_bag_score(lambda names, p: len(names) - p.sum()) == len(found.ids)


def test_the_out_of_bag_score_is_near_the_score_on_new_cases():
    from sklearn.datasets import make_classification
    from sklearn.tree import DecisionTreeClassifier

    inputs, truth = make_classification(600, n_informative=4, random_state=0)
    ids = [str(k) for k in range(300)]

    def fit(train):
        rows = [int(name) for name in train]
        tree = DecisionTreeClassifier(random_state=0).fit(inputs[rows], truth[rows])
        return lambda asked: tree.predict_proba(inputs[[int(name) for name in asked]])[:, 1]

    found = bagging(fit, ids, number=25)

    def accuracy(names, p):
        return ((p > 0.5) == truth[[int(name) for name in names]]).mean()

    new = [str(k) for k in range(300, 600)]
    outside = accuracy(new, found.predict(new))
    assert found.out_of_bag_score(accuracy) == pytest.approx(outside, abs=0.06)


def test_ids_that_repeat_are_refused():
    with pytest.raises(DataError, match="twice"):
        bags(["a", "a"])
