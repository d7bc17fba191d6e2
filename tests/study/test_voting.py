"""Votes: by hand, and against scikit-learn's VotingClassifier."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vesalius.errors import DataError
from vesalius.study.voting import (
    UNDECIDED,
    absolute_majority,
    hard_vote,
    one_hot,
    plurality,
    soft_vote,
    vote,
    votes,
)

THREE = np.eye(3)


def test_labels_are_voted_by_threshold():
    table = np.array([[0.9, 0.4], [0.6, 0.4], [0.1, 0.9]])
    np.testing.assert_allclose(hard_vote(table), [2 / 3, 1 / 3])
    assert absolute_majority(table).tolist() == [1, 0]
    assert absolute_majority(table, weights=[1, 1, 3]).tolist() == [0, 1]
    assert votes(table, threshold=[0.7, 0.3]).sum(0).tolist() == [1, 3]


def test_half_of_the_votes_is_no_absolute_majority_and_probability_decides_the_plurality():
    table = np.array([[0.9, 0.6], [0.2, 0.1]])
    assert absolute_majority(table).tolist() == [0, 0]
    assert plurality(table).tolist() == [1, 0]


def test_classes_without_absolute_majority_are_undecided():
    ballots = THREE[[0, 1, 2]]
    assert absolute_majority(ballots, classes=0) == UNDECIDED
    assert absolute_majority(THREE[[0, 1, 1]], classes=0) == 1
    assert absolute_majority(THREE[[0, 1, 1]], classes=0, weights=[2, 1, 1]) == UNDECIDED
    np.testing.assert_allclose(vote(ballots, "majority", classes=0), [1 / 3, 1 / 3, 1 / 3])


def test_between_classes_with_equal_votes_the_higher_probability_wins():
    table = np.array([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0]])
    assert plurality(table, classes=0) == 1
    assert vote(table, "plurality", classes=0).tolist() == [0, 1, 0]


def test_members_that_lack_a_label_do_not_vote_on_it():
    table = np.array([[0.9, 0.1], [np.nan, 0.9], [0.2, 0.9]])
    np.testing.assert_allclose(hard_vote(table), [0.5, 2 / 3])


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_equals_scikit_learns_voting(kind):
    from sklearn.datasets import make_classification
    from sklearn.ensemble import VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.tree import DecisionTreeClassifier

    inputs, truth = make_classification(200, n_classes=3, n_informative=4, random_state=0)
    named = [("a", LogisticRegression()), ("b", GaussianNB()), ("c", DecisionTreeClassifier())]
    theirs = VotingClassifier(named, voting=kind, weights=[3, 2, 1.5]).fit(inputs, truth)
    table = np.stack([m.predict_proba(inputs) for m in theirs.estimators_])
    if kind == "hard":
        ours = plurality(table, classes=1, weights=[3, 2, 1.5])
    else:
        ours = soft_vote(table, classes=1, weights=[3, 2, 1.5]).argmax(1)
    assert (ours == theirs.predict(inputs)).all()


@settings(max_examples=40)
@given(arrays.arrays(np.float64, (3, 4, 2, 2), elements=st.floats(0, 1)))
def test_shares_of_votes_for_classes_sum_to_one(table):
    table = (table + 1e-3) / (table + 1e-3).sum(1, keepdims=True)
    shares = hard_vote(table, classes=0)
    np.testing.assert_allclose(shares.sum(0), 1)
    decided = absolute_majority(table, classes=0)
    most = plurality(table, classes=0)
    assert (decided[decided != UNDECIDED] == most[decided != UNDECIDED]).all()
    hot = one_hot(decided, number=4, axis=0)
    assert (hot.sum(0) == (decided != UNDECIDED)).all()


def test_an_axis_that_is_none_is_refused():
    with pytest.raises(DataError, match="Axis 3"):
        votes(np.full((2, 3), 0.5), classes=3)
