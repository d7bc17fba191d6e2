"""R-CNN's crop against the published arithmetic, written out pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.detect.warping import warp
from vesalius.errors import DataError, RecipeError


def rounded(value):
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def line_of(low, high, limit, size, context, half=None):
    """Return for each pixel of a crop's axis where it is read (from 0), or None outside.

    `low` and `high` are the box's first and last pixel, counted from 1.
    """
    half_own = (high - low + 1) / 2
    centre = low + half_own
    half = half_own if half is None else half
    scale = size / (size - 2 * context)
    low, high = rounded(centre - half * scale), rounded(centre + half * scale)
    first, last = max(1, low), min(limit, high)
    step = size / (high - low + 1)
    offset = rounded(max(0, 1 - low) * step)
    extent = min(rounded((last - first + 1) * step), size - offset)
    where = [None] * size
    for k in range(extent):
        position = (k + 0.5) * (last - first + 1) / extent - 0.5
        where[offset + k] = first - 1 + min(max(position, 0), last - first)
    return where


def slow_warp(image, box, size, context, mode):
    x1, y1, x2, y2 = box
    half = max(x2 - x1, y2 - y1) / 2 if mode == "square" else None
    columns = line_of(x1 + 1, x2, image.shape[2], size, context, half)
    rows = line_of(y1 + 1, y2, image.shape[1], size, context, half)
    crop = np.zeros((image.shape[0], size, size))
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            if x is None or y is None:
                continue
            y0, x0 = int(y), int(x)
            y1_, x1_ = min(y0 + 1, image.shape[1] - 1), min(x0 + 1, image.shape[2] - 1)
            a, b = y - y0, x - x0
            top = (1 - b) * image[:, y0, x0] + b * image[:, y0, x1_]
            low = (1 - b) * image[:, y1_, x0] + b * image[:, y1_, x1_]
            crop[:, i, j] = (1 - a) * top + a * low
    return crop


@st.composite
def inside(draw):
    x1, y1 = draw(st.integers(0, 29)), draw(st.integers(0, 19))
    return x1, y1, draw(st.integers(x1 + 1, 30)), draw(st.integers(y1 + 1, 20))


@settings(max_examples=40, deadline=None)
@given(
    box=inside(),
    size=st.integers(8, 24),
    context=st.integers(1, 3),
    mode=st.sampled_from(["warp", "square"]),
)
def test_equals_the_published_arithmetic(box, size, context, mode):
    image = torch.rand(2, 20, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    crop = warp(image, torch.tensor([box], dtype=torch.float64), size, context, mode)[0]
    expected = slow_warp(image.numpy(), box, size, context, mode)
    np.testing.assert_allclose(crop.numpy(), expected, atol=1e-9)


def test_the_grown_box_by_hand():
    # 227 / (227 - 32) = 1.1641; pixels 101 to 200 have the published centre 151: 93 to 209.
    ramp = torch.arange(300, dtype=torch.float64).expand(1, 300, 300)
    crop = warp(ramp, torch.tensor([[100, 100, 200, 200.0]]))[0, 0]
    assert crop.shape == (227, 227)
    step = 117 / 227
    expected = 92 + (torch.arange(227) + 0.5) * step - 0.5
    torch.testing.assert_close(crop[3], expected.clamp(92, 208).double())


def test_outside_the_image_is_the_fill():
    image = torch.ones(2, 40, 40)
    crop = warp(image, torch.tensor([[0, 10, 20, 30.0]]), 32, 8, fill=[5.0, -1.0])[0]
    # Columns 1 to 20 grow to -9 to 31: 10 of 41 are outside, 8 of the crop's 32. Rows 11 to 30 grow
    # to 1 to 41: the last is outside, and so is the crop's last.
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[:31, 8:] = False
    assert (crop[:, outside] == torch.tensor([5.0, -1.0])[:, None]).all()
    torch.testing.assert_close(crop[:, ~outside], torch.ones_like(crop[:, ~outside]))


def test_without_context_the_box_itself_is_resized():
    image = torch.rand(3, 50, 60)
    crop = warp(image, torch.tensor([[10, 20, 40, 45.0]]), 64, 0)
    expected = torch.nn.functional.interpolate(
        image[None, :, 20:45, 10:40], (64, 64), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(crop, expected)


def test_shrinking_does_not_smooth():
    # Rows are read at 3.5, 11.5, ...: halfway between a 1 and a 0, not averaged over eight rows.
    image = torch.zeros(1, 64, 64)
    image[:, 3::8] = 1
    crop = warp(image, torch.tensor([[0, 0, 64, 64.0]]), 8, 0)
    torch.testing.assert_close(crop, torch.full_like(crop, 0.5))


def test_boxes_off_the_image_are_all_fill():
    crop = warp(torch.ones(1, 20, 20), torch.tensor([[50, 50, 60, 60.0]]), 16, 2, fill=9.0)
    assert (crop == 9).all()


def test_boxes_below_a_pixel_are_cropped():
    crop = warp(torch.ones(1, 20, 20), torch.tensor([[3.2, 3.2, 3.4, 3.4]]), 16, 2)
    assert torch.isfinite(crop).all()


def test_a_batch_is_what_its_boxes_are_one_by_one():
    image = torch.rand(3, 40, 50)
    boxes = torch.tensor([[0, 0, 9, 9], [30, 20, 50, 40], [5, 6, 45, 12.0]])
    together = warp(image, boxes, 20, 3)
    assert together.shape == (3, 3, 20, 20)
    for crop, box in zip(together, boxes, strict=True):
        torch.testing.assert_close(crop, warp(image, box[None], 20, 3)[0])


def test_no_boxes_give_no_crops():
    assert warp(torch.ones(3, 9, 9), torch.zeros(0, 4), 8, 1).shape == (0, 3, 8, 8)


def test_a_volume_with_equal_slices_is_cropped_like_the_slice():
    image = torch.rand(1, 24, 30)
    volume = image[:, None].expand(1, 18, 24, 30)
    flat = warp(image, torch.tensor([[4, 5, 14, 17.0]]), 12, 2)
    deep = warp(volume, torch.tensor([[4, 5, 6, 14, 17, 12.0]]), 12, 2)
    assert deep.shape == (1, 1, 12, 12, 12)
    torch.testing.assert_close(deep[:, :, 6], flat)


def test_gradients_reach_the_image():
    image = torch.rand(1, 20, 20, requires_grad=True)
    warp(image, torch.tensor([[4, 4, 10, 10.0]]), 8, 1).sum().backward()
    assert image.grad[0, 5, 5] > 0
    assert image.grad[0, 18, 18] == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"mode": "stretch"}, RecipeError),
        ({"size": 16, "context": 8}, RecipeError),
        ({"boxes": torch.tensor([[5, 5, 5, 9.0]])}, DataError),
        ({"boxes": torch.tensor([[5, 5, 9, float("nan")]])}, DataError),
        ({"boxes": torch.zeros(1, 6)}, DataError),
        ({"image": torch.zeros(3, 9, 9, dtype=torch.uint8)}, DataError),
    ],
)
def test_what_cannot_be_cropped_is_refused(options, error):
    given_ = {"image": torch.ones(3, 9, 9), "boxes": torch.tensor([[1, 1, 5, 5.0]])} | options
    with pytest.raises(error):
        warp(**given_)
