"""Error kinds and the confusion matrix: one object after the other, by hand and by loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detect.test_coco import random_objects, slow_overlap
from vesalius.detect.coco import average_precision
from vesalius.detect.coco_arrays import Detections, Truths
from vesalius.detect.confusion import confusion
from vesalius.detect.error_kinds import KINDS, error_kinds
from vesalius.errors import DataError

SQUARE = [0, 0, 10, 10]
FAR = [50, 50, 60, 60]


def kinds_of(boxes, labels, *, truth=(SQUARE,), classes=(0,)):
    """Return the kind names of detections in one image, best first, and the result."""
    truths = Truths([0] * len(truth), classes, truth)
    scores = np.linspace(0.9, 0.1, len(boxes))
    result = error_kinds(truths, Detections([0] * len(boxes), labels, boxes, scores), classes=2)
    return [KINDS[k] if k >= 0 else None for k in result.detections], result


@pytest.mark.parametrize(
    ("boxes", "labels", "expected", "missed"),
    [
        ([SQUARE], [0], [None], 0),
        ([[0, 0, 10, 4]], [0], ["localisation"], 0),
        ([SQUARE], [1], ["classification"], 0),
        ([SQUARE, SQUARE], [0, 0], [None, "duplicate"], 0),
        ([FAR], [0], ["background"], 1),
        ([[0, 0, 10, 4]], [1], ["both"], 1),
        ([[0, 0, 10, 0.5]], [0], ["background"], 1),
        ([SQUARE, [0, 0, 10, 4]], [0, 0], [None, "localisation"], 0),
    ],
)
def test_each_kind_is_recognised(boxes, labels, expected, missed):
    names, result = kinds_of(boxes, labels)
    assert names == expected
    assert result.counts["missed"] == missed
    assert sum(result.counts.values()) == sum(name is not None for name in expected) + missed


def test_repairing_the_only_mistake_gives_full_precision():
    for box, label, name in (
        ([0, 0, 10, 4], 0, "localisation"),
        (SQUARE, 1, "classification"),
    ):
        _, result = kinds_of([box], [label])
        assert result.ap == 0
        assert result.gains[name] == pytest.approx(1)
        assert all(
            gain == 0 for other, gain in result.gains.items() if other in KINDS and other != name
        )


def test_removing_a_false_positive_before_the_right_one_doubles_precision():
    _, result = kinds_of([FAR, SQUARE], [0, 0])
    assert result.ap == pytest.approx(0.5)
    assert result.gains["background"] == pytest.approx(0.5)
    assert result.gains["false positives"] == pytest.approx(0.5)
    assert result.gains["false negatives"] == 0


def test_not_counting_a_missed_object_completes_recall():
    _, result = kinds_of([SQUARE], [0], truth=(SQUARE, FAR), classes=(0, 0))
    assert result.ap == pytest.approx(51 / 101)
    assert result.gains["missed"] == pytest.approx(50 / 101)
    assert result.missed.tolist() == [False, True]


def test_only_the_best_of_several_errors_repairs_an_object():
    # both point at the same object: the first becomes right, the second is removed
    names, result = kinds_of([[0, 0, 10, 4], [0, 0, 10, 3]], [0, 0])
    assert names == ["localisation", "localisation"]
    assert result.gains["localisation"] == pytest.approx(1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_kinds_cover_exactly_the_wrong_detections(seed):
    truths, detections = random_objects(seed, detections=40)
    result = error_kinds(truths, detections, classes=2)
    table = average_precision(truths, detections, classes=2, thresholds=[0.5])
    known = table.per_class[~np.isnan(table.per_class)]
    assert result.ap == pytest.approx(known.mean() if known.size else np.nan, nan_ok=True)
    assert sum(result.counts[name] for name in KINDS) == (result.detections >= 0).sum()
    assert not (result.missed & (truths.crowd | truths.ignore)).any()
    if np.isnan(result.ap):
        return
    for name in ("classification", "localisation", "both", "duplicate", "background"):
        if result.counts[name] == 0:
            assert result.gains[name] == 0
    assert (
        result.gains["false positives"]
        >= max(result.gains[k] for k in ("both", "duplicate")) - 1e-9
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_confusion_pairs_the_highest_overlaps_first(seed):
    truths, detections = random_objects(seed)
    skipped = truths.crowd | truths.ignore
    pairs = [
        (-overlap, -detections.scores[k], k, j)
        for k in np.flatnonzero(detections.scores >= 0.3)
        for j in range(len(truths))
        if truths.images[j] == detections.images[k]
        and (overlap := slow_overlap(truths.boxes[j], truths.crowd[j], detections.boxes[k])) >= 0.5
    ]
    counts = np.zeros((3, 3), int)
    mine, theirs = set(), set()
    for _, _, k, j in sorted(pairs):
        if k not in mine and j not in theirs and not skipped[j]:
            counts[truths.labels[j], detections.labels[k]] += 1
            mine.add(k)
            theirs.add(j)
    absorbed = {k for _, _, k, j in pairs if skipped[j]}
    for k in np.flatnonzero(detections.scores >= 0.3):
        counts[2, detections.labels[k]] += k not in mine and k not in absorbed
    for j in np.flatnonzero(~skipped):
        counts[truths.labels[j], 2] += j not in theirs
    result = confusion(truths, detections, classes=2, min_score=0.3)
    assert result.counts.tolist() == counts.tolist()
    objects = np.bincount(truths.labels[~skipped], minlength=2)
    assert result.counts[:2].sum(1).tolist() == objects.tolist()


def test_confusion_of_an_example_by_hand():
    truths = Truths([0, 0, 1], [0, 1, 1], [SQUARE, FAR, SQUARE])
    boxes = [SQUARE, FAR, [80, 80, 90, 90]]
    result = confusion(truths, Detections([0, 0, 1], [0, 0, 1], boxes, [0.9, 0.8, 0.7]), classes=2)
    assert result.counts.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert result.recall.tolist() == [1, 0]
    assert result.precision.tolist() == [0.5, 0]


def test_bad_arguments_are_refused():
    truths, detections = random_objects(0)
    with pytest.raises(DataError, match="background"):
        error_kinds(truths, detections, classes=2, background=0.6)
    with pytest.raises(DataError, match="run from 0 to 0"):
        error_kinds(truths, detections, classes=1)
    with pytest.raises(DataError, match="between 0 and 1"):
        confusion(truths, detections, classes=2, threshold=0)
