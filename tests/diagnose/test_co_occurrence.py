import numpy as np
import pytest
from scipy.special import expit

from vesalius.diagnose.co_occurrence import CoOccurrenceBlock, pair_weights


def example(seed=0, records=300, labels=4):
    rng = np.random.default_rng(seed)
    probabilities = expit(rng.normal(-1, 2, (records, labels)))
    return probabilities, rng.random(probabilities.shape) < probabilities


def test_pair_weights_are_shrunken_log_odds_ratios():
    truth = np.zeros((100, 2), bool)
    truth[:30, 0] = True
    truth[10:40, 1] = True
    weights = pair_weights(truth, spread=1e6)
    expected = np.log(20.5 * 60.5 / (10.5 * 10.5))
    assert weights == pytest.approx(np.array([[0, expected], [expected, 0]]), rel=1e-6)
    variance = 1 / 20.5 + 1 / 60.5 + 2 / 10.5
    assert pair_weights(truth, spread=0.5)[0, 1] == pytest.approx(
        expected * 0.25 / (0.25 + variance)
    )


def test_pairs_that_never_meet_have_small_weights():
    truth = np.zeros((100, 3), bool)
    truth[0, 0] = truth[1, 1] = True
    assert np.abs(pair_weights(truth)).max() < 0.8


def related(seed, records=3000):
    """Label 1 mostly comes with label 0, which the probabilities of label 1 know nothing of."""
    rng = np.random.default_rng(seed)
    first = expit(rng.normal(-1, 3, records))
    truth = rng.random(records) < first
    share = np.where(truth, 0.6, 0.05)
    second = rng.random(records) < share
    noise = expit(rng.normal(-1.6, 0.2, records))
    return np.stack([first, noise], 1), np.stack([truth, second], 1)


def test_co_occurrence_helps_where_a_model_does_not_know_it():
    probabilities, truth = related(0)
    fresh, fresh_truth = related(1)
    pairs = CoOccurrenceBlock().fit(probabilities, truth)
    assert pairs.factor > 0.1

    def loss(p):
        return -np.where(fresh_truth, np.log(p), np.log1p(-p)).mean()

    assert loss(pairs.apply(fresh)) < loss(fresh) - 0.005


def test_co_occurrence_rests_where_labels_are_independent():
    probabilities, truth = example(records=3000)
    moved = CoOccurrenceBlock().fit(probabilities, truth).apply(probabilities)
    assert np.abs(moved - probabilities).max() < 0.05
