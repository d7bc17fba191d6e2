"""Pascal VOC's rules: numbers by hand, and the devkit's loop written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detect.test_coco import random_objects, slow_overlap
from vesalius.detect import rle, voc
from vesalius.detect.coco_arrays import Detections, Truths
from vesalius.errors import DataError


def slow_curve(truths, detections, label, threshold, *, plus=0.0):
    """Return cumulative hits and false alarms as the devkit's loop counts them."""
    difficult = truths.ignore | truths.crowd
    dims = truths.boxes.shape[1] // 2
    grow = np.concatenate([np.zeros(dims), np.full(dims, plus)])
    used, right, wrong = set(), [], []
    own = np.flatnonzero(detections.labels == label)
    for k in own[np.argsort(-detections.scores[own], kind="stable")]:
        best, target = -1.0, None
        for j in np.flatnonzero(truths.labels == label):
            if truths.images[j] != detections.images[k]:
                continue
            overlap = slow_overlap(truths.boxes[j] + grow, False, detections.boxes[k] + grow)
            if overlap > best:
                best, target = overlap, j
        if best >= threshold and difficult[target]:
            continue
        hit = best >= threshold and target not in used
        used |= {target} if hit else set()
        right.append(hit)
        wrong.append(not hit)
    positives = np.count_nonzero((truths.labels == label) & ~difficult)
    return np.cumsum(right), np.cumsum(wrong), positives


def slow_area(recall, precision):
    """Return the area under the curve with the devkit's sentinels."""
    recall = np.concatenate([[0], recall, [1]])
    precision = np.concatenate([[0], precision, [0]])
    for k in range(len(precision) - 2, -1, -1):
        precision[k] = max(precision[k], precision[k + 1])
    return sum((recall[k] - recall[k - 1]) * precision[k] for k in range(1, len(recall)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3]), st.booleans())
def test_average_precision_is_that_of_the_devkits_loop(seed, dims, inclusive):
    truths, detections = random_objects(seed, dims=dims)
    for rule in voc.RULES:
        curves = voc.average_precision(
            truths, detections, classes=2, rule=rule, inclusive=inclusive
        )
        for label, curve in enumerate(curves):
            hits, wrong, positives = slow_curve(
                truths, detections, label, 0.5, plus=float(inclusive)
            )
            assert curve.positives == positives
            if positives == 0:
                assert np.isnan(curve.ap)
                continue
            if len(hits) == 0:
                assert curve.ap == 0
                continue
            recall, precision = hits / positives, hits / (hits + wrong)
            assert curve.precision == pytest.approx(precision)
            assert curve.recall == pytest.approx(recall)
            levels = [k / 10 for k in range(11)]
            best = [max(precision[recall >= t - 1e-12], default=0) for t in levels]
            expected = np.mean(best) if rule == "voc07" else slow_area(recall, precision)
            assert curve.ap == pytest.approx(expected)


def test_an_example_by_hand():
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    truths = Truths([0, 0, 0], [0, 0, 0], boxes)
    detections = Detections([0] * 4, [0] * 4, [boxes[0], [60, 0, 70, 10], boxes[0], boxes[1]],
                            [0.9, 0.8, 0.7, 0.6])  # fmt: skip
    # right, wrong, wrong (duplicate), right: precision 1, 1/2, 1/3, 1/2; recall 1/3, 1/3, 1/3, 2/3
    (curve,) = voc.average_precision(truths, detections, classes=1)
    assert curve.ap == pytest.approx(1 / 3 + 0.5 / 3)
    # recall 0 to 0.3 with precision 1, 0.4 to 0.6 with 1/2, nothing above
    (curve,) = voc.average_precision(truths, detections, classes=1, rule="voc07")
    assert curve.ap == pytest.approx((4 * 1 + 3 * 0.5) / 11)


def test_recalls_are_compared_as_fractions():
    # 3 of 10 found: in floating point 3 * 0.1 is more than 3 / 10
    assert voc.voc07(np.array([1, 2, 3]), np.zeros(3, int), 10) == pytest.approx(4 / 11)


def test_a_found_object_makes_a_second_detection_wrong_even_if_another_is_free():
    truths = Truths([0, 0], [0, 0], [[0, 0, 10, 10], [0, 2, 10, 12]])
    detections = Detections([0, 0], [0, 0], [[0, 0, 10, 10], [0, 0.5, 10, 10.5]], [0.9, 0.8])
    (curve,) = voc.average_precision(truths, detections, classes=1)
    assert curve.precision.tolist() == [1, 0.5]


def test_difficult_objects_absorb_detections():
    truths = Truths([0, 0], [0, 0], [[0, 0, 10, 10], [20, 0, 30, 10]], ignore=[True, False])
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]]
    detections = Detections([0] * 3, [0] * 3, boxes, [0.9, 0.8, 0.7])
    (curve,) = voc.average_precision(truths, detections, classes=1)
    assert (curve.ap, curve.positives, curve.scores.tolist()) == (1, 1, [0.7])


def test_inclusive_corners_make_small_boxes_overlap_more():
    truths = Truths([0], [0], [[0, 0, 9, 9]])
    detections = Detections([0], [0], [[0, 0, 9, 4]], [0.9])  # 50 of 100 pixels; else 36 of 81
    (devkit,) = voc.average_precision(truths, detections, classes=1, inclusive=True)
    (ours,) = voc.average_precision(truths, detections, classes=1)
    assert (devkit.ap, ours.ap) == (1, 0)


def test_masks_can_be_compared():
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    half = mask.copy()
    half[2:5] = False
    truths = Truths([0], [0], [[2, 2, 6, 6]], masks=(rle.encode(mask),))
    detections = Detections([0], [0], [[2, 2, 6, 6]], [0.9], masks=(rle.encode(half),))
    assert voc.average_precision(truths, detections, classes=1, kind="segm")[0].ap == 0
    assert voc.average_precision(truths, detections, classes=1)[0].ap == 1


def test_bad_arguments_are_refused():
    truths, detections = random_objects(0)
    with pytest.raises(DataError, match="known are voc07, voc10"):
        voc.average_precision(truths, detections, classes=2, rule="voc12")
    with pytest.raises(DataError, match="between 0 and 1"):
        voc.average_precision(truths, detections, classes=2, threshold=0)
    with pytest.raises(DataError, match="run from 0 to 0"):
        voc.average_precision(truths, detections, classes=1)
