import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics

from vesalius.errors import DataError
from vesalius.segment.metrics import ConfusionMatrix


def filled(truth, prediction, classes, ignore=None):
    matrix = ConfusionMatrix(classes, ignore)
    matrix.update(truth, prediction)
    return matrix


def label_maps(classes=5, max_side=12):
    shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=max_side)
    pair = shapes.map(lambda shape: (2, *shape))
    return pair.flatmap(
        lambda shape: hnp.arrays(
            st.sampled_from([np.uint8, np.int16, np.int64]),
            shape,
            elements=st.integers(0, classes - 1),
        )
    )


def test_scores_of_a_small_example_computed_by_hand():
    truth = np.array([[0, 0, 1], [1, 2, 2]])
    prediction = np.array([[0, 1, 1], [1, 2, 0]])
    matrix = filled(truth, prediction, 4)
    assert matrix.counts.dtype == np.int64
    assert matrix.counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(matrix.iou(), [1 / 3, 2 / 3, 1 / 2, np.nan])
    np.testing.assert_allclose(matrix.dice(), [1 / 2, 4 / 5, 2 / 3, np.nan])
    np.testing.assert_allclose(matrix.precision(), [1 / 2, 2 / 3, 1, np.nan])
    np.testing.assert_allclose(matrix.recall(), [1 / 2, 1, 1 / 2, np.nan])
    np.testing.assert_allclose(matrix.specificity(), [3 / 4, 3 / 4, 1, np.nan])
    assert matrix.mean_iou() == pytest.approx(1 / 2)
    assert matrix.mean_dice() == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)
    assert matrix.pixel_accuracy() == pytest.approx(4 / 6)
    assert matrix.mean_pixel_accuracy() == pytest.approx(2 / 3)
    assert matrix.frequency_weighted_iou() == pytest.approx((1 / 3 + 2 / 3 + 1 / 2) / 3)


@settings(max_examples=40, deadline=None)
@given(label_maps())
def test_counts_and_scores_agree_with_scikit_learn(pair):
    truth, prediction = pair
    labels = np.arange(5)
    matrix = filled(truth, prediction, 5)
    flat = truth.ravel(), prediction.ravel()
    np.testing.assert_array_equal(
        matrix.counts, sklearn_metrics.confusion_matrix(*flat, labels=labels)
    )
    options = {"labels": labels, "average": None, "zero_division": np.nan}
    np.testing.assert_allclose(
        matrix.precision(), sklearn_metrics.precision_score(*flat, **options)
    )
    np.testing.assert_allclose(matrix.recall(), sklearn_metrics.recall_score(*flat, **options))
    np.testing.assert_allclose(matrix.dice(), sklearn_metrics.f1_score(*flat, **options))
    assert matrix.pixel_accuracy() == pytest.approx(sklearn_metrics.accuracy_score(*flat))


@settings(max_examples=40, deadline=None)
@given(label_maps())
def test_dice_is_two_j_over_one_plus_j(pair):
    matrix = filled(*pair, 5)
    iou = matrix.iou()
    np.testing.assert_allclose(matrix.dice(), 2 * iou / (1 + iou))


@settings(max_examples=40, deadline=None)
@given(label_maps(), st.integers(0, 2**31))
def test_maps_counted_piece_by_piece_and_merged_equal_the_whole(pair, seed):
    truth, prediction = (labels.ravel() for labels in pair)
    cut = seed % (truth.size + 1)
    first = filled(truth[:cut], prediction[:cut], 5)
    first.merge(filled(truth[cut:], prediction[cut:], 5))
    np.testing.assert_array_equal(first.counts, filled(truth, prediction, 5).counts)


def test_maps_larger_than_one_chunk_are_counted_fully():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 21, (2, 700, 900), dtype=np.uint8)
    expected = np.zeros((21, 21), dtype=int)
    np.add.at(expected, (truth.ravel(), prediction.ravel()), 1)
    np.testing.assert_array_equal(filled(truth, prediction, 21).counts, expected)


@pytest.mark.parametrize("classes", [1, 2, 16, 17, 256, 300])
def test_every_pair_of_labels_has_its_own_count(classes):
    labels = np.arange(classes)
    truth, prediction = np.meshgrid(labels, labels, indexing="ij")
    assert (filled(truth, prediction, classes).counts == 1).all()


@settings(max_examples=40, deadline=None)
@given(label_maps())
def test_ignored_pixels_are_left_out_whatever_was_predicted(pair):
    truth, prediction = pair.astype(np.int64)
    ignored = truth == 0
    prediction = np.where(ignored, 99, prediction)
    matrix = filled(np.where(ignored, 255, truth), prediction, 5, ignore=255)
    expected = filled(truth[~ignored], prediction[~ignored], 5)
    np.testing.assert_array_equal(matrix.counts, expected.counts)


def test_a_predicted_label_that_is_ignored_in_the_truth_still_counts_as_wrong():
    matrix = filled([0, 1, 1], [1, 0, 1], 2, ignore=0)
    assert matrix.counts.tolist() == [[0, 0], [1, 1]]


def test_torch_tensors_booleans_and_memory_orders_give_the_same_counts():
    truth = np.random.default_rng(1).integers(0, 2, (4, 5, 6))
    prediction = np.roll(truth, 1, axis=2)
    expected = filled(truth, prediction, 2).counts
    variants = [
        (torch.from_numpy(truth), torch.from_numpy(prediction)),
        (truth.astype(bool), prediction.astype(bool)),
        (np.asfortranarray(truth), prediction),
        (np.asfortranarray(truth), np.asfortranarray(prediction)),
    ]
    for variant in variants:
        np.testing.assert_array_equal(filled(*variant, 2).counts, expected)


def test_an_empty_matrix_has_no_scores_and_raises_no_warnings():
    matrix = ConfusionMatrix(3)
    assert np.isnan(matrix.dice()).all()
    assert np.isnan(matrix.mean_iou())
    assert np.isnan(matrix.pixel_accuracy())
    assert np.isnan(matrix.frequency_weighted_iou())


def test_a_stored_matrix_comes_back():
    matrix = filled([0, 1, 2], [0, 1, 1], 3, ignore=255)
    again = ConfusionMatrix.from_state_dict(matrix.state_dict())
    np.testing.assert_array_equal(again.counts, matrix.counts)
    assert again.ignore == 255


@pytest.mark.parametrize(
    ("truth", "prediction", "part"),
    [
        ([0, 3], [0, 0], "truth holds the label 3"),
        ([0, 1], [0, 7], "prediction holds the label 7"),
        ([0, -1], [0, 0], "truth holds the label -1"),
        ([0, 1], [0, 1, 2], r"shape \(2,\)"),
        ([0.0, 1.0], [0, 1], "float64"),
    ],
)
def test_bad_maps_are_errors_that_name_the_value(truth, prediction, part):
    matrix = ConfusionMatrix(3)
    with pytest.raises(DataError, match=part):
        matrix.update(np.array(truth), np.array(prediction))
    assert matrix.counts.sum() == 0


def test_matrices_of_different_classes_do_not_merge():
    with pytest.raises(DataError, match="2 classes"):
        ConfusionMatrix(2).merge(ConfusionMatrix(3))


@pytest.mark.parametrize("counts", [[[1, 2]], [[1.5, 0], [0, 1]], [[-1, 0], [0, 1]]])
def test_counts_that_are_no_confusion_matrix_are_refused(counts):
    with pytest.raises(DataError, match="no confusion matrix"):
        ConfusionMatrix.from_counts(counts)
