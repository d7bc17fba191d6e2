"""Free-response curves: numbers by hand, and a loop over thresholds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detect.test_coco import random_objects, slow_overlap
from vesalius.detect.coco_arrays import Detections, Truths
from vesalius.detect.froc import RATES, froc, froc_events
from vesalius.errors import DataError


def spheres(centres, diameter=8.0):
    """Return 3D boxes around centres."""
    centres = np.asarray(centres, float)
    return np.concatenate([centres - diameter / 2, centres + diameter / 2], axis=1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["ignored", "wrong"]))
def test_the_curve_is_that_of_a_loop_over_thresholds(seed, duplicates):
    truths, detections = random_objects(seed)
    skipped = truths.crowd | truths.ignore
    curve = froc(truths, detections, images=4, threshold=0.4, duplicates=duplicates)
    hits = np.array(
        [
            [
                truths.images[j] == detections.images[k]
                and truths.labels[j] == detections.labels[k]
                and slow_overlap(truths.boxes[j], truths.crowd[j], detections.boxes[k]) >= 0.4
                for j in range(len(truths))
            ]
            for k in range(len(detections))
        ]
    )
    useful = hits & ~skipped
    best = {
        max(np.flatnonzero(useful[:, j]), key=lambda k: (detections.scores[k], -k))
        for j in np.flatnonzero(useful.any(0))
    }
    for false, sensitivity, score in zip(
        curve.false_positives, curve.sensitivity, curve.scores, strict=True
    ):
        sure = detections.scores >= score
        wrong = ~hits.any(1)
        if duplicates == "wrong":
            wrong |= useful.any(1) & ~np.isin(np.arange(len(detections)), list(best))
        assert false == pytest.approx((wrong & sure).sum() / 4)
        assert sensitivity == pytest.approx(useful[sure].any(0).sum() / (~skipped).sum())


def test_an_example_by_hand_in_three_dimensions():
    truths = Truths([0, 1], [0, 0], spheres([[10, 10, 10], [30, 30, 30]]))
    found = spheres([[12, 10, 10], [50, 50, 50], [30, 33, 30], [60, 60, 60], [10, 9, 10]])
    detections = Detections([0, 0, 1, 1, 0], [0] * 5, found, [0.9, 0.8, 0.7, 0.6, 0.5])
    curve = froc(truths, detections, images=2, hit="centre")
    # found, false, found, false; the fifth hits the first sphere again and counts for nothing
    assert curve.false_positives.tolist() == [0, 0.5, 0.5, 1]
    assert curve.sensitivity.tolist() == [0.5, 0.5, 1, 1]
    assert curve.rates == RATES
    # between 0 (1/2) and 1/2 (1/2, then 1) the line is flat
    assert curve.sensitivities.tolist() == [0.5, 0.5, 1, 1, 1, 1, 1]
    assert curve.score == pytest.approx(6 / 7)
    wrong = froc(truths, detections, images=2, hit="centre", duplicates="wrong")
    assert wrong.false_positives.tolist() == [0, 0.5, 0.5, 1, 1.5]


def test_sensitivities_lie_on_the_line_between_two_thresholds():
    truths = Truths([0], [0], [[0, 0, 10, 10]])
    detections = Detections([0, 0], [0, 0], [[0, 0, 10, 10], [50, 50, 60, 60]], [0.5, 0.5])
    curve = froc(truths, detections, images=1)
    assert curve.false_positives.tolist() == [1.0]
    assert curve.sensitivities.tolist() == [1 / 8, 1 / 4, 1 / 2, 1, 1, 1, 1]


def test_a_centre_has_to_be_nearer_than_the_distance():
    truths = Truths([0], [0], spheres([[10, 10, 10]]))
    detections = Detections([0], [0], spheres([[14, 10, 10]]), [0.9])
    assert froc(truths, detections, images=1, hit="centre").score == 0
    assert froc(truths, detections, images=1, hit="centre", distance=4.1).score == 1
    # half the size along x: 2 apart, the mean side is 8 * 2.5 / 3, its half 3.3
    near = froc(truths, detections, images=1, hit="centre", spacing=(0.5, 1, 1))
    assert near.score == 1


def test_ignored_objects_absorb_detections():
    truths = Truths([0, 0], [0, 0], [[0, 0, 10, 10], [20, 0, 30, 10]], ignore=[True, False])
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10]]
    curve = froc(truths, Detections([0, 0], [0, 0], boxes, [0.9, 0.8]), images=1)
    assert (curve.objects, curve.score, curve.false_positives.tolist()) == (1, 1, [0])


def test_nothing_to_find_gives_nan_and_nothing_found_gives_zero():
    none = Truths([], [], np.zeros((0, 4)))
    some = Truths([0], [0], [[0, 0, 10, 10]])
    empty = Detections([], [], np.zeros((0, 4)), [])
    assert np.isnan(froc(none, empty, images=3).score)
    assert froc(some, empty, images=3).score == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_weights_give_the_curve_of_the_resampled_images(seed):
    rng = np.random.default_rng(seed)
    truths, detections = random_objects(seed)
    drawn = rng.integers(0, 4, 4)
    weights = np.bincount(drawn, minlength=4)[None].astype(float)

    def again(objects, *names):
        places = [np.flatnonzero(objects.images == image) for image in drawn]
        images = np.repeat(np.arange(4), [len(p) for p in places])
        chosen = np.concatenate(places).astype(int)
        return {"images": images} | {name: getattr(objects, name)[chosen] for name in names}

    events = froc_events(truths, detections, images=4)
    other = froc(
        Truths(**again(truths, "labels", "boxes", "crowd", "ignore")),
        Detections(**again(detections, "labels", "boxes", "scores")),
        images=4,
    )
    assert events.sensitivities(weights)[0] == pytest.approx(other.sensitivities, nan_ok=True)


def test_bad_arguments_are_all_named():
    truths, detections = random_objects(0)
    with pytest.raises(DataError) as error:
        froc(truths, detections, images=1, hit="near", threshold=2, duplicates="?")
    assert len(error.value.problems) == 4
    with pytest.raises(DataError, match="rates"):
        froc(truths, detections, images=4, rates=(-1,))
