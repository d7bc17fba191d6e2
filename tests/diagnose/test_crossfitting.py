import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from vesalius.diagnose.crossfitting import cross_fitted_score, fold_numbers, macro_f1
from vesalius.diagnose.thresholds import PerLabelThreshold
from vesalius.errors import DataError, RecipeError


def example(seed=0, records=300, labels=8, *, spread=3.0):
    """Calibrated probabilities of labels that become rarer, and a truth drawn from them."""
    rng = np.random.default_rng(seed)
    centre = -1.0 - 0.6 * np.arange(labels)
    probabilities = expit(centre + spread * rng.normal(size=(records, labels)))
    return probabilities, rng.random(probabilities.shape) < probabilities


def test_the_reported_score_does_not_flatter():
    """Means over seeds, against the score on many other records; in-sample is far too high."""
    reported, inside, true = [], [], []
    for seed in range(12):
        probabilities, truth = example(seed, records=400)
        found = cross_fitted_score(PerLabelThreshold(), probabilities, truth, seed=seed)
        others, their_truth = example(1000 + seed, records=8000)
        reported.append(found.score)
        inside.append(found.in_sample)
        true.append(macro_f1(their_truth, found.fitted.apply(others)))
    assert np.mean(reported) - np.mean(true) < 0.01
    assert np.mean(inside) - np.mean(true) > 0.02


def test_a_fold_is_decided_by_the_others():
    probabilities, truth = example(records=60)
    folds = fold_numbers(60, 6, seed=4)
    found = cross_fitted_score(PerLabelThreshold(), probabilities, truth, folds=6, seed=4)
    for fold in range(6):
        others, inside = folds != fold, folds == fold
        fitted = PerLabelThreshold().fit(probabilities[others], truth[others])
        np.testing.assert_array_equal(found.decisions[inside], fitted.apply(probabilities[inside]))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(6, 60), st.integers(0, 1000))
def test_folds_are_even_and_keep_patients_together(folds, records, seed):
    numbers = fold_numbers(records, folds, seed=seed)
    sizes = np.bincount(numbers, minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    groups = [i // 3 for i in range(3 * records)]
    grouped = fold_numbers(3 * records, folds, groups=groups, seed=seed)
    assert (grouped.reshape(-1, 3) == grouped.reshape(-1, 3)[:, :1]).all()


def test_too_few_patients_for_the_folds_are_refused():
    with pytest.raises(DataError, match="cannot fill 3 folds"):
        fold_numbers(6, 3, groups=[1, 1, 1, 2, 2, 2])
    with pytest.raises(RecipeError, match="at least 2"):
        fold_numbers(6, 1)
    with pytest.raises(DataError, match="groups"):
        fold_numbers(6, 2, groups=[1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_macro_f1_is_scikit_learns(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    truth, decided = rng.random((2, 9, 4)) < 0.3
    expected = metrics.f1_score(truth, decided, average="macro", zero_division=0)
    assert macro_f1(truth, decided) == pytest.approx(expected)
