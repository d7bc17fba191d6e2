"""The evaluator: what it returns, its invariances, ignored voxels, aggregates, errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics

from vesalius.errors import DataError, RecipeError
from vesalius.segment.metrics import (
    ConfusionMatrix,
    aggregate,
    boxes,
    evaluate,
    overlap,
    summarise,
)
from vesalius.segment.metrics.boundary import boundary_iou, boundary_widths
from vesalius.segment.metrics.overlap import Counts
from vesalius.segment.metrics.rules import METRICS
from vesalius.segment.metrics.surface import surface_distances

SPACINGS = {2: (2.0, 0.75), 3: (1.5, 0.8, 0.5)}
NAN, INF = math.nan, math.inf


@st.composite
def label_maps(draw, labels=3):
    shape = tuple(draw(st.lists(st.integers(2, 6), min_size=2, max_size=3)))
    maps = hnp.arrays(np.uint8, shape, elements=st.integers(0, labels - 1))
    return draw(maps), draw(maps)


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for label in one:
        assert one[label].keys() == other[label].keys()
        for name, value in one[label].items():
            np.testing.assert_allclose(
                value, other[label][name], err_msg=f"{label} {name}", **tolerance
            )


def disc(shape, centre, radius):
    grid = np.ogrid[tuple(slice(0, size) for size in shape)]
    return sum((x - c) ** 2 for x, c in zip(grid, centre, strict=True)) <= radius**2


def test_every_label_but_the_background_is_scored_with_every_fast_metric():
    values = evaluate([[0, 1, 1], [0, 0, 3]], [[0, 1, 2], [0, 0, 3]])
    assert list(values) == [1, 2, 3]
    facts = {"tp", "tn", "fp", "fn", "volume_truth", "volume_prediction", "diagonal"}
    assert set(values[1]) == facts | (set(METRICS) - {"boundary_iou", "cldice"})
    assert values[3]["dice"] == 1
    assert values[1]["dice"] == pytest.approx(2 / 3)
    assert [values[1][n] for n in ("tp", "tn", "fp", "fn")] == [1, 4, 0, 1]
    assert all(isinstance(values[1][n], int) for n in ("tp", "tn", "fp", "fn"))


def test_a_missed_label_is_far_an_invented_one_too_and_an_absent_one_is_nan():
    values = evaluate([[0, 1]], [[0, 2]], labels=[1, 2, 3], metrics="all")
    for label in (1, 2):
        assert [values[label][n] for n in ("dice", "iou", "nsd", "cldice", "mcc")][:4] == [0] * 4
        assert [values[label][n] for n in ("hd", "hd95", "assd")] == [INF] * 3
        assert values[label]["boundary_iou"] == 0
        assert values[label]["mcc"] == 0
    assert all(math.isnan(values[3][metric]) for metric in METRICS)


def test_labels_may_have_names_and_the_background_can_be_asked_for():
    truth, prediction = [[0, 1, 1]], [[0, 0, 1]]
    named = evaluate(truth, prediction, labels={"liver": 1, "background": 0})
    assert list(named) == ["liver", "background"]
    assert_same({"liver": named["liver"]}, {"liver": evaluate(truth, prediction)[1]})
    assert named["background"]["tp"] == 1
    assert named["background"]["recall"] == 1


@pytest.mark.parametrize("value", [-7, 70_000, 2**40])
def test_labels_may_be_any_integers(value):
    truth = np.array([[0, 1, 1, 0], [0, 1, 1, 0]])
    prediction = np.roll(truth, 1, axis=1)
    values = evaluate(truth * value, prediction * value)
    assert_same({1: values[value]}, evaluate(truth, prediction))


def test_torch_tensors_booleans_and_fortran_order_give_the_same():
    rng = np.random.default_rng(0)
    truth, prediction = rng.random((2, 5, 6, 7)) < 0.4
    expected = evaluate(truth.astype(np.int64), prediction.astype(np.int16), metrics="all")
    assert_same(evaluate(truth, prediction, metrics="all"), expected)
    tensors = (torch.from_numpy(x) for x in (truth, prediction))
    assert_same(evaluate(*tensors, metrics="all"), expected)
    turned = (np.asfortranarray(x) for x in (truth, prediction))
    assert_same(evaluate(*turned, metrics="all"), expected)


def test_volumes_and_diagonal_are_in_millimetres():
    values = evaluate(np.ones((2, 3, 4), int), np.ones((2, 3, 4), int), spacing=(3, 2, 0.5))[1]
    assert values["volume_truth"] == pytest.approx(24 * 3)
    assert values["diagonal"] == pytest.approx(math.sqrt(6**2 + 6**2 + 2**2))


@settings(max_examples=50, deadline=None)
@given(label_maps())
def test_scores_agree_with_the_confusion_matrix_and_scikit_learn(pair):
    truth, prediction = pair
    matrix = ConfusionMatrix(3)
    matrix.update(truth, prediction)
    for label, row in evaluate(truth, prediction, metrics=METRICS[:9]).items():
        for name in ("dice", "iou", "precision", "recall"):
            np.testing.assert_allclose(row[name], getattr(matrix, name)()[label])
        masks = (truth.ravel() == label, prediction.ravel() == label)
        assert row["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(*masks))
        if not all(mask.all() for mask in masks):
            assert row["mcc"] == pytest.approx(sklearn_metrics.matthews_corrcoef(*masks))
            kappa = sklearn_metrics.cohen_kappa_score(*masks)
            assert row["kappa"] == pytest.approx(kappa)


@settings(max_examples=30, deadline=None)
@given(label_maps(2), st.sampled_from([0.5, 1.0, 2.0]))
def test_f_beta_agrees_with_scikit_learn_and_dice_is_two_j_over_one_plus_j(pair, beta):
    for row in evaluate(*pair, beta=beta).values():
        masks = [(x == 1).ravel() for x in pair]
        expected = sklearn_metrics.fbeta_score(*masks, beta=beta, zero_division=np.nan)
        assert row["f_beta"] == pytest.approx(expected)
        assert row["dice"] == pytest.approx(2 * row["iou"] / (1 + row["iou"]))


def test_counts_of_a_huge_volume_do_not_overflow():
    counts = Counts(tp=3 * 10**9, tn=9 * 10**9, fp=10**9, fn=2 * 10**9)
    assert overlap.mcc(counts) == pytest.approx(25 / 2200**0.5)
    assert overlap.kappa(counts) == pytest.approx((0.8 - 130 / 225) / (1 - 130 / 225))


@settings(max_examples=40, deadline=None)
@given(label_maps(2), st.data())
def test_flips_and_permutations_of_axes_change_nothing(pair, data):
    dims = pair[0].ndim
    spacing = SPACINGS[dims]
    order = data.draw(st.permutations(range(dims)))
    flip = [a for a in range(dims) if data.draw(st.booleans())]
    turned = [np.flip(x, flip).transpose(order) for x in pair]
    metrics = [m for m in METRICS if m != "cldice"]
    assert_same(
        evaluate(*turned, spacing=[spacing[a] for a in order], metrics=metrics),
        evaluate(*pair, spacing=spacing, metrics=metrics),
        rtol=1e-9,
    )


@settings(max_examples=40, deadline=None)
@given(label_maps(2), st.floats(0.1, 20))
def test_a_larger_spacing_scales_distances_and_nothing_else(pair, scale):
    spacing = np.array(SPACINGS[pair[0].ndim])
    one = evaluate(*pair, spacing=spacing, tolerance=1.0)
    other = evaluate(*pair, spacing=spacing * scale, tolerance=scale)
    for label in one:
        for name in ("hd", "hd95", "assd"):
            np.testing.assert_allclose(other[label][name], one[label][name] * scale, rtol=1e-9)
        for name in ("dice", "nsd"):
            np.testing.assert_allclose(other[label][name], one[label][name], rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(label_maps(2))
def test_nsd_grows_with_the_tolerance_to_one(pair):
    assume(all((x == 1).any() for x in pair))
    values = [evaluate(*pair, tolerance=t, metrics="nsd")[1]["nsd"] for t in (0, 0.5, 1, 2, 20)]
    assert values == sorted(values)
    assert values[-1] == 1


@settings(max_examples=40, deadline=None)
@given(label_maps(2))
def test_swapping_truth_and_prediction_keeps_symmetric_metrics(pair):
    one, other = evaluate(*pair, metrics="all"), evaluate(*pair[::-1], metrics="all")
    symmetric = set(METRICS) - {"precision", "recall", "specificity"}
    for label in one:
        for name in symmetric:
            np.testing.assert_allclose(one[label][name], other[label][name], err_msg=name)
        np.testing.assert_allclose(one[label]["precision"], other[label]["recall"])


@settings(max_examples=40, deadline=None)
@given(label_maps(2), st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_a_margin_of_background_adds_true_negatives_and_nothing_else(pair, margins):
    pads = list(zip(margins[::2], margins[1::2], strict=True))[: pair[0].ndim]
    padded = [np.pad(x, pads) for x in pair]
    one = evaluate(*pair, spacing=SPACINGS[pair[0].ndim], metrics=("dice", *METRICS[9:13]))
    other = evaluate(*padded, spacing=SPACINGS[pair[0].ndim], metrics=("dice", *METRICS[9:13]))
    for label in one:
        for name in ("tp", "fp", "fn", "dice", "hd", "hd95", "assd", "nsd"):
            np.testing.assert_allclose(one[label][name], other[label][name])


@settings(max_examples=30, deadline=None)
@given(label_maps(2), st.integers(1, 5))
def test_counts_of_pieces_add_up_to_those_of_the_whole(pair, cut):
    parts = [evaluate(*(x[s] for x in pair), labels=[1], metrics="dice")[1]
             for s in (slice(0, cut), slice(cut, None))]  # fmt: skip
    whole = evaluate(*pair, labels=[1], metrics="dice")[1]
    for name in ("tp", "tn", "fp", "fn"):
        assert parts[0][name] + parts[1][name] == whole[name]


@settings(max_examples=60, deadline=None)
@given(label_maps(3), st.integers(0, 2**31))
def test_what_is_predicted_in_ignored_voxels_makes_no_difference(pair, seed):
    truth, prediction = pair
    rng = np.random.default_rng(seed)
    ignored = rng.random(truth.shape) < 0.3
    truth = np.where(ignored, 255, truth)
    other = np.where(ignored, rng.integers(0, 3, truth.shape), prediction)
    options = {"ignore": 255, "labels": [1, 2], "metrics": "all"}
    for profile in ("vesalius", "monai", "nnunet"):
        one = evaluate(truth, prediction, profile=profile, **options)
        assert_same(evaluate(truth, other, profile=profile, **options), one)
        assert one[1]["tp"] + one[1]["tn"] + one[1]["fp"] + one[1]["fn"] == (~ignored).sum()


def test_the_border_of_an_ignored_region_is_no_surface():
    shape = (40, 40)
    whole, prediction = disc(shape, (20, 20), 12), disc(shape, (20, 24), 12)
    valid = np.ones(shape, bool)
    valid[20:] = False
    truth = np.where(valid, whole, 255)
    nsd = {
        profile: evaluate(truth, prediction, ignore=255, profile=profile, metrics="nsd")[1]["nsd"]
        for profile in ("vesalius", "monai", "surface-distance")
    }
    # The elements of the whole discs that only valid voxels touch, measured against each other.
    expected = surface_distances(whole, prediction, valid=valid).within(1.0)
    assert nsd["vesalius"] == pytest.approx(expected)
    # The upper halves of two discs are as far apart as the discs are.
    complete = evaluate(whole, prediction, metrics="nsd")[1]["nsd"]
    assert nsd["vesalius"] == pytest.approx(complete, abs=0.03)
    # Cut off at the border, both masks have the same false edge, which counts as a hit.
    assert nsd["monai"] > 1.8 * complete
    assert nsd["surface-distance"] > 1.8 * complete


def test_a_surface_that_ignored_voxels_hide_cannot_be_measured():
    truth = np.full((9, 9), 255)
    truth[3:6, 3:6] = 1
    prediction = np.zeros((9, 9), int)
    prediction[4, 4] = 1
    values = evaluate(truth, prediction, ignore=255)[1]
    assert values["recall"] == pytest.approx(1 / 9)
    assert all(math.isnan(values[name]) for name in ("hd", "hd95", "assd", "nsd"))


def test_each_label_may_have_its_own_tolerance():
    truth = np.zeros((4, 9), int)
    truth[:, 1], truth[:, 6] = 1, 2
    prediction = np.roll(truth, 1, axis=1)
    one = {1: 0.0, 2: 1.0}
    values = evaluate(truth, prediction, tolerance=one, metrics="nsd")
    assert values[1]["nsd"] < 1 == values[2]["nsd"]
    named = evaluate(truth, prediction, labels={"a": 1}, tolerance={"a": 1}, metrics="nsd")
    assert named["a"]["nsd"] == 1


def test_boundary_iou_of_thin_boundaries_is_that_of_the_paper():
    truth, prediction = np.zeros((2, 50, 50), bool)
    truth[10:30, 10:30] = True
    prediction[11:31, 10:30] = True
    widths = boundary_widths((50, 50), (1.0, 1.0))
    assert widths == (1, 1)
    # Rings of 76 pixels; they share both sides but for two ends each.
    assert boundary_iou(truth, prediction, widths) == pytest.approx(38 / (2 * 76 - 38))
    thick = boundary_widths((50, 50), (1.0, 1.0), share=0.5)
    iou = np.count_nonzero(truth & prediction) / np.count_nonzero(truth | prediction)
    assert boundary_iou(truth, prediction, thick) == pytest.approx(iou)


def test_the_boundary_is_as_thick_in_millimetres_along_thick_slices():
    assert boundary_widths((40, 300, 400), (5.0, 1.0, 1.0)) == (2, 11, 11)


def test_cldice_of_crossing_tubes_counts_centre_lines():
    truth, prediction = np.zeros((2, 15, 41), bool)
    truth[5:10, 3:38] = True
    prediction[7, 3:20] = True
    values = evaluate(truth, prediction, metrics=("cldice", "precision"))[1]
    assert values["precision"] == 1
    # The prediction's line lies inside; about half of the true line is found.
    assert 0.6 < values["cldice"] < 0.75
    assert evaluate(truth, truth, metrics="cldice")[1]["cldice"] == 1


def test_a_block_without_a_skeleton_still_has_a_centre_line():
    block = np.zeros((5, 5, 5), int)
    block[1:3, 1:3, 1:3] = 1
    assert evaluate(block, block, metrics="cldice")[1]["cldice"] == 1


def test_aggregates_never_drop_what_was_missed():
    found = aggregate([1.0, INF, NAN, 3.0, INF], penalty=[5, 10, 50, 5, 20])
    assert found == {
        "mean": 2.0,
        "count": 2,
        "missed": 2,
        "absent": 1,
        "penalised_mean": (1 + 10 + 3 + 20) / 4,
    }
    assert aggregate([1.0, INF])["penalised_mean"] == INF
    assert math.isnan(aggregate([])["mean"])
    with pytest.raises(DataError, match="give one for each"):
        aggregate([1.0, 2.0], penalty=[1.0, 2.0, 3.0])


@pytest.mark.parametrize("profile", ["vesalius", "monai", "metrics-reloaded"])
def test_summaries_charge_the_diagonal_for_a_missed_label_under_every_profile(profile):
    whole, empty = np.ones((3, 4), int), np.zeros((3, 4), int)
    cases = [
        evaluate(truth, prediction, labels=[1], profile=profile)
        for truth, prediction in ((whole, whole), (whole, empty), (empty, empty))
    ]
    found = summarise([*cases, {}])[1]
    assert (found["cases"], found["missed"], found["invented"], found["absent"]) == (4, 1, 0, 2)
    absent = 1 if profile == "metrics-reloaded" else 2
    assert found["hd95"]["mean"] == 0
    assert (found["hd95"]["missed"], found["hd95"]["absent"]) == (1, absent)
    assert found["hd95"]["penalised_mean"] == pytest.approx(5 / (4 - absent))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction": [[0, 1]]}, "shape"),
        ({"prediction": [[0.0, 1.0, 0.2]]}, "argmax"),
        ({"truth": [0, 1, 1], "prediction": [0, 1, 1]}, "one volume"),
        ({"spacing": (1, 2, 3)}, "one positive number"),
        ({"spacing": (1, 0)}, "one positive number"),
        ({"tolerance": -1}, "tolerance"),
        ({"tolerance": NAN}, "tolerance"),
        ({"tolerance": {2: 1}}, "labels \\[1\\]"),
        ({"labels": ["liver"]}, "integer values"),
        ({"labels": {"liver": 1.5}}, "integer values"),
        ({"boundary": 3}, "boundary"),
    ],
)
def test_bad_input_is_named_with_the_remedy(change, message):
    arguments = {"truth": [[0, 1, 1]], "prediction": [[0, 1, 0]], **change}
    with pytest.raises(DataError, match=message):
        evaluate(arguments.pop("truth"), arguments.pop("prediction"), **arguments)


def test_unknown_profiles_and_metrics_are_answered_with_the_known_ones():
    with pytest.raises(RecipeError, match="surface-distance"):
        evaluate([[1]], [[1]], profile="deepmind")
    with pytest.raises(RecipeError, match="hd95"):
        evaluate([[1]], [[1]], metrics=("dice", "hausdorff"))


def test_empty_maps_have_no_labels():
    assert evaluate(np.zeros((4, 4), int), np.zeros((4, 4), int)) == {}
    assert evaluate(np.zeros((0, 4), int), np.zeros((0, 4), int)) == {}


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.int16, st.tuples(*[st.integers(1, 40)] * 2), elements=st.integers(-1, 4)),
    st.sampled_from([1, 1 << 20]),
)
def test_labels_are_found_where_they_are(labels, slab):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes, "SLAB", slab)
        check_boxes(np.abs(labels))
        check_boxes(labels)


def check_boxes(labels):
    found = boxes.label_boxes(labels)
    assert sorted(found) == [int(v) for v in np.unique(labels) if v]
    for value, box in found.items():
        at = np.argwhere(labels == value)
        assert [s.start for s in box] == at.min(axis=0).tolist()
        assert [s.stop - 1 for s in box] == at.max(axis=0).tolist()
