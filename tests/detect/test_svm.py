"""R-CNN's SVMs: the solver against an independent one, mining against training on everything."""

import numpy as np
import pytest
from scipy.optimize import minimize

from vesalius.detect.svm import (
    ImageRegions,
    LinearSVMs,
    class_overlaps,
    fit_svm,
    norm_scale,
    train_svms,
)
from vesalius.errors import DataError


def objective(weights, bias, positives, negatives, C=1e-3, weight=2.0, scale=10.0):
    """Return the primal loss, as liblinear's -s 3 -w1 2 -B 10 states it."""
    hinge = weight * np.maximum(0, 1 - (positives @ weights + bias)).sum()
    hinge += np.maximum(0, 1 + (negatives @ weights + bias)).sum()
    return 0.5 * weights @ weights + 0.5 * (bias / scale) ** 2 + C * hinge


def dual_solution(positives, negatives, C, weight=2.0, scale=10.0):
    """Return weights and bias from the box-constrained dual, by L-BFGS-B."""
    signs = np.repeat([1.0, -1.0], [len(positives), len(negatives)])
    rows = np.concatenate([positives, negatives])
    rows = np.column_stack([rows, np.full(len(rows), scale)]) * signs[:, None]
    bounds = [(0, C * (weight if sign > 0 else 1)) for sign in signs]

    def loss(a):
        w = a @ rows
        return 0.5 * w @ w - a.sum(), rows @ w - 1

    found = minimize(
        loss,
        np.zeros(len(rows)),
        jac=True,
        bounds=bounds,
        options={"maxiter": 20_000, "ftol": 1e-13},
    )
    w = found.x @ rows
    return w[:-1], w[-1] * scale


@pytest.mark.parametrize("C", [1e-3, 0.1])
def test_one_machine_is_the_optimum_that_another_solver_finds(C):
    rng = np.random.default_rng(0)
    positives, negatives = rng.normal(0.8, 1.5, (15, 4)), rng.normal(-0.2, 1.5, (30, 4))
    weights, bias = fit_svm(positives, negatives, C=C, tolerance=1e-6)
    expected_weights, expected_bias = dual_solution(positives, negatives, C)
    np.testing.assert_allclose(weights, expected_weights, atol=2e-3)
    assert bias == pytest.approx(expected_bias, abs=5e-3)
    best = objective(expected_weights, expected_bias, positives, negatives, C)
    assert objective(weights, bias, positives, negatives, C) <= best * (1 + 1e-4)


