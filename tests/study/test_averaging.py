"""Averages of probabilities: against closed forms, scipy, and what must hold for any input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import expit, logit
from scipy.stats import gmean

from vesalius.errors import DataError, RecipeError
from vesalius.study.averaging import average, checked_weights, rank_average, scaled_ranks

TABLES = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3)),
    elements=st.floats(0.001, 0.999),
)


def test_averages_by_hand():
    two = np.array([[[0.2]], [[0.8]]])
    assert average(two)[0, 0] == pytest.approx(0.5)
    assert average(two, "log")[0, 0] == pytest.approx(0.4)  # sqrt(0.16)
    assert average(two, "geometric")[0, 0] == pytest.approx(0.5)  # odds 1/4 and 4
    assert average(two, weights=[3, 1])[0, 0] == pytest.approx(0.35)


def test_the_geometric_average_of_labels_is_that_of_the_odds():
    table = np.random.default_rng(0).uniform(0.01, 0.99, (3, 7, 4))
    wanted = expit(np.average(logit(table), axis=0, weights=[3, 2, 1]))
    np.testing.assert_allclose(average(table, "geometric", weights=[3, 2, 1]), wanted)


@pytest.mark.parametrize("how", ["geometric", "log"])
def test_the_geometric_average_of_classes_is_scaled_to_sum_to_one(how):
    table = np.random.default_rng(0).dirichlet(np.ones(4), (3, 6)).transpose(0, 2, 1)
    wanted = gmean(table, axis=0)
    found = average(table, how, classes=0)
    np.testing.assert_allclose(found, wanted / wanted.sum(0), rtol=1e-5)


@settings(max_examples=40)
@given(TABLES, st.sampled_from(["mean", "geometric", "log"]))
def test_an_average_lies_between_the_members_and_ignores_their_order(table, how):
    found = average(table, how)
    assert (found >= table.min(0) - 1e-9).all()
    assert (found <= table.max(0) + 1e-9).all()
    np.testing.assert_allclose(found, average(table[::-1], how), atol=1e-12)


@settings(max_examples=40)
@given(TABLES, st.sampled_from(["mean", "geometric", "log"]))
def test_a_member_without_opinion_changes_nothing(table, how):
    silent = np.concatenate([table, np.full((1, *table.shape[1:]), np.nan)])
    np.testing.assert_allclose(average(silent, how), average(table, how), atol=1e-12)
    weights = [*range(1, len(table) + 1), 100]
    found = average(silent, how, weights=weights)
    np.testing.assert_allclose(found, average(table, how, weights=weights[:-1]), atol=1e-12)


def test_what_nobody_knows_stays_unknown():
    found = average([[0.2, np.nan], [0.4, np.nan]])
    assert found[0] == pytest.approx(0.3)
    assert np.isnan(found[1])


def test_ranks_share_ties_and_reach_from_zero_to_one():
    one = np.array([[[0.1], [0.5], [0.5], [0.9]]])
    np.testing.assert_allclose(rank_average(one)[:, 0], [0, 0.5, 0.5, 1])
    assert scaled_ranks(np.full((2, 1, 3), 0.7)).tolist() == np.full((2, 1, 3), 0.5).tolist()


@settings(max_examples=40)
@given(TABLES)
def test_ranks_do_not_see_the_scale_of_a_member(table):
    np.testing.assert_allclose(rank_average(table), rank_average(table**0.5 * 0.01), atol=1e-12)


def test_ranks_leave_out_a_member_that_lacks_a_label():
    table = np.random.default_rng(0).uniform(size=(2, 5, 2))
    table[1, :, 1] = np.nan
    np.testing.assert_allclose(rank_average(table)[:, 1], rank_average(table[:1])[:, 1])


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [np.nan, 1]])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(DataError):
        checked_weights(weights, 2)


def test_values_that_are_no_probabilities_and_unknown_averages_are_refused():
    with pytest.raises(DataError, match="between 0 and 1"):
        average([[-3.0], [2.0]])
    with pytest.raises(DataError, match="differ in shape"):
        average([[0.1, 0.2], [0.3]])
    with pytest.raises(RecipeError, match="harmonic"):
        average([[0.1]], "harmonic")
