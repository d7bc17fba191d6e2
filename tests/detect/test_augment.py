import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.detect import augment
from vesalius.images.transforms import Flip, Rotate90, Scale


def sample(size, corners, *, proposals=None):
    """An image that is 1 inside its one box, with the mask of that box."""
    dims = len(size)
    low, high = corners[:dims], corners[dims:]
    image = torch.zeros(1, *size)
    part = tuple(slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1], strict=True))
    image[(0, *part)] = 1
    return {
        "image": image,
        "boxes": torch.tensor([corners], dtype=torch.float32),
        "labels": torch.tensor([0]),
        "masks": None,
        "proposals": proposals,
    }


def hull(image):
    """The box of what is bright, x first."""
    return augment.mask_boxes(image >= 0.5)[0]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), dims=st.sampled_from([2, 3]))
def test_boxes_go_where_their_pixels_go_under_flips_and_quarter_turns(seed, dims):
    size = (12, 16) if dims == 2 else (8, 8, 8)
    corners = (3, 2, 9, 7) if dims == 2 else (1, 2, 3, 5, 4, 8)
    turns = [Rotate90()] if dims == 3 else []  # turning needs a square
    made = augment.apply([Flip(), *turns], sample(size, corners), np.random.default_rng(seed))
    torch.testing.assert_close(made["boxes"][0], hull(made["image"]))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_boxes_grow_and_shrink_with_the_image(seed):
    scale = Scale(factor=(0.7, 1.4), padding="zeros")
    made = augment.apply([scale], sample((60, 80), (30, 20, 55, 40)), np.random.default_rng(seed))
    assert (made["boxes"][0] - hull(made["image"])).abs().max() <= 1


def test_masks_move_with_the_image_and_measure_the_boxes():
    one = sample((20, 20), (2, 3, 8, 9))
    one["masks"] = one["image"] > 0
    made = augment.apply([Flip(axes=(1,), probability=1.0)], one, np.random.default_rng(0))
    assert torch.equal(made["masks"][0], made["image"][0] > 0)
    assert made["boxes"].tolist() == [[12, 3, 18, 9]]


def test_proposals_move_too():
    one = sample((20, 20), (2, 3, 8, 9), proposals=torch.tensor([[0.0, 0, 5, 5]]))
    made = augment.apply([Flip(axes=(1,), probability=1.0)], one, np.random.default_rng(0))
    assert made["proposals"].tolist() == [[15, 0, 20, 5]]


def test_objects_that_leave_the_image_are_dropped_and_others_cut():
    image = torch.zeros(1, 10, 10)
    boxes = torch.tensor([[-8.0, 0, 2, 4], [-2, 0, 6, 4], [2, 2, 5, 5]])
    labels = torch.tensor([0, 1, 2])
    made = augment.inside({"image": image, "boxes": boxes, "labels": labels, "masks": None})
    assert made["labels"].tolist() == [1, 2]  # 20 % of the first is left
    assert made["boxes"].tolist() == [[0, 0, 6, 4], [2, 2, 5, 5]]


@pytest.mark.parametrize("shape", [(5, 7), (4, 5, 6)])
def test_boxes_of_masks_hold_exactly_their_pixels(shape):
    mask = torch.zeros(1, *shape, dtype=torch.bool)
    mask[(0, *[slice(1, 3)] * len(shape))] = True
    low, high = [1.0] * len(shape), [3.0] * len(shape)
    assert augment.mask_boxes(mask).tolist() == [[*low, *high]]
