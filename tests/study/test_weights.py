"""Weights of members: by rank, greedily, by log loss; cross-fitting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics import log_loss

from vesalius.errors import DataError
from vesalius.study.weights import (
    by_rank,
    cross_fitted,
    greedy_selection,
    log_loss_weights,
    parts,
)


def test_three_members_get_three_two_and_one_sixth():
    np.testing.assert_allclose(by_rank([0.7, 0.9, 0.8]), [1 / 6, 3 / 6, 2 / 6])
    np.testing.assert_allclose(by_rank([1, 2, 3], higher_is_better=False), [3 / 6, 2 / 6, 1 / 6])
    np.testing.assert_allclose(by_rank([0.5, 0.5]), [0.5, 0.5])
    with pytest.raises(DataError):
        by_rank([0.5, np.nan])


def test_greedy_selection_finds_the_mixture_that_is_wanted():
    wanted = np.array([2 / 3, 1 / 3, 0])
    found = greedy_selection(lambda w: -np.abs(w - wanted).sum(), 3, rounds=10)
    np.testing.assert_allclose(found, wanted)


def test_greedy_selection_goes_through_a_valley_and_asks_for_nothing_twice():
    asked = []

    def score(weights):
        asked.append(tuple(np.round(weights, 9)))
        even = np.allclose(weights, [1 / 3, 1 / 3, 1 / 3])
        return 1.0 if even else float(weights[0]) * 0.5

    np.testing.assert_allclose(greedy_selection(score, 3, rounds=0), [1, 0, 0])
    asked.clear()
    greedy_selection(score, 3, rounds=8)
    assert len(asked) == len(set(asked))


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_greedy_selection_is_never_worse_than_the_best_member(values):
    def score(weights):
        return float(weights @ np.array(values))

    assert score(greedy_selection(score, len(values), rounds=4)) >= max(values) - 1e-12


def _problem(seed, classes):
    rng = np.random.default_rng(seed)
    if classes:
        truth = np.eye(3, dtype=bool)[rng.integers(0, 3, 150)]
        table = np.stack([rng.dirichlet(np.ones(3), 150) for _ in range(3)])
        table[0] = 0.4 * table[0] + 0.6 * truth
        table[1] = 0.7 * table[1] + 0.3 * truth
        return table, truth
    truth = rng.random((100, 4)) < 0.3
    noise = (0.6, 0.8, 1.0)
    table = np.stack([np.clip(n * rng.random((100, 4)) + (1 - n) * truth, 0, 1) for n in noise])
    return table, truth


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_log_loss_weights_are_the_minimum_that_another_solver_finds(classes, seed):
    table, truth = _problem(seed, classes)

    def loss(weights):
        joined = np.clip(np.tensordot(weights, table, 1), 1e-7, 1 - 1e-7)
        if classes:
            return log_loss(truth.argmax(1), joined / joined.sum(1, keepdims=True))
        return log_loss(truth.ravel(), joined.ravel())

    found = log_loss_weights(table, truth, classes=classes)
    theirs = minimize(
        loss,
        np.full(3, 1 / 3),
        bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
    )
    assert found.sum() == pytest.approx(1)
    assert loss(found) <= theirs.fun + 2e-6
    np.testing.assert_allclose(found, theirs.x, atol=0.01)


def test_truth_that_does_not_fit_is_refused():
    with pytest.raises(DataError, match="shape"):
        log_loss_weights(np.full((2, 3, 2), 0.5), np.zeros((3, 3)))
    with pytest.raises(DataError, match="0 and 1"):
        log_loss_weights(np.full((2, 3, 2), 0.5), np.full((3, 2), 2))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 9), min_size=12, max_size=40), st.integers(2, 3))
def test_every_case_is_fitted_without_its_patient(groups, number):
    if len(set(groups)) < number:
        with pytest.raises(DataError):
            parts(len(groups), number, groups=groups)
        return
    numbers = parts(len(groups), number, groups=groups)
    seen = []
    for rows, inside in cross_fitted(lambda rows: rows, numbers):
        assert not {groups[i] for i in rows} & {groups[i] for i in inside}
        seen += inside.tolist()
    assert sorted(seen) == list(range(len(groups)))
