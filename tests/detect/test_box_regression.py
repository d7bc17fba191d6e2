"""R-CNN's box regression against scikit-learn's ridge and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from vesalius.detect.box_regression import RidgeBoxes, pairs, whiten
from vesalius.errors import DataError


def examples(count=80, depth=12, classes=3, dims=2, seed=0):
    """Return features, boxes, truth and labels; the features know how the boxes are wrong."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 100, (count, dims))
    sides = rng.uniform(10, 50, (count, dims))
    boxes = np.concatenate([low, low + sides], axis=1)
    shift, growth = rng.normal(0, 0.1, (2, count, dims))
    centre, grown = low + sides / 2 + shift * sides, sides * np.exp(growth)
    truth = np.concatenate([centre - grown / 2, centre + grown / 2], axis=1)
    hints = np.concatenate([shift, growth], axis=1) @ rng.normal(0, 1, (2 * dims, depth))
    features = hints + rng.normal(0, 0.01, (count, depth))
    return features, boxes, truth, rng.integers(0, classes, count)


@pytest.mark.parametrize(("count", "depth"), [(80, 12), (40, 60)])
@pytest.mark.parametrize("dims", [2, 3])
def test_weights_are_those_of_scikit_learns_ridge(count, depth, dims):
    features, boxes, truth, labels = examples(count, depth, dims=dims)
    fitted = RidgeBoxes.fit(features, boxes, truth, labels, classes=3, ridge=7.0)
    scale = 20 / np.linalg.norm(features, axis=1).mean()
    assert fitted.scale == pytest.approx(scale)
    low, high = boxes[:, :dims], boxes[:, dims:]
    sides, true_sides = high - low, truth[:, dims:] - truth[:, :dims]
    moved = ((truth[:, :dims] + truth[:, dims:]) / 2 - (low + high) / 2) / sides
    targets = np.concatenate([moved, np.log(true_sides / sides)], axis=1)
    for c in range(3):
        rows = labels == c
        centred = targets[rows] - targets[rows].mean(axis=0)
        white, _ = whiten(centred)
        inputs = np.column_stack([features[rows] * scale, np.ones(rows.sum())])
        oracle = Ridge(alpha=7.0, fit_intercept=False).fit(inputs, white)
        np.testing.assert_allclose(fitted.weights[c], oracle.coef_.T, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), width=st.sampled_from([4, 6]))
def test_whitened_targets_have_unit_variance_and_come_back(seed, width):
    rng = np.random.default_rng(seed)
    targets = rng.normal(0, 1, (200, width)) @ rng.normal(0, 1, (width, width))
    targets -= targets.mean(axis=0)
    white, colours = whiten(targets)
    np.testing.assert_allclose(white @ colours, targets, atol=1e-8)
    variances = np.linalg.eigvalsh(targets.T @ targets / 200)
    expected = variances / (variances + 0.001)
    np.testing.assert_allclose(np.linalg.eigvalsh(white.T @ white / 200), expected, atol=1e-8)


def test_constant_targets_do_not_divide_by_zero():
    white, colours = whiten(np.zeros((5, 4)))
    assert not white.any()
    np.testing.assert_allclose(colours, np.eye(4) * np.sqrt(0.001))


def test_without_shrinking_boxes_become_the_true_ones():
    features, boxes, truth, labels = examples()
    fitted = RidgeBoxes.fit(features, boxes, truth, labels, classes=3, ridge=1e-3)
    better = fitted.apply(features, boxes, labels)
    before, after = np.abs(boxes - truth).mean(), np.abs(better - truth).mean()
    assert after < 0.2 * before


def test_with_endless_shrinking_every_box_moves_by_the_mean_of_its_class():
    boxes = np.array([[0, 0, 10, 20], [10, 10, 30, 30.0]])
    truth = boxes + np.array([[1, 2, 1, 2], [4, 4, 4, 4]])  # shifts (0.1, 0.1) and (0.2, 0.2)
    fitted = RidgeBoxes.fit(np.ones((2, 3)), boxes, truth, [0, 0], classes=1, ridge=1e15)
    moved = fitted.apply(np.ones((1, 3)), np.array([[0, 0, 100, 100.0]]), [0])
    np.testing.assert_allclose(moved, [[15, 15, 115, 115]], atol=1e-6)


def test_a_class_without_pairs_leaves_boxes_alone():
    features, boxes, truth, labels = examples(classes=1)
    fitted = RidgeBoxes.fit(features, boxes, truth, labels, classes=2)
    np.testing.assert_allclose(fitted.apply(features, boxes, labels + 1), boxes)


def test_no_boxes_give_no_boxes():
    features, boxes, truth, labels = examples()
    fitted = RidgeBoxes.fit(features, boxes, truth, labels, classes=3)
    assert fitted.apply(features[:0], boxes[:0], []).shape == (0, 4)


def test_pairs_are_the_nearest_truth_above_the_overlap():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 7], [0, 0, 10, 6], [90, 90, 99, 99.0]])
    truth = np.array([[0, 0, 10, 12], [0, 0, 10, 10.0]])
    rows, targets, labels = pairs(boxes, truth, [4, 2])
    assert rows.tolist() == [0, 1]  # the third overlaps by exactly 0.6
    assert targets.tolist() == [truth[1].tolist()] * 2
    assert labels.tolist() == [2, 2]
    assert [len(part) for part in pairs(boxes, truth[:0], [])] == [0, 0, 0]


def test_regressors_come_back_from_arrays():
    features, boxes, truth, labels = examples(dims=3)
    fitted = RidgeBoxes.fit(features, boxes, truth, labels, classes=3)
    again = RidgeBoxes.from_arrays(fitted.to_arrays())
    np.testing.assert_array_equal(
        again.apply(features, boxes, labels), fitted.apply(features, boxes, labels)
    )
    with pytest.raises(DataError, match="colours"):
        RidgeBoxes.from_arrays({"weights": fitted.weights, "means": fitted.means, "scale": [1]})
    with pytest.raises(DataError, match="do not fit"):
        RidgeBoxes.from_arrays(fitted.to_arrays() | {"means": fitted.means[:2]})


def test_what_does_not_fit_is_refused():
    features, boxes, truth, labels = examples()
    with pytest.raises(DataError, match="labels are 0 to 1"):
        RidgeBoxes.fit(features, boxes, truth, labels, classes=2)
    with pytest.raises(DataError, match="do not fit"):
        RidgeBoxes.fit(features[:9], boxes, truth, labels, classes=3)
    with pytest.raises(DataError, match="no pair"):
        RidgeBoxes.fit(features[:0], boxes[:0], truth[:0], labels[:0], classes=3)
    with pytest.raises(DataError, match="not finite"):
        RidgeBoxes.fit(features * np.nan, boxes, truth, labels, classes=3)
    fitted = RidgeBoxes.fit(features, boxes, truth, labels, classes=3)
    with pytest.raises(DataError, match=r"\(N, 12\)"):
        fitted.apply(features[:, :4], boxes, labels)