def scenes(images=12, proposals=150, dims=16, seed=0):
    """Return regions of images with two classes; features lie around the class's own direction."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (2, dims))
    made = []
    for _ in range(images):
        labels = np.concatenate([[0, 1], np.full(proposals, -1)])
        overlaps = np.zeros((len(labels), 2))
        overlaps[0, 0] = overlaps[1, 1] = 1
        overlaps[2:] = rng.random((proposals, 2)) * rng.integers(0, 2, (proposals, 2))
        features = rng.normal(0, 1.0, (len(labels), dims))
        features += (overlaps**2) @ centres * 3
        made.append(ImageRegions(features.astype(np.float32), overlaps, labels))
    return made


def everything(made, c, scale):
    """Return all scaled positives and negatives of a class."""
    pos = np.concatenate([r.features[r.labels == c] for r in made]) * scale
    neg = np.concatenate([r.features[r.overlaps[:, c] < 0.3] for r in made]) * scale
    return pos.astype(np.float64), neg.astype(np.float64)


@pytest.mark.parametrize(("options", "excess"), [({}, 1.1), ({"epochs": 6}, 1.001)])
def test_mining_ends_near_the_optimum_over_all_negatives(options, excess):
    made = scenes()
    options = {"C": 0.01, "retrain_after": 20, "tolerance": 1e-5} | options
    machines = train_svms(made, lambda r: r, ["a", "b"], **options)
    for c in range(2):
        pos, neg = everything(made, c, machines.scale)
        best = fit_svm(pos, neg, C=0.01, tolerance=1e-5)
        reached = objective(machines.weights[c], machines.biases[c], pos, neg, C=0.01)
        assert reached <= excess * objective(*best, pos, neg, C=0.01)


def test_what_overlaps_more_than_the_limit_is_nobodys_negative():
    made, mirrored = scenes(images=4), []
    for regions in made:
        ignored = (regions.overlaps >= 0.3).all(axis=1) & (regions.labels < 0)
        assert ignored.any()
        # Other features of the same norm, so that the scale stays the same.
        features = np.where(ignored[:, None], -regions.features, regions.features)
        mirrored.append(ImageRegions(features, regions.overlaps, regions.labels))
    one, other = (train_svms(some, lambda r: r, ["a", "b"]) for some in (made, mirrored))
    np.testing.assert_array_equal(one.weights, other.weights)


def test_true_boxes_score_above_the_background():
    made = scenes()
    machines = train_svms(made, lambda r: r, ["a", "b"])
    fresh = scenes(seed=0, images=13)[12:]
    scores = machines.decide(fresh[0].features)
    assert scores.shape == (152, 2)
    background = scores[(fresh[0].overlaps < 0.05).all(axis=1)]
    assert (scores[[0, 1], [0, 1]] > background.mean(axis=0) + background.std(axis=0)).all()


def test_images_are_fetched_one_at_a_time_and_twice():
    made, asked = scenes(images=5), []

    def fetch(number):
        asked.append(number)
        return made[number]

    train_svms(range(5), fetch, ["a", "b"])
    assert asked == [*range(5), *range(5)]


def test_a_machine_is_trained_again_only_after_enough_negatives(monkeypatch):
    from vesalius.detect import svm

    counts = []
    original = svm.fit_svm

    def counting(positives, negatives, **options):
        counts.append(len(negatives))
        return original(positives, negatives, **options)

    monkeypatch.setattr(svm, "fit_svm", counting)
    made = scenes(images=6)
    train_svms(made, lambda r: r, ["a", "b"], retrain_after=10**9)
    assert len(counts) == 4  # each class at the first image and at the last
    counts.clear()
    train_svms(made, lambda r: r, ["a", "b"], retrain_after=0)
    assert len(counts) == 12


def test_a_second_pass_keeps_no_negative_twice(monkeypatch):
    from vesalius.detect import svm

    largest = []
    original = svm.fit_svm
    monkeypatch.setattr(
        svm,
        "fit_svm",
        lambda p, n, **o: largest.append(len(np.unique(n, axis=0)) - len(n)) or original(p, n, **o),
    )
    train_svms(scenes(images=4), lambda r: r, ["a", "b"], epochs=2, retrain_after=0)
    assert set(largest) == {0}


def test_the_seed_decides_everything_that_is_random():
    made = scenes(images=4)
    one, other = (train_svms(made, lambda r: r, ["a", "b"], seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.weights, other.weights)


def test_features_are_scaled_to_a_mean_norm_of_twenty():
    assert norm_scale(np.array([5.0, 15.0])) == 2
    with pytest.raises(DataError, match="mean norm"):
        norm_scale(np.zeros(4))


def test_machines_come_back_from_arrays():
    machines = train_svms(scenes(images=3), lambda r: r, ["a", "b"])
    again = LinearSVMs.from_arrays(machines.to_arrays())
    features = scenes(images=1)[0].features
    np.testing.assert_array_equal(again.decide(features), machines.decide(features))
    with pytest.raises(DataError, match="biases"):
        LinearSVMs.from_arrays({"weights": machines.weights})
    with pytest.raises(DataError, match=r"\(N, 16\)"):
        machines.decide(features[:, :5])


def test_overlaps_by_class_by_hand():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60.0]])
    truth = np.array([[0, 0, 10, 10], [0, 0, 10, 20], [50, 50, 60, 60.0]])
    found = class_overlaps(boxes, truth, [1, 1, 0], 3)
    np.testing.assert_allclose(found, [[0, 1, 0], [0, 0.5, 0], [1, 0, 0]])
    assert class_overlaps(boxes, truth[:0], [], 2).tolist() == [[0, 0]] * 3


def test_classes_without_examples_are_named():
    made = scenes(images=2)
    blank = [ImageRegions(r.features, np.pad(r.overlaps, ((0, 0), (0, 1))), r.labels) for r in made]
    with pytest.raises(DataError, match="platelet: no true box"):
        train_svms(blank, lambda r: r, ["a", "b", "platelet"])
    only = [ImageRegions(r.features[:2], np.ones((2, 2)), r.labels[:2]) for r in made]
    with pytest.raises(DataError, match="no negative"):
        train_svms(only, lambda r: r, ["a", "b"])
    with pytest.raises(DataError, match="no images"):
        train_svms([], lambda r: r, ["a"])


def test_regions_that_do_not_fit_are_named_with_their_image():
    (regions,) = scenes(images=1)
    for wrong in (
        ImageRegions(regions.features, regions.overlaps[:5], regions.labels),
        ImageRegions(regions.features, regions.overlaps, regions.labels + 5),
        ImageRegions(regions.features * np.nan, regions.overlaps, regions.labels),
    ):
        with pytest.raises(DataError, match=r"slide-7\.png"):
            train_svms(["slide-7.png"], lambda _, wrong=wrong: wrong, ["a", "b"])
