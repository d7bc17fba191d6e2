import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.detect import boxes as B
from vesalius.errors import DataError, RecipeError

INFINITY = float("inf")


@st.composite
def integer_boxes(draw, dims=None):
    dims = dims or draw(st.sampled_from([2, 3]))
    number = draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    low = torch.randint(0, 7, (number, dims), generator=generator)
    side = torch.randint(0, 5, (number, dims), generator=generator)
    return torch.cat([low, low + side], dim=1).float()


def pixels(box, side=12):
    """Return the set of pixels of a box with whole corners, as a mask with reversed axes."""
    dims = len(box) // 2
    mask = torch.zeros((side,) * dims, dtype=torch.bool)
    mask[tuple(slice(int(box[a]), int(box[dims + a])) for a in range(dims))] = True
    return mask


@given(integer_boxes())
@settings(max_examples=40, deadline=None)
def test_areas_and_overlaps_count_pixels(boxes):
    masks = [pixels(box) for box in boxes]
    inter, ratio, general = B.intersection(boxes, boxes), B.iou(boxes, boxes), B.giou(boxes, boxes)
    dims = boxes.shape[1] // 2
    for i, a in enumerate(masks):
        assert B.area(boxes)[i] == a.sum()
        for j, b in enumerate(masks):
            common, union = (a & b).sum(), (a | b).sum()
            assert inter[i, j] == common
            assert ratio[i, j] == pytest.approx(float(common) / max(float(union), 1))
            low = torch.minimum(boxes[i, :dims], boxes[j, :dims])
            high = torch.maximum(boxes[i, dims:], boxes[j, dims:])
            hull = float((high - low).prod())
            waste = (hull - float(union)) / hull if hull else 0.0
            assert general[i, j] == pytest.approx(float(ratio[i, j]) - waste, abs=1e-6)


def test_a_crowd_absorbs_what_lies_inside_it():
    small, large = torch.tensor([[2.0, 2, 4, 4]]), torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 8]])
    assert B.iou(small, large, torch.tensor([True, False])).tolist() == [[1.0, 4 / 64]]


def test_boxes_in_half_precision_do_not_overflow():
    boxes = torch.tensor([[0, 0, 1000, 1000]], dtype=torch.float16)
    assert B.area(boxes).item() == 1e6
    assert B.iou(boxes, boxes).item() == 1


def test_clipping_cuts_x_at_the_width_and_y_at_the_height():
    boxes = torch.tensor([[-5.0, -5, 50, 50]])
    assert B.clip(boxes, (20, 30)).tolist() == [[0, 0, 30, 20]]
    volume = torch.tensor([[-5.0, -5, -5, 50, 50, 50]])
    assert B.clip(volume, (10, 20, 30)).tolist() == [[0, 0, 0, 30, 20, 10]]
    with pytest.raises(RecipeError, match="2 dims"):
        B.clip(boxes, (10, 20, 30))


def test_valid_boxes_have_an_extent_and_are_finite():
    boxes = torch.tensor(
        [[0, 0, 2, 2], [0, 0, 0, 2], [3, 0, 1, 2], [0, 0, INFINITY, 2], [0, math.nan, 2, 2]]
    )
    assert B.valid(boxes).tolist() == [True, False, False, False, False]
    assert B.valid(boxes, 3).tolist() == [False] * 5
    assert B.valid(boxes[:1], 2).tolist() == [True]


def test_coding_gives_the_known_offsets():
    coder = B.BoxCoder(weights=(10, 10, 5, 5))
    offsets = coder.encode(torch.tensor([[2.0, 3, 14, 19]]), torch.tensor([[0.0, 0, 10, 20]]))
    assert offsets[0].tolist() == pytest.approx([3, 0.5, 0.911608, -1.115717], abs=1e-6)


@given(integer_boxes(), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_decoding_undoes_encoding(references, seed):
    torch.manual_seed(seed)
    dims = references.shape[1] // 2
    references[:, dims:] += 1
    shift = torch.rand(len(references), dims) * 4
    truth = references + torch.cat([shift, shift + torch.rand_like(shift) + 0.5], dim=1)
    coder = B.BoxCoder(weights=(10.0,) * dims + (5.0,) * dims)
    offsets = coder.encode(truth, references)
    assert torch.allclose(coder.decode(offsets, references), truth, atol=1e-4)
    several = torch.cat([offsets, torch.zeros_like(offsets)], dim=1)
    decoded = coder.decode(several, references)
    assert decoded.shape == (len(truth), 2, 2 * dims)
    assert torch.allclose(decoded[:, 0], truth, atol=1e-4)
    assert torch.allclose(decoded[:, 1], references, atol=1e-4)


def test_growth_is_limited_when_decoded():
    coder = B.BoxCoder(weights=(1, 1, 1, 1))
    box = coder.decode(torch.tensor([[0.0, 0, 1000, 0]]), torch.tensor([[0.0, 0, 16, 16]]))
    assert box[0].tolist() == pytest.approx([-492, 0, 508, 16], abs=1e-3)


def test_bad_boxes_and_weights_are_refused():
    with pytest.raises(DataError, match="4 columns"):
        B.area(torch.zeros(3, 5))
    with pytest.raises(RecipeError, match="4 or 6 weights"):
        B.BoxCoder(weights=(1, 1, 1))
    with pytest.raises(RecipeError, match="as many"):
        B.BoxCoder().encode(torch.zeros(1, 6), torch.zeros(1, 6))
    with pytest.raises(RecipeError, match="multiples"):
        B.BoxCoder().decode(torch.zeros(1, 6), torch.zeros(1, 4))


def test_no_boxes_give_empty_tables():
    none, one = torch.zeros(0, 4), torch.tensor([[0.0, 0, 1, 1]])
    assert B.iou(none, one).shape == (0, 1)
    assert B.giou(one, none).shape == (1, 0)
    assert B.clip(none, (5, 5)).shape == (0, 4)
    assert B.BoxCoder().decode(torch.zeros(0, 8), none).shape == (0, 2, 4)
