"""The department's scores, and their intervals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detect.test_coco import random_objects
from vesalius.detect import metrics, rle
from vesalius.detect.coco import average_precision
from vesalius.detect.coco_arrays import Detections, Truths
from vesalius.detect.coco_matching import match
from vesalius.detect.intervals import WeightedPrecision, bootstrap, units_of
from vesalius.detect.scene import Scene
from vesalius.errors import DataError

CLASSES = ("cell", "platelet")


def scene(name, boxes, labels, scores=None, *, dims=2, **more):
    """Return a scene of 100 pixels on each side."""
    boxes = np.asarray(boxes, float).reshape(-1, 2 * dims)
    return Scene(name, None, (100,) * dims, boxes, tuple(labels), scores=scores, **more)


def scenes():
    """Return two images with their predictions: one object missed, one false alarm."""
    truths = [
        scene("a", [[0, 0, 10, 10], [20, 20, 30, 30]], ["cell", "platelet"]),
        scene("b", [[0, 0, 10, 10]], ["cell"]),
    ]
    found = [
        scene("b", [[50, 50, 60, 60], [0, 0, 10, 10]], ["cell", "cell"], np.array([0.9, 0.4])),
        scene("a", [[0, 0, 10, 10]], ["cell"], np.array([0.8])),
    ]
    return truths, found


def test_scores_are_those_of_the_arrays():
    truths, found = scenes()
    result = metrics.score(truths, found, CLASSES)
    both = metrics.gather(truths, found, CLASSES)
    table = average_precision(both.truths, both.detections, classes=2)
    assert result.best == result.values["AP"] == pytest.approx(np.nanmean(table.precision))
    assert result.values["AP50"] == pytest.approx(table.per_class[0, 0].mean())
    # platelet 0; cell: wrong, right, right with precision 1/2, then 2/3
    assert result.labels["cell"]["AP50"] == pytest.approx(2 / 3)
    assert result.values["AP50"] == pytest.approx(1 / 3)
    assert result.values["AR"] == pytest.approx(0.5)
    assert result.labels["platelet"]["objects"] == 1


def test_hits_misses_and_false_alarms_are_counted_per_image():
    truths, found = scenes()
    result = metrics.score(truths, found, CLASSES, min_score=0.5)
    assert result.cases["a"] == {"objects": 2, "hits": 1, "misses": 1, "false alarms": 0}
    assert result.cases["b"] == {"objects": 1, "hits": 0, "misses": 1, "false alarms": 1}
    assert result.values["precision"] == 0.5
    assert result.values["recall"] == pytest.approx(1 / 3)
    assert result.values["f1"] == pytest.approx(2 / 5)
    assert metrics.score(truths, found, CLASSES, min_score=0.3).cases["b"]["hits"] == 1


def test_crowds_and_difficult_objects_count_for_nothing():
    boxes = [[0, 0, 40, 40], [50, 50, 60, 60], [80, 80, 90, 90]]
    truth = scene(
        "a", boxes, ["cell"] * 3, crowd=[True, False, False], difficult=[False, True, False]
    )
    found = scene("a", [[1, 1, 9, 9], [20, 20, 30, 30], *boxes[1:]], ["cell"] * 4,
                  np.array([0.9, 0.8, 0.7, 0.6]))  # fmt: skip
    result = metrics.score([truth], [found], ["cell"])
    assert result.values["AP"] == pytest.approx(1)
    assert result.cases["a"] == {"objects": 1, "hits": 1, "misses": 0, "false alarms": 0}


def test_froc_can_be_the_headline_and_volumes_are_scored():
    truth = scene("a", [[0, 0, 0, 10, 10, 10]], ["cell"], dims=3)
    found = scene("a", [[1, 1, 0, 10, 10, 10]], ["cell"], np.array([0.9]), dims=3)
    result = metrics.score([truth], [found], ["cell"], headline="FROC", hit="centre")
    assert result.headline == "FROC"
    assert result.best == 1
    assert result.values["AP50"] == pytest.approx(1)


def test_masks_are_compared_where_asked():
    mask = np.zeros((100, 100), bool)
    mask[:10, :10] = True
    part = mask.copy()
    part[:4] = False
    box = [[0, 0, 10, 10]]
    truth = scene("a", box, ["cell"], masks=(rle.encode(mask),))
    found = scene("a", box, ["cell"], np.array([0.9]), masks=(rle.encode(part),))
    assert metrics.score([truth], [found], ["cell"]).values["AP75"] == pytest.approx(1)
    masks = metrics.score([truth], [found], ["cell"], kind="segm")
    assert masks.values["AP50"] == pytest.approx(1)
    assert masks.values["AP75"] == 0


def test_nothing_to_find_is_nan_and_stays_in_json_form():
    result = metrics.score([scene("a", [], [])], [scene("a", [], [])], CLASSES)
    assert math.isnan(result.best)
    assert math.isnan(result.values["f1"])
    assert result.to_dict()["cases"]["a"]["misses"] == 0


def random_scenes(seed, number=12):
    """Return scenes and predictions whose scores differ."""
    truths, detections = random_objects(seed, images=number, truths=40, detections=80)
    scores = np.random.default_rng(seed).permutation(80) / 80
    own, found = [], []
    for image in range(number):
        mine, theirs = truths.images == image, detections.images == image
        names = [CLASSES[k] for k in truths.labels[mine]]
        flags = {"crowd": truths.crowd[mine], "difficult": truths.ignore[mine]}
        patient = f"patient {image // 2}"
        own.append(scene(str(image), truths.boxes[mine], names, group=patient, **flags))
        names = [CLASSES[k] for k in detections.labels[theirs]]
        found.append(scene(str(image), detections.boxes[theirs], names, scores[theirs]))
    return own, found


def test_intervals_enclose_the_scores_and_patients_are_drawn_whole():
    truths, found = random_scenes(1)
    result = metrics.score(truths, found, CLASSES, resamples=300)
    for name in ("AP", "AP50", "AP75", "AR"):
        low, high = result.intervals[name]
        assert low <= result.values[name] <= high
        low, high = result.label_intervals["cell"][name]
        assert low <= result.labels["cell"][name] <= high
    again = metrics.score(truths, found, CLASSES, resamples=300)
    assert again.intervals == result.intervals
    single = [scene(s.id, s.boxes, s.labels, crowd=s.crowd, difficult=s.difficult) for s in truths]
    assert metrics.score(single, found, CLASSES, resamples=300).intervals != result.intervals
    assert metrics.score(truths, found, CLASSES, resamples=0).intervals == {}
    froc = metrics.score(truths, found, CLASSES, headline="FROC", resamples=300)
    assert froc.intervals["FROC"][0] <= froc.best <= froc.intervals["FROC"][1]


def test_one_image_has_no_interval():
    truths, found = scenes()
    result = metrics.score(truths[:1], found[1:], CLASSES)
    assert np.isnan(result.intervals["AP"]).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1 << 21, 60]))
def test_weights_give_exactly_the_scores_of_the_resampled_images(seed, cells):
    rng = np.random.default_rng(seed)
    truths, detections = random_objects(seed, detections=40)
    scores = rng.permutation(40) / 40
    detections = Detections(detections.images, detections.labels, detections.boxes, scores)
    drawn = rng.integers(0, 4, (3, 4))
    weights = np.stack([np.bincount(row, minlength=4) for row in drawn]).astype(float)
    matching = match(truths, detections, limit=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vesalius.detect.intervals.CELLS", cells)
        ap, recall = WeightedPrecision(matching, images=4, classes=2)(weights)

    def again(objects, row, *names):
        places = [np.flatnonzero(objects.images == image) for image in row]
        images = np.repeat(np.arange(4), [len(p) for p in places])
        chosen = np.concatenate(places).astype(int)
        return {"images": images} | {name: getattr(objects, name)[chosen] for name in names}

    for k, row in enumerate(drawn):
        table = average_precision(
            Truths(**again(truths, row, "labels", "boxes", "crowd", "ignore")),
            Detections(**again(detections, row, "labels", "boxes", "scores")),
            classes=2,
            max_detections=(5,),
        )
        assert ap[k] == pytest.approx(table.per_class[0], abs=1e-12, nan_ok=True)
        assert recall[k] == pytest.approx(table.recall[0, ..., -1], abs=1e-12, nan_ok=True)


def test_percentiles_of_a_mean_are_near_those_of_its_t_interval():
    values = np.random.default_rng(0).normal(size=40)

    def mean(weights):
        return (weights @ values / weights.sum(1))[:, None]

    ends = bootstrap(mean, images=40, resamples=4000)
    half = 2.0227 * values.std(ddof=1) / np.sqrt(40)  # t with 39 degrees of freedom
    assert ends.low[0] == pytest.approx(values.mean() - half, abs=0.03)
    assert ends.high[0] == pytest.approx(values.mean() + half, abs=0.03)
    with pytest.raises(DataError, match="at least 100"):
        bootstrap(mean, images=40, resamples=5)


def test_images_without_a_patient_are_units_of_their_own():
    assert units_of(["a", None, "a", None], 4).tolist() == [0, 1, 0, 2]
    with pytest.raises(DataError, match="one per image"):
        units_of(["a"], 2)


def test_all_misfits_of_truth_and_prediction_are_listed():
    truths, found = scenes()
    wrong = [scene("a", [[0, 0, 1, 1]], ["cell"]), scene("c", [[0, 0, 1, 1]], ["tree"], [0.5])]
    with pytest.raises(DataError) as error:
        metrics.score(truths, wrong, CLASSES)
    text = str(error.value)
    for part in ("'b' has no prediction", "'c' has no true scene", "['tree']", "'a' has no scores"):
        assert part in text
    with pytest.raises(DataError, match="known are AP, AP50, FROC"):
        metrics.score(truths, found, CLASSES, headline="F1")
    with pytest.raises(DataError, match="only headline='FROC'"):
        metrics.score(truths, found, CLASSES, hit="centre")
    with pytest.raises(DataError, match="at least one"):
        metrics.score(truths, found, [])
    with pytest.raises(DataError, match="occurs twice"):
        metrics.score([*truths, truths[0]], found, CLASSES)
