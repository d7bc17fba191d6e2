"""COCO evaluation: numbers of pycocotools, and a slow evaluator that loops over everything."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.detect import coco, rle
from vesalius.detect.coco_arrays import Detections, Truths, subset
from vesalius.detect.coco_matching import match
from vesalius.detect.coco_strings import read_strings
from vesalius.errors import DataError

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "acceptance" / "detect" / "coco.json").read_text(encoding="utf-8")
)
IGNORED_WARNINGS = (
    "ignore:.*categories that the ground truth:UserWarning",
    "ignore:.*has the id 0:UserWarning",
)


def one_image(annotations, *, classes=1):
    """Return a COCO ground truth with one image."""
    rows = [
        {"id": k + 1, "image_id": 1, "category_id": 1, "area": b[2] * b[3], "bbox": b, "iscrowd": 0}
        for k, b in enumerate(annotations)
    ]
    categories = [{"id": k + 1, "name": f"class {k}"} for k in range(classes)]
    images = [{"id": 1, "height": 100, "width": 100}]
    return {"images": images, "annotations": rows, "categories": categories}


def found(box, score=0.9, **changes):
    """Return a COCO result."""
    return {"image_id": 1, "category_id": 1, "bbox": box, "score": score} | changes


def random_objects(seed, *, dims=2, images=4, classes=2, truths=12, detections=25):
    """Return objects on a coarse grid, so that ties and equal overlaps occur."""
    rng = np.random.default_rng(seed)

    def boxes(number):
        low = rng.integers(0, 5, (number, dims)) * 4.0
        return np.concatenate([low, low + rng.integers(1, 4, (number, dims)) * 4], axis=1)

    own = Truths(
        rng.integers(0, images, truths),
        rng.integers(0, classes, truths),
        boxes(truths),
        crowd=rng.random(truths) < 0.1,
        ignore=rng.random(truths) < 0.1,
    )
    copies = rng.integers(0, truths, detections)
    moved = own.boxes[copies] + rng.integers(-1, 2, (detections, 2 * dims))
    anywhere = rng.random(detections) < 0.3
    return own, Detections(
        np.where(anywhere, rng.integers(0, images, detections), own.images[copies]),
        np.where(anywhere, rng.integers(0, classes, detections), own.labels[copies]),
        np.where(anywhere[:, None], boxes(detections), moved),
        np.round(rng.random(detections), 1),
    )


def slow_overlap(truth, crowd, box):
    """Return the overlap of two boxes."""
    dims = len(box) // 2
    sides = np.minimum(truth[dims:], box[dims:]) - np.maximum(truth[:dims], box[:dims])
    if (sides <= 0).any():
        return 0.0
    mine, other = np.prod(box[dims:] - box[:dims]), np.prod(truth[dims:] - truth[:dims])
    shared = np.prod(sides)
    return shared / (mine if crowd else mine + other - shared)


def slow_matches(truths, detections, threshold, low, high, limit):
    """Yield (label, image, score, verdict) for each detection: True, False or None (ignored)."""
    ignored = truths.crowd | truths.ignore | (truths.areas < low) | (truths.areas > high)
    for label, image in sorted({*zip(detections.labels, detections.images, strict=True)}):
        own = np.flatnonzero((truths.labels == label) & (truths.images == image))
        own = sorted(own, key=lambda k: bool(ignored[k]))
        mine = np.flatnonzero((detections.labels == label) & (detections.images == image))
        taken = set()
        for k in sorted(mine, key=lambda k: -detections.scores[k])[:limit]:
            best, target = threshold, None
            for j in own:
                if j in taken and not truths.crowd[j]:
                    continue
                if target is not None and not ignored[target] and ignored[j]:
                    break
                overlap = slow_overlap(truths.boxes[j], truths.crowd[j], detections.boxes[k])
                if overlap >= best:
                    best, target = overlap, j
            verdict = target is not None
            if verdict:
                taken.add(target)
                verdict = None if ignored[target] else True
            elif not low <= detections.areas[k] <= high:
                verdict = None
            yield label, image, detections.scores[k], verdict


def slow_precision(rows, positives):
    """Return the mean precision at 101 recalls and the recall, from (score, verdict)."""
    rows = sorted((row for row in rows if row[1] is not None), key=lambda row: -row[0])
    right = np.cumsum([verdict for _, verdict in rows]) if rows else np.zeros(0)
    precision = right / np.arange(1, len(rows) + 1)
    recall = right / positives
    best = [
        max((p for p, r in zip(precision, recall, strict=True) if r >= level), default=0.0)
        for level in np.linspace(0, 1, 101)
    ]
    return np.mean(best), recall[-1] if len(recall) else 0.0


@pytest.mark.filterwarnings(*IGNORED_WARNINGS)
@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_corner_case_equals_pycocotools(case):
    numbers = coco.evaluate(
        case["ground_truth"],
        case["detections"],
        kind=case["kind"],
        max_detections=case["max_detections"],
    )
    first, second, third = (f"AR{n}" for n in case["max_detections"])
    assert list(numbers) == [
        *("AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge"),
        *(first, second, third, "ARsmall", "ARmedium", "ARlarge"),
    ]
    assert list(numbers.values()) == pytest.approx(case["expected"], abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([2, 3]),
    st.sampled_from([2, 100]),
    st.sampled_from([1, 3]),
)
def test_tables_are_those_of_a_slow_evaluator(seed, dims, limit, classes):
    truths, detections = random_objects(seed, dims=dims, classes=classes)
    thresholds, areas = (0.3, 0.5, 0.75), ((0, np.inf), (0, 64), (64, 300))
    table = coco.average_precision(
        truths,
        detections,
        classes=classes,
        thresholds=thresholds,
        areas=areas,
        max_detections=(1, limit),
    )
    for a, (low, high) in enumerate(areas):
        inside = (truths.areas >= low) & (truths.areas <= high) & ~truths.crowd & ~truths.ignore
        for t, threshold in enumerate(thresholds):
            rows = list(slow_matches(truths, detections, threshold, low, high, limit))
            for k in range(classes):
                positives = np.count_nonzero(inside & (truths.labels == k))
                assert table.positives[a, k] == positives
                if positives == 0:
                    assert np.isnan(table.per_class[a, t, k])
                    assert np.isnan(table.recall[a, t, k]).all()
                    continue
                own = [(score, verdict) for label, _, score, verdict in rows if label == k]
                ap, recall = slow_precision(own, positives)
                assert table.per_class[a, t, k] == pytest.approx(ap)
                assert table.recall[a, t, k, -1] == pytest.approx(recall)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_renumbering_images_and_shuffling_truths_changes_nothing_without_ties(seed):
    rng = np.random.default_rng(seed)
    truths, detections = random_objects(seed)
    detections = Detections(
        detections.images, detections.labels, detections.boxes, rng.random(len(detections))
    )
    # of equal overlaps the last object is taken, so the objects' order must not be shuffled
    numbers = rng.permutation(4)
    order = rng.permutation(len(detections))
    other = subset(detections, order)
    moved = Truths(
        numbers[truths.images],
        truths.labels,
        truths.boxes,
        crowd=truths.crowd,
        ignore=truths.ignore,
    )
    again = Detections(numbers[other.images], other.labels, other.boxes, other.scores)
    one = coco.average_precision(truths, detections, classes=2)
    two = coco.average_precision(moved, again, classes=2)
    assert one.precision == pytest.approx(two.precision, nan_ok=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_perfect_detections_have_precision_one(seed):
    truths, _ = random_objects(seed)
    keep = ~(truths.crowd | truths.ignore)
    truths = subset(truths, keep)
    scores = np.random.default_rng(seed).random(len(truths))
    detections = Detections(truths.images, truths.labels, truths.boxes, scores)
    table = coco.average_precision(truths, detections, classes=2)
    known = table.per_class[~np.isnan(table.per_class)]
    assert (known == pytest.approx(1)) or not known.size


def test_an_inverted_box_is_wrong_and_not_ignored():
    truths = Truths([0], [0], [[0, 0, 10, 10]])
    boxes = [[5, 0, 2, 10], [0, 0, 10, 10]]
    table = coco.average_precision(truths, Detections([0, 0], [0, 0], boxes, [0.9, 0.8]), classes=1)
    assert table.per_class == pytest.approx(0.5)


def test_blocks_of_pairs_change_no_result(monkeypatch):
    truths, detections = random_objects(3, truths=40, detections=200)
    whole = coco.average_precision(truths, detections, classes=2)
    monkeypatch.setattr("vesalius.detect.coco_overlaps.BLOCK", 7)
    parts = coco.average_precision(truths, detections, classes=2)
    assert whole.precision == pytest.approx(parts.precision, abs=0, nan_ok=True)


def test_partners_name_the_object_that_was_found():
    truths = Truths([0, 0], [0, 0], [[0, 0, 10, 10], [20, 0, 30, 10]])
    detections = Detections([0, 0, 0], [0, 0, 0], [[20, 0, 30, 9], [0, 0, 9, 10], [0, 0, 10, 10]],
                            [0.5, 0.9, 0.7])  # fmt: skip
    matching = match(truths, detections, thresholds=[0.5])
    assert matching.order.tolist() == [1, 2, 0]
    assert matching.partners.tolist() == [[0, -1, 1]]
    assert matching.hit[0, 0].tolist() == [True, False, True]


def test_masks_of_volumes_are_compared_too():
    volume = np.zeros((4, 6, 8), bool)
    volume[1:3, 2:5, 2:6] = True
    half = volume.copy()
    half[2] = False
    box = [[2, 2, 1, 6, 5, 3]]
    truths = Truths([0], [0], box, masks=(rle.encode(volume),))
    detections = Detections([0], [0], box, [0.9], masks=(rle.encode(half),))
    boxes = coco.average_precision(truths, detections, classes=1)
    masks = coco.average_precision(truths, detections, classes=1, kind="segm")
    assert boxes.per_class.mean() == pytest.approx(1)
    assert masks.per_class[0, :, 0] == pytest.approx([1, *[0] * 9])


def test_files_are_read_like_dictionaries(tmp_path):
    truth, results = one_image([[10, 10, 20, 20]]), [found([10, 10, 20, 18])]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    numbers = coco.evaluate(tmp_path / "truth.json", str(tmp_path / "results.json"))
    assert numbers == coco.evaluate(truth, results)
    assert numbers["AP"] == pytest.approx(0.9)
    with pytest.raises(DataError, match="cannot be read"):
        coco.evaluate(tmp_path / "missing.json", results)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match="no JSON"):
        coco.evaluate(tmp_path / "broken.json", results)


def test_all_allowed_numbers_of_detections_are_named():
    numbers = coco.evaluate(one_image([[10, 10, 20, 20]]), [], max_detections=[500, 5])
    assert [name for name in numbers if name[2:].isdigit() and name[1] == "R"] == ["AR5", "AR500"]


def test_the_inputs_are_left_as_they_were():
    truth, results = one_image([[10, 10, 20, 20]]), [found([10, 10, 20, 18])]
    before = json.dumps([truth, results])
    coco.evaluate(truth, results)
    assert json.dumps([truth, results]) == before


def test_missing_areas_are_measured():
    truth = one_image([[10, 10, 20, 20]])
    del truth["annotations"][0]["area"], truth["annotations"][0]["iscrowd"]
    numbers = coco.evaluate(truth, [found([10, 10, 20, 20])])
    assert numbers["APsmall"] == pytest.approx(1)
    assert numbers["APmedium"] == -1


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([found([1, 2, 3, 4]), found([1, 2, 3, 4], image_id=7)], r"detections\[1\].*another split"),
        ([found([1, 2, 3])], r"detections\[0\].*x, y, width, height"),
        ([found([1, 2, 3, 4]), found([1, 2, float("nan"), 4])], r"detections\[1\]: bbox"),
        ([found([1, 2, 3, 4], score="high")], r"detections\[0\]: score is 'high'"),
        ([{"image_id": 1}], "no category_id"),
        (["row"], "is a str"),
        ("{}", "cannot be read"),
    ],
)
def test_malformed_results_are_named_row_by_row(results, message):
    with pytest.raises(DataError, match=message):
        coco.evaluate(one_image([[10, 10, 20, 20]]), results)


def test_malformed_truths_are_refused():
    with pytest.raises(DataError, match="Give COCO's dictionary"):
        coco.evaluate([], [])
    with pytest.raises(DataError, match="one of the images has no id"):
        coco.evaluate({"images": [{"height": 5}]}, [])
    truth = one_image([[1, 2, 3, 4], [5, 6, 7, 8]])
    truth["annotations"][1]["id"] = 1
    with pytest.raises(DataError, match="used twice"):
        coco.evaluate(truth, [])
    truth["annotations"][1] |= {"id": 2, "bbox": None}
    with pytest.raises(DataError, match=r"annotation id 2 \(image 1\): bbox is None"):
        coco.evaluate(truth, [])


def test_arguments_out_of_range_are_refused():
    truth = one_image([[1, 2, 3, 4]])
    with pytest.raises(DataError, match="known are"):
        coco.evaluate(truth, [], kind="keypoints")
    with pytest.raises(DataError, match="whole numbers from 1"):
        coco.evaluate(truth, [], max_detections=())
    truths, detections = random_objects(0)
    with pytest.raises(DataError, match="run from 0 to 0"):
        coco.average_precision(truths, detections, classes=1)
    with pytest.raises(DataError, match="no masks"):
        coco.average_precision(truths, detections, classes=2, kind="segm")
    with pytest.raises(DataError, match="2D"):
        coco.average_precision(truths, random_objects(0, dims=3)[1], classes=2)
    with pytest.raises(DataError, match="NaN"):
        Detections([0], [0], [[0, 0, 1, 1]], [float("nan")])
    with pytest.raises(DataError, match="differ in length"):
        Truths([0, 1], [0], [[0, 0, 1, 1]])


def test_damaged_masks_are_named_row_by_row():
    truth = one_image([[10, 10, 20, 20]])
    truth["annotations"][0]["segmentation"] = [[10, 10, 30, 10, 30, 30]]
    good = rle.to_string(rle.encode(np.eye(100, dtype=bool)))
    masks = [{"size": [100, 100], "counts": text} for text in (good, good[:-1], "~")]
    results = [found([1, 2, 3, 4], segmentation=mask) for mask in masks]
    with pytest.raises(DataError) as error:
        coco.evaluate(truth, results, kind="segm")
    assert [text.split(":")[0] for text in error.value.problems] == [
        "detections[1]",
        "detections[2]",
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99)), max_size=6),
       st.sampled_from([3, 1 << 20]))  # fmt: skip
def test_strings_are_read_together_as_one_by_one(shapes, characters):
    masks = [np.random.default_rng(seed).random((h, w)) < seed / 99 for h, w, seed in shapes]
    runs = [rle.encode(mask) for mask in masks]
    large = rle.encode(np.pad(np.ones((300, 1), bool), ((0, 0), (400, 3))))
    runs.append(large)  # its numbers need several characters
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vesalius.detect.coco_strings.CHARACTERS", characters)
        read = read_strings([rle.to_string(item) for item in runs], [item.size for item in runs])
    assert read == runs
    assert read_strings([], []) == []
