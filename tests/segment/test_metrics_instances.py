"""Instance scores: golden values of the literature's tools, and slow re-derivations."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vesalius.errors import DataError
from vesalius.segment.metrics import (
    aggregated_jaccard,
    average_precision,
    detection_accuracy,
    instance_f1,
    match_instances,
    overlaps,
    panoptic_quality,
    pooled_panoptic_quality,
)

PREDICTION = np.array([[0, 1, 1, 1], [0, 0, 0, 0], [2, 0, 3, 3], [4, 2, 2, 0]])
TRUTH = np.array([[1, 1, 2, 1], [0, 0, 0, 0], [1, 3, 0, 0], [4, 3, 3, 3]])

maps = hnp.array_shapes(min_dims=1, max_dims=3, max_side=7).flatmap(
    lambda shape: st.tuples(
        *[hnp.arrays(np.int32, shape, elements=st.sampled_from([0, 1, 2, 3, 9, 70000]))] * 2
    )
)


def slow_ious(truth, prediction):
    """Return {(true id, predicted id): IoU} of all pairs, one mask after the other."""
    pairs = itertools.product(np.unique(truth[truth > 0]), np.unique(prediction[prediction > 0]))
    found = {}
    for i, j in pairs:
        a, b = truth == i, prediction == j
        if (a & b).any():
            found[int(i), int(j)] = (a & b).sum() / (a | b).sum()
    return found


def test_panoptic_quality_has_monais_golden_values():
    assert panoptic_quality(TRUTH, PREDICTION)["pq"] == pytest.approx(0.25)
    low = panoptic_quality(TRUTH, PREDICTION, 0.3)
    assert (low["sq"], low["rq"]) == (pytest.approx(0.6), pytest.approx(0.75))
    assert (low["tp"], low["fp"], low["fn"]) == (3, 1, 1)


@settings(max_examples=60, deadline=None)
@given(maps, st.sampled_from([0.0, 0.2, 0.5, 0.7]))
def test_relabelling_changes_no_score(pair, threshold):
    truth, prediction = pair
    renamed = np.where(prediction == 9, 5, np.where(prediction == 1, 80, prediction))
    one, other = (panoptic_quality(truth, item, threshold) for item in (prediction, renamed))
    assert one == pytest.approx(other, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(maps)
def test_overlaps_are_those_of_single_masks(pair):
    table = overlaps(*pair)
    found = {
        (int(table.truth_ids[i]), int(table.prediction_ids[j])): iou
        for i, j, iou in zip(table.rows, table.columns, table.iou, strict=True)
    }
    assert found == pytest.approx(slow_ious(*pair))
    assert table.truth_sizes.sum() == np.count_nonzero(pair[0])


@settings(max_examples=60, deadline=None)
@given(maps, st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.75]))
def test_matches_are_the_best_one_to_one_assignment(pair, threshold):
    ious = slow_ious(*pair)
    rows, columns = ({key[side] for key in ious} for side in (0, 1))
    columns = [*columns, *[None] * len(rows)]  # a true instance may stay without a partner
    best = max(
        (
            [ious.get((i, j), 0) for i, j in zip(rows, order, strict=False)]
            for order in itertools.permutations(columns, len(rows))
        ),
        key=sum,
        default=[],
    )
    found = match_instances(*pair, threshold)
    if threshold >= 0.5:
        assert sorted(found.iou) == pytest.approx(sorted(v for v in ious.values() if v > threshold))
    elif threshold == 0:  # every pair of the assignment is kept, so the sums can be compared
        assert found.iou.sum() == pytest.approx(sum(best))
    assert len(set(found.truth_ids)) == len(set(found.prediction_ids)) == found.tp
    assert found.tp + found.fn == len(np.unique(pair[0][pair[0] > 0]))
    assert found.tp + found.fp == len(np.unique(pair[1][pair[1] > 0]))


@settings(max_examples=60, deadline=None)
@given(maps)
def test_pq_is_sq_times_rq_and_rq_is_f1(pair):
    quality = panoptic_quality(*pair)
    assert quality["pq"] == pytest.approx(quality["sq"] * quality["rq"], nan_ok=True)
    assert quality["rq"] == pytest.approx(instance_f1(*pair), nan_ok=True)


def test_empty_maps_follow_the_stated_rules():
    empty, one = np.zeros((4, 4), int), np.eye(4, dtype=int)
    for score in (instance_f1, aggregated_jaccard, lambda a, b: panoptic_quality(a, b)["pq"]):
        assert np.isnan(score(empty, empty))
        assert score(one, empty) == score(empty, one) == 0
        assert score(one, one) == 1
    assert panoptic_quality(np.zeros((0, 3), int), np.zeros((0, 3), int))["tp"] == 0
    both = detection_accuracy([empty, one], [empty, empty])
    assert (both["mean"], both["images"]) == (0, 1)
    assert np.isnan(detection_accuracy([empty], [empty])["mean"])


def test_pooled_panoptic_quality_counts_instances_of_all_images_alike():
    one = match_instances(TRUTH, PREDICTION)
    two = match_instances(TRUTH, TRUTH)
    pooled = pooled_panoptic_quality([one, two])
    assert (pooled["tp"], pooled["fp"], pooled["fn"]) == (5, 3, 3)
    assert pooled["sq"] == 1
    assert pooled["pq"] == pytest.approx(5 / 8)


def test_aggregated_jaccard_of_an_example_by_hand():
    # true 1 (4 px) and 2 (4 px); predicted 7 covers half of both, 8 is beside
    truth = np.array([1, 1, 1, 1, 2, 2, 2, 2, 0, 0])
    prediction = np.array([0, 0, 7, 7, 7, 7, 0, 0, 8, 8])
    # both take 7: shared 2 + 2; unions 6 + 6; nobody took 8: + 2
    assert aggregated_jaccard(truth, prediction) == pytest.approx(4 / 14)
    # one takes 7: shared 2; union 6; the other true one 4 and 8 remain
    assert aggregated_jaccard(truth, prediction, one_to_one=True) == pytest.approx(2 / 12)


@settings(max_examples=60, deadline=None)
@given(maps)
def test_aggregated_jaccard_is_that_of_its_definition(pair):
    truth, prediction = pair
    ious = slow_ious(truth, prediction)
    shared = union = 0
    used = set()
    for i in np.unique(truth[truth > 0]):
        mine = {j: value for (k, j), value in ious.items() if k == i}
        best = min((j for j in mine if mine[j] == max(mine.values())), default=None)
        used.add(best)
        shared += ((truth == i) & (prediction == best)).sum() if best else 0
        union += ((truth == i) | (prediction == best)).sum() if best else (truth == i).sum()
    union += sum(
        (prediction == j).sum() for j in np.unique(prediction[prediction > 0]) if j not in used
    )
    expected = shared / union if union else np.nan
    assert aggregated_jaccard(truth, prediction) == pytest.approx(expected, nan_ok=True)


def shifted(cells, shift):
    """Return true cells of 10 pixels in a row, and the same moved."""
    truth = np.zeros(20 * cells, int)
    for cell in range(cells):
        truth[20 * cell + 5 : 20 * cell + 15] = cell + 1
    return truth, np.roll(truth, shift)


def test_detection_accuracy_counts_thresholds_below_the_iou():
    truth, prediction = shifted(4, 2)  # every IoU is 8 / 12
    found = detection_accuracy([truth], [prediction])
    assert found["mean"] == pytest.approx(4 / 10)  # 0.50, 0.55, 0.60, 0.65
    assert found["per_threshold"][0.65] == 1
    assert found["per_threshold"][0.7] == 0
    assert list(found["per_threshold"]) == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def test_detection_accuracy_averages_images_and_also_pools_them():
    truth, _ = shifted(4, 0)
    half = np.where(truth > 2, 0, truth)
    found = detection_accuracy([truth, truth > 3], [half, truth > 3], thresholds=[0.5])
    assert found["mean"] == pytest.approx((2 / 4 + 1) / 2)
    assert found["pooled"][0.5] == pytest.approx(3 / 5)


def test_average_precision_of_a_curve_by_hand():
    truth = np.array([1, 1, 0, 2, 2, 0, 0, 0])
    prediction = np.array([1, 1, 0, 2, 2, 0, 3, 3])
    # hit, miss, hit: precision 1 up to recall 1/2, then 2/3
    found = average_precision([truth], [prediction], [{1: 0.9, 3: 0.8, 2: 0.7}], thresholds=[0.5])
    assert found["mean"] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    best = average_precision([truth], [prediction], [{1: 0.9, 2: 0.8, 3: 0.1}])
    assert best["mean"] == 1
    assert best["instances"] == 2


def test_a_match_of_exactly_the_threshold_counts_in_average_precision_only():
    truth, prediction = np.array([1, 1]), np.array([4, 0])
    assert average_precision([truth], [prediction], [{4: 1.0}], thresholds=[0.5])["mean"] == 1
    assert detection_accuracy([truth], [prediction], thresholds=[0.5])["mean"] == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(maps, min_size=1, max_size=3), st.integers(0, 99), st.sampled_from([0.2, 0.5, 0.8]))
def test_average_precision_is_that_of_a_loop_over_thresholds_of_score(pairs, seed, threshold):
    rng = np.random.default_rng(seed)
    scores = [
        {int(i): float(rng.random()) for i in np.unique(prediction[prediction > 0])}
        for _, prediction in pairs
    ]
    found = average_precision(*zip(*pairs, strict=True), scores, thresholds=[threshold])
    hits = []
    for (truth, prediction), known in zip(pairs, scores, strict=True):
        ious, free = slow_ious(truth, prediction), set(np.unique(truth[truth > 0]).tolist())
        for j in sorted(known, key=known.get, reverse=True):
            fit = {i: ious.get((i, j), 0) for i in free if ious.get((i, j), 0) >= threshold}
            best = max(fit, key=fit.get, default=None)
            free.discard(best)
            hits.append((known[j], best is not None))
    number = sum(len(np.unique(truth[truth > 0])) for truth, _ in pairs)
    if number == 0:
        assert np.isnan(found["mean"])
        return
    right = np.cumsum([hit for _, hit in sorted(hits, reverse=True)])
    curve = [(tp / number, tp / (k + 1)) for k, tp in enumerate(right)]
    levels = [max((p for r, p in curve if r >= i / 100), default=0) for i in range(101)]
    assert found["mean"] == pytest.approx(np.mean(levels), abs=0.011)  # recalls may tie a level


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: panoptic_quality([1, 2], [1]), r"shape \(2,\)"),
        (lambda: panoptic_quality([1.0], [1]), "float64"),
        (lambda: panoptic_quality([-1], [1]), "holds the label -1"),
        (lambda: panoptic_quality([1], [1], 1.0), "threshold is 1.0"),
        (lambda: detection_accuracy([[1]], []), "1 truths and 0 predictions"),
        (lambda: detection_accuracy([[1]], [[1]], thresholds=[]), "at least one"),
        (lambda: average_precision([[1]], [[1]], [{}]), "no finite score"),
        (lambda: average_precision([[1]], [[1]], []), "scores of 0 images"),
    ],
)
def test_bad_maps_and_thresholds_are_named(call, part):
    with pytest.raises(DataError, match=part):
        call()


def test_real_nuclei_score_one_against_themselves_and_less_when_moved(shared_data):
    from vesalius.images.read import read_mask

    files = sorted((shared_data / "nuclei" / "labels").glob("*.png"))[:5]
    truths = [read_mask(path).array for path in files]
    moved = [np.roll(truth, 2, axis=0) for truth in truths]
    assert detection_accuracy(truths, truths)["mean"] == 1
    assert 0 < detection_accuracy(truths, moved)["mean"] < 1
    for truth, other in zip(truths, moved, strict=True):
        assert panoptic_quality(truth, truth)["pq"] == aggregated_jaccard(truth, truth) == 1
        assert 0 < aggregated_jaccard(truth, other) < 1
