"""Scores that follow from counts, and the fast ways of counting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from vesalius.errors import DataError
from vesalius.segment.metrics import ConfusionMatrix
from vesalius.segment.metrics.counting import CHUNK, compacted, has_long_runs, run_lengths
from vesalius.segment.metrics.evaluate import evaluate

labels = st.lists(st.integers(0, 3), min_size=1, max_size=60).flatmap(
    lambda truth: st.tuples(
        st.just(truth), st.lists(st.integers(0, 3), min_size=len(truth), max_size=len(truth))
    )
)


def filled(truth, prediction, classes=4):
    matrix = ConfusionMatrix(classes)
    matrix.update(np.array(truth), np.array(prediction))
    return matrix


@settings(max_examples=60, deadline=None)
@given(labels)
def test_the_four_counts_are_scikit_learns(pair):
    matrix = filled(*pair)
    found = sklearn_metrics.multilabel_confusion_matrix(*pair, labels=range(4))
    parts = (("tn", 0, 0), ("fp", 0, 1), ("fn", 1, 0), ("tp", 1, 1))
    for name, i, j in parts:
        np.testing.assert_array_equal(getattr(matrix, name)(), found[:, i, j])
    assert (matrix.tp() + matrix.fp() + matrix.fn() + matrix.tn() == len(pair[0])).all()


@settings(max_examples=60, deadline=None)
@given(labels, st.sampled_from([0.5, 1.0, 2.0]))
def test_f_beta_mcc_and_kappa_are_scikit_learns(pair, beta):
    truth, prediction = (np.array(item) for item in pair)
    matrix = filled(truth, prediction)
    expected = sklearn_metrics.fbeta_score(
        truth, prediction, beta=beta, labels=range(4), average=None, zero_division=np.nan
    )
    np.testing.assert_allclose(matrix.f_beta(beta), expected)
    perfect = (truth == prediction).all()
    mcc = 1 if perfect else sklearn_metrics.matthews_corrcoef(truth, prediction)
    assert matrix.overall_mcc() == pytest.approx(mcc, abs=1e-9)
    kappa = 1 if perfect else sklearn_metrics.cohen_kappa_score(truth, prediction)
    assert matrix.overall_kappa() == pytest.approx(kappa, abs=1e-9)
    for label in range(4):
        one, other = truth == label, prediction == label
        if not (one | other).any():
            continue
        perfect = (one == other).all()
        mcc = 1 if perfect else sklearn_metrics.matthews_corrcoef(one, other)
        assert matrix.mcc()[label] == pytest.approx(mcc, abs=1e-9)
        kappa = 1 if perfect else sklearn_metrics.cohen_kappa_score(one, other)
        assert matrix.kappa()[label] == pytest.approx(kappa, abs=1e-9)
        assert matrix.accuracy()[label] == pytest.approx((one == other).mean())


@settings(max_examples=60, deadline=None)
@given(labels)
def test_a_matrix_and_the_evaluator_of_one_case_agree(pair):
    truth, prediction = (np.array([item]) for item in pair)
    matrix = filled(truth, prediction)
    names = ("tp", "fp", "fn", "tn", "dice", "iou", "precision", "recall", "specificity")
    names += ("accuracy", "f_beta", "mcc", "kappa")
    found = evaluate(truth, prediction, labels=[0, 1, 2, 3], metrics=names[4:])
    for label in (label for label in range(4) if label in truth or label in prediction):
        for name in names:
            value = getattr(matrix, name)()[label]
            assert value == pytest.approx(found[label][name], abs=1e-9, nan_ok=True), name


def test_scores_of_a_class_in_neither_map_are_nan_without_a_warning():
    matrix = filled([0, 0, 1], [0, 1, 1], classes=3)
    for name in ("accuracy", "mcc", "kappa", "f_beta", "specificity"):
        assert np.isnan(getattr(matrix, name)()[2]), name
    empty = ConfusionMatrix(2)
    assert np.isnan([empty.overall_mcc(), empty.overall_kappa()]).all()


def test_counts_too_large_to_multiply_as_integers_still_give_mcc_and_kappa():
    small = ConfusionMatrix.from_counts([[50, 7], [3, 40]])
    large = ConfusionMatrix.from_counts(np.array([[50, 7], [3, 40]]) * 10**14)
    np.testing.assert_allclose(large.mcc(), small.mcc())
    np.testing.assert_allclose(large.kappa(), small.kappa())
    assert large.overall_mcc() == pytest.approx(small.overall_mcc())


@pytest.mark.parametrize("beta", [0, -1, np.inf, np.nan])
def test_a_beta_that_is_no_positive_number_is_refused(beta):
    with pytest.raises(DataError, match="beta"):
        ConfusionMatrix(2).f_beta(beta)


@pytest.mark.parametrize("side", [1, 40, 700])
@pytest.mark.parametrize("noise", [0.0, 0.05, 1.0])
def test_smooth_and_noisy_maps_are_counted_alike(side, noise):
    rng = np.random.default_rng(side)
    blocks = rng.integers(0, 21, (2, side // 16 + 1, side // 16 + 1), dtype=np.uint8)
    maps = blocks.repeat(16, 1).repeat(16, 2)[:, :side, :side]
    maps = np.where(rng.random(maps.shape) < noise, rng.integers(0, 21, maps.shape), maps)
    expected = np.zeros((21, 21), int)
    np.add.at(expected, tuple(maps.reshape(2, -1)), 1)
    np.testing.assert_array_equal(filled(*maps, classes=21).counts, expected)


def test_runs_are_chosen_for_areas_and_not_for_noise_behind_an_empty_border():
    rng = np.random.default_rng(0)
    area = np.repeat(rng.integers(0, 5, CHUNK // 64), 64)
    assert has_long_runs(area, area)
    noise = rng.integers(0, 5, CHUNK)
    noise[: CHUNK // 8] = 0
    assert not has_long_runs(noise, noise)


@settings(max_examples=60, deadline=None)
@given(labels)
def test_runs_put_together_are_the_arrays_again(pair):
    first, second = (np.array(item) for item in pair)
    ends, lengths = run_lengths(first, second)
    np.testing.assert_array_equal(np.repeat(first[ends], lengths), first)
    np.testing.assert_array_equal(np.repeat(second[ends], lengths), second)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 7, 300, 2**31, -4]), min_size=1))
def test_compacted_labels_are_numpys_unique(values):
    for some in (values, [value for value in values if 0 <= value < 999]):
        kept = np.array(some, np.int64)
        expected = np.unique(kept, return_inverse=True)
        for found, wanted in zip(compacted(kept), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", ["<i8", ">i2", ">i4", "<u2", "|i1"])
def test_labels_of_every_integer_type_are_counted_alike(kind):
    truth, prediction = np.random.default_rng(0).integers(0, 5, (2, 30, 30))
    expected = filled(truth, prediction, 5).counts
    found = filled(truth.astype(kind), prediction.astype(kind), 5).counts
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(DataError, match="the label -3"):
        filled(np.array([0, -3], "<i8"), np.array([0, 0]), 5)
