import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.detect import rle, rle_overlaps
from vesalius.errors import DataError

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "acceptance/detect/rle.json").read_text("utf-8")
)["result"]


@st.composite
def masks(draw, dims=(2, 3), number=1):
    size = draw(st.lists(st.integers(1, 9), min_size=min(dims), max_size=max(dims)))
    seed, share = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    return np.random.default_rng(seed).random((number, *size)) < share


@given(masks())
@settings(max_examples=40, deadline=None)
def test_a_mask_survives_run_lengths_and_strings(mask):
    runs = rle.encode(mask[0])
    assert np.array_equal(rle.decode(runs), mask[0])
    assert rle.from_string(rle.to_string(runs), runs.size) == runs
    assert rle.from_string(rle.to_string(runs).encode(), runs.size) == runs


@given(masks())
@settings(max_examples=40, deadline=None)
def test_area_and_box_are_those_of_the_pixels(mask):
    runs, where = rle.encode(mask[0]), np.nonzero(mask[0])
    assert rle.area(runs) == mask.sum()
    expected = np.zeros(2 * len(where))
    if mask.any():
        low, high = [axis.min() for axis in where], [axis.max() + 1 for axis in where]
        expected = np.array([*reversed(low), *reversed(high)])
    assert np.array_equal(rle.to_box(runs), expected)


@given(masks(number=5), st.lists(st.booleans(), min_size=2, max_size=2))
@settings(max_examples=40, deadline=None)
def test_overlaps_are_those_of_the_pixels(five, crowd):
    runs = [rle.encode(mask) for mask in five]
    flat = five.reshape(5, -1)
    expected = np.zeros((3, 2))
    for row, a in enumerate(flat[:3]):
        for column, b in enumerate(flat[3:]):
            union = a.sum() if crowd[column] else (a | b).sum()
            expected[row, column] = (a & b).sum() / max(union, 1)
    assert np.array_equal(rle.iou(runs[:3], runs[3:], crowd), expected)
    rows, columns = np.array([2, 0, 1]), np.array([1, 0, 1])
    pairs = rle.pair_iou(runs[:3], runs[3:], rows, columns, crowd)
    assert np.array_equal(pairs, expected[rows, columns])


def test_pairs_may_come_from_images_of_different_sizes():
    small, large = np.ones((2, 3), bool), np.ones((40, 50), bool)
    first = [rle.encode(small), rle.encode(large)]
    half = large.copy()
    half[:20] = False
    second = [rle.encode(half), rle.encode(small)]
    assert rle.pair_iou(first, second, [0, 1], [1, 0]).tolist() == [1.0, 0.5]


def test_long_lists_are_compared_in_several_passes(monkeypatch):
    rng = np.random.default_rng(0)
    many = [rle.encode(rng.random((12, 9)) < 0.5) for _ in range(20)]
    expected = rle.iou(many, many[:7])
    monkeypatch.setattr(rle_overlaps, "RUNS_AT_ONCE", 50)
    assert np.array_equal(rle.iou(many, many[:7]), expected)


def test_the_string_is_that_of_the_coco_tools():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2:4] = True
    # 9 0s, 2 1s, 2 0s, 2 1s, 5 0s: 9, 2, 2 as they are, then 2 - 2 = 0 and 5 - 2 = 3.
    assert rle.encode(mask).counts.tolist() == [9, 2, 2, 2, 5]
    assert rle.to_string(rle.encode(mask)) == "92203"


@pytest.mark.parametrize("index", range(len(REFERENCE["masks"])))
def test_polygons_fill_the_pixels_that_the_coco_tools_fill(index):
    expected = REFERENCE["masks"][index]
    runs = rle.from_polygons(expected["polygons"], REFERENCE["size"])
    assert rle.to_string(runs) == expected["counts"]
    assert rle.area(runs) == expected["area"]
    assert rle.to_box(runs).tolist() == expected["box"]


def test_many_objects_are_rasterised_as_each_alone():
    objects = [mask["polygons"] for mask in REFERENCE["masks"]]
    sizes = [REFERENCE["size"], (50, 20)] * (len(objects) // 2)
    alone = [rle.from_polygons(o, size) for o, size in zip(objects, sizes, strict=True)]
    assert rle.from_polygon_lists(objects, sizes) == alone
    assert rle.from_polygon_lists([], []) == []


def test_overlaps_equal_those_of_the_coco_tools():
    runs = [rle.from_string(mask["counts"], REFERENCE["size"]) for mask in REFERENCE["masks"]]
    found = rle.iou(runs[8:20], runs[:8], REFERENCE["crowd"])
    assert np.array_equal(found, REFERENCE["overlaps"])


def test_a_square_polygon_covers_its_pixels():
    mask = rle.decode(rle.from_polygons([[1, 2, 4, 2, 4, 5, 1, 5]], (6, 7)))
    expected = np.zeros((6, 7), bool)
    expected[2:5, 1:4] = True
    assert np.array_equal(mask, expected)


@given(st.lists(st.floats(-20, 40), min_size=6, max_size=16).filter(lambda p: len(p) % 2 == 0))
@settings(max_examples=50, deadline=None)
def test_any_polygon_gives_a_mask_of_the_image(points):
    runs = rle.from_polygons([points], (13, 17))
    assert runs.counts.sum() == 13 * 17
    assert (runs.counts[1:] > 0).all()


def test_lists_give_arrays():
    some, none = rle.encode(np.ones((3, 4), bool)), rle.encode(np.zeros((3, 4), bool))
    assert rle.area([some, none]).tolist() == [12, 0]
    assert rle.to_box([none, some]).tolist() == [[0, 0, 0, 0], [0, 0, 4, 3]]
    assert rle.iou([], [some]).shape == (0, 1)
    assert rle.to_box([]).shape == (0, 4)
    assert rle.iou([none], [some, none], [True, False]).tolist() == [[0, 0]]


def test_volumes_give_boxes_with_x_along_the_last_axis():
    volume = np.zeros((4, 5, 6), bool)
    volume[1:2, 2:4, 3:6] = True
    assert rle.to_box(rle.encode(volume)).tolist() == [3, 2, 1, 6, 4, 2]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rle.Runs((2, 3), [1, 2]), "add up to 3 pixels"),
        (lambda: rle.Runs((2, 3), [7, -1]), "whole numbers"),
        (lambda: rle.Runs((2, 3), [1.5, 4.5]), "whole numbers"),
        (lambda: rle.from_string("5", (2, 3)), "add up to 5 pixels"),
        (lambda: rle.from_string("\x01", (2, 3)), "not a run-length string"),
        (lambda: rle.from_string("oooo", (2, 3)), "cut off"),
        (lambda: rle.from_polygons([[1, 2, 3, 4]], (5, 5)), "three points"),
        (lambda: rle.from_polygons([[0, 0, 4, float("nan"), 4, 4]], (5, 5)), "finite"),
    ],
)
def test_bad_input_is_refused_with_a_reason(call, words):
    with pytest.raises(DataError, match=words):
        call()


def test_masks_of_different_images_are_not_compared():
    with pytest.raises(DataError, match="of one image"):
        rle.iou([rle.encode(np.ones((2, 3)))], [rle.encode(np.ones((3, 2)))])
