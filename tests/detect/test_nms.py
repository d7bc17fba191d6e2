import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.detect import nms as module
from vesalius.detect.boxes import batched_nms, iou, nms, soft_nms
from vesalius.errors import DataError, RecipeError

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "acceptance/detect/roi.json").read_text("utf-8")
)["result"]["nms"]


def scattered(n):
    """Return the boxes and scores of the reference values."""
    k = torch.arange(n, dtype=torch.float64)
    x, y = (k * 37.0) % 101, (k * 53.0) % 97
    w, h = 8 + (k * 7.0) % 23, 8 + (k * 11.0) % 19
    return torch.stack([x, y, x + w, y + h], 1).float(), ((k * 29.0) % 50 / 50).float()


def random_boxes(number, seed, dims=2, spread=60.0):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(number, dims, generator=generator) * spread
    side = torch.rand(number, dims, generator=generator) * 20
    boxes = torch.cat([low, low + side], dim=1)
    return boxes, torch.rand(number, generator=generator)


def greedy(boxes, scores, threshold):
    """Keep boxes one by one, from the best on."""
    over = iou(boxes, boxes).double().numpy() > threshold
    gone, kept = np.zeros(len(boxes), bool), []
    for index in scores.argsort(descending=True, stable=True).tolist():
        if not gone[index]:
            kept.append(index)
            gone |= over[index]
    return kept


@pytest.mark.parametrize("case", REFERENCE, ids=lambda case: f"{case['n']}-{case['threshold']}")
def test_keeps_what_torchvision_keeps(case):
    boxes, scores = scattered(case["n"])
    assert nms(boxes, scores, case["threshold"]).tolist() == case["kept"]
    groups = torch.arange(case["n"]) % 3
    kept = batched_nms(boxes, scores, groups, case["threshold"])
    assert sorted(kept.tolist()) == case["kept_by_group"]


@pytest.mark.parametrize("dims", [2, 3])
@given(
    st.integers(0, 40),
    st.integers(0, 2**31),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    st.sampled_from([2, 5, 256]),
)
@settings(max_examples=30, deadline=None)
def test_keeps_what_the_plain_loop_keeps(dims, number, seed, threshold, block):
    boxes, scores = random_boxes(number, seed, dims, spread=25)
    before, module.BLOCK = module.BLOCK, block
    try:
        kept = nms(boxes, scores, threshold).tolist()
    finally:
        module.BLOCK = before
    assert kept == greedy(boxes, scores, threshold)


@pytest.mark.parametrize("dims", [2, 3])
def test_many_blocks_keep_what_the_plain_loop_keeps(dims):
    boxes, scores = random_boxes(700, 3, dims, spread=100)
    for threshold in (0.05, 0.4, 0.8):
        assert nms(boxes, scores, threshold).tolist() == greedy(boxes, scores, threshold)


@given(st.integers(0, 60), st.integers(0, 2**31), st.integers(1, 5), st.sampled_from([1, 8, 96]))
@settings(max_examples=30, deadline=None)
def test_groups_are_suppressed_apart(number, seed, groups, small):
    boxes, scores = random_boxes(number, seed, spread=25)
    group = torch.randint(groups, (number,), generator=torch.Generator().manual_seed(seed))
    before, module.SMALL_GROUP = module.SMALL_GROUP, small
    try:
        kept = batched_nms(boxes, scores, group, 0.3).tolist()
    finally:
        module.SMALL_GROUP = before
    expected = []
    for each in range(groups):
        members = (group == each).nonzero().flatten()
        expected += members[greedy(boxes[members], scores[members], 0.3)].tolist()
    assert kept == sorted(expected, key=lambda index: -scores[index])


def test_an_overlap_equal_to_the_threshold_stays():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, 0.4999).tolist() == [0]


def test_the_threshold_is_not_rounded_across_the_overlap():
    # The IoU, 3 / 10 in single precision, is greater than 0.3 in double precision.
    boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 3, 1]])
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.3).tolist() == [0]


def test_equal_scores_keep_their_order_and_nan_comes_first():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 9, 9]])
    assert nms(boxes, torch.tensor([0.5, 0.5, 0.5]), 0.5).tolist() == [0]
    assert nms(boxes, torch.tensor([0.5, 0.6, math.nan]), 0.5).tolist() == [2]


def test_boxes_without_area_suppress_nothing():
    boxes = torch.tensor([[1.0, 1, 1, 5], [1, 1, 1, 5], [1, 1, 1, 1], [0, 0, 8, 8]])
    assert nms(boxes, torch.tensor([4.0, 3, 2, 1]), 0.0).tolist() == [0, 1, 2, 3]


def test_a_threshold_below_zero_leaves_the_best_alone():
    boxes, scores = random_boxes(300, 0)
    assert nms(boxes, scores, -0.1).tolist() == [int(scores.argmax())]


def test_large_coordinates_do_not_hide_overlaps():
    boxes, scores = random_boxes(400, 1, spread=30)
    moved = (boxes + 16384).float()
    assert nms(moved, scores, 0.5).tolist() == greedy(moved, scores, 0.5)


def test_groups_far_below_zero_stay_apart():
    boxes = torch.tensor([[-100.0, -100, -90, -90], [-100, -100, -90, -90]])
    assert len(batched_nms(boxes, torch.tensor([1.0, 0.5]), torch.tensor([0, 7]), 0.5)) == 2


def test_no_boxes_give_no_indices():
    for dims in (2, 3):
        boxes, scores = torch.zeros(0, 2 * dims), torch.zeros(0)
        for kept in (
            nms(boxes, scores, 0.5),
            batched_nms(boxes, scores, torch.zeros(0, dtype=torch.int64), 0.5),
            soft_nms(boxes, scores)[0],
        ):
            assert kept.shape == (0,)
            assert kept.dtype == torch.int64


def test_soft_suppression_lowers_scores_as_in_the_paper():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    kept, lowered = soft_nms(boxes, scores)
    assert kept.tolist() == [0, 2, 1]
    assert lowered.tolist() == pytest.approx([0.9, 0.7, 0.8 * 0.5])
    kept, lowered = soft_nms(boxes, scores, method="gaussian", sigma=0.5)
    assert kept.tolist() == [0, 2, 1]
    assert lowered.tolist() == pytest.approx([0.9, 0.7, 0.8 * math.exp(-0.25 / 0.5)])
    assert soft_nms(boxes, scores, min_score=0.6)[0].tolist() == [0, 2]


def test_soft_suppression_with_a_high_threshold_keeps_all_scores():
    boxes, scores = random_boxes(30, 0, dims=3)
    kept, lowered = soft_nms(boxes, scores, threshold=1.0)
    assert torch.equal(scores[kept], lowered)
    assert kept.tolist() == scores.argsort(descending=True).tolist()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda b, s: nms(b[:, :3], s, 0.5), DataError, "or \\(N, 6\\)"),
        (lambda b, s: nms(b, s[:1], 0.5), DataError, "as many scores"),
        (lambda b, s: nms(b, s, math.nan), RecipeError, "not a number"),
        (lambda b, s: batched_nms(b, s, s[:1], 0.5), DataError, "as many groups"),
        (lambda b, s: soft_nms(b, s, method="hard"), RecipeError, "'linear' or 'gaussian'"),
        (lambda b, s: soft_nms(b, s, sigma=0), RecipeError, "above 0"),
    ],
)
def test_bad_arguments_are_refused(call, error, words):
    boxes, scores = random_boxes(3, 0)
    with pytest.raises(error, match=words):
        call(boxes, scores)
