import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from vesalius.diagnose.reliability import calibration_errors
from vesalius.engine.calibration import (
    FLATTEST,
    IsotonicBlock,
    PlattBlock,
    TemperatureBlock,
    calibration_from_dict,
    fit_line,
    log_odds,
)
from vesalius.errors import DataError

BLOCKS = (
    TemperatureBlock(),
    TemperatureBlock(per_label=True),
    PlattBlock(),
    PlattBlock(per_label=False),
    IsotonicBlock(),
    IsotonicBlock(per_label=False),
)
every_block = pytest.mark.parametrize(
    "block", BLOCKS, ids=lambda b: f"{b.name}-{'each' if b.per_label else 'all'}"
)


def example(seed=0, records=4000, labels=4, *, slope=1.0, shift=0.0):
    """Probabilities whose log-odds are slope * right + shift, and a truth drawn from the right."""
    rng = np.random.default_rng(seed)
    right = np.clip(rng.normal(-1.5, 2.0, (records, labels)), -9, 9)
    truth = rng.random(right.shape) < expit(right)
    return expit(slope * right + shift), truth, expit(right)


def needs_scikit_learn(block):
    if block.name == "isotonic":
        pytest.importorskip("sklearn.isotonic")


def test_temperature_is_found():
    probabilities, truth, _ = example(slope=2.5)
    found = TemperatureBlock().fit(probabilities, truth)
    assert found.slope[0] == pytest.approx(1 / 2.5, rel=0.06)
    assert found.intercept.tolist() == [0]


def test_platt_scaling_finds_slope_and_shift_of_each_label():
    probabilities, truth, _ = example(slope=0.5, shift=np.array([1.0, -1.0, 0.0, 2.0]))
    found = PlattBlock().fit(probabilities, truth)
    assert found.slope == pytest.approx([2.0] * 4, rel=0.12)
    assert found.intercept == pytest.approx([-2.0, 2.0, 0.0, -4.0], abs=0.35)


def test_the_line_is_that_of_logistic_regression():
    linear = pytest.importorskip("sklearn.linear_model")
    probabilities, truth, _ = example(records=500, labels=2, slope=0.7, shift=0.4)
    found = fit_line(log_odds(probabilities), truth, strength=1e-9)
    for j in range(2):
        peer = linear.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        peer.fit(log_odds(probabilities[:, [j]]), truth[:, j])
        assert found.slope[j] == pytest.approx(peer.coef_[0, 0], rel=1e-4)
        assert found.intercept[j] == pytest.approx(peer.intercept_[0], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("centre", [-14.0, 14.0, 3.0])
def test_the_fit_is_the_minimum_even_far_from_the_start(centre):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 1)) * 0.05 + centre
    y = rng.random((300, 1)) < 0.7
    found = fit_line(x, y, strength=0.5)

    def loss(a, b):
        z = a * x + b
        return (np.logaddexp(0, z) - y * z).sum() + 0.25 * ((a - 1) ** 2 + b**2)

    a, b = found.slope[0], found.intercept[0]
    assert a >= FLATTEST
    for step_a, step_b in ((1e-3, 0), (0, 1e-3), (0, -1e-3), (1e-3, -1e-3 * centre)):
        assert loss(a + step_a, b + step_b) > loss(a, b) - 1e-9


@every_block
def test_calibration_mends_wrong_probabilities(block):
    needs_scikit_learn(block)
    shift = 0.0 if block.name == "temperature" else 0.8
    probabilities, truth, _ = example(slope=2.0, shift=shift)
    fresh, fresh_truth, right = example(1, slope=2.0, shift=shift)
    after = calibration_errors(block.fit(probabilities, truth).apply(fresh), fresh_truth)
    before = calibration_errors(fresh, fresh_truth)
    for key in ("pooled_ece", "macro_ece", "log_loss", "brier"):
        assert after[key] < before[key], key
    # Even right probabilities have an error, by chance.
    chance = calibration_errors(right, fresh_truth)["pooled_ece"]
    assert after["pooled_ece"] < chance + 0.012 < before["pooled_ece"]


@every_block
def test_calibrated_probabilities_are_left_as_they_are(block):
    needs_scikit_learn(block)
    probabilities, truth, _ = example(records=20_000)
    moved = block.fit(probabilities, truth).apply(probabilities)
    assert np.abs(moved - probabilities).mean() < 0.02


@every_block
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_the_order_of_records_never_turns_round(block, seed, share):
    needs_scikit_learn(block)
    rng = np.random.default_rng(seed)
    probabilities = rng.choice([0.0, 0.2, 0.5, 0.7, 1.0], (40, 2))
    found = block.fit(probabilities, rng.random((40, 2)) < share)
    grid = np.tile(np.linspace(0, 1, 30)[:, None], (1, 2))
    moved = found.apply(grid)
    assert ((moved >= 0) & (moved <= 1)).all()
    assert (np.diff(moved, axis=0) >= -1e-12).all()


def test_rare_labels_are_drawn_towards_all():
    probabilities, truth, _ = example(records=400, slope=0.5)
    truth = truth.copy()
    truth[:, 3] = False
    each = PlattBlock().fit(probabilities, truth)
    whole = PlattBlock(per_label=False).fit(probabilities, truth)
    assert np.isfinite(each.slope).all()
    pulled = PlattBlock(strength=1e9).fit(probabilities, truth)
    assert pulled.slope == pytest.approx([whole.slope[0]] * 4, rel=1e-3)
    pytest.importorskip("sklearn.isotonic")
    steps = IsotonicBlock(min_positives=50).fit(probabilities, truth)
    shared = IsotonicBlock(per_label=False).fit(probabilities, truth)
    np.testing.assert_array_equal(steps.knots[3][1], shared.knots[0][1])


@every_block
def test_calibrations_survive_json(block):
    needs_scikit_learn(block)
    probabilities, truth, _ = example(records=200, slope=2)
    found = block.fit(probabilities, truth)
    again = calibration_from_dict(json.loads(json.dumps(found.to_dict())))
    np.testing.assert_array_equal(again.apply(probabilities), found.apply(probabilities))


def test_wrong_inputs_are_named():
    probabilities, truth, _ = example(records=20)
    with pytest.raises(DataError, match="shape"):
        PlattBlock().fit(probabilities, truth[:, :2])
    with pytest.raises(DataError, match="fitted to 4 labels"):
        PlattBlock().fit(probabilities, truth).apply(probabilities[:, :3])
    with pytest.raises(DataError, match="NaN"):
        TemperatureBlock().fit(np.full_like(probabilities, np.nan), truth)
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()
    assert log_odds(np.array([0.3])) == pytest.approx(logit(0.3))
