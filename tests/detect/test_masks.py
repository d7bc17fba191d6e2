import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.detect import rle
from vesalius.detect.masks import paste, to_runs
from vesalius.detect.models.outputs import Detections
from vesalius.errors import RecipeError


@settings(max_examples=50, deadline=None)
@given(
    corners=st.lists(st.integers(-20, 60), min_size=4, max_size=4),
    cells=st.integers(1, 9),
)
def test_a_full_mask_covers_exactly_its_box(corners, cells):
    x1, x2, y1, y2 = corners[0], corners[0] + abs(corners[1]) + 1, corners[2], 0
    y2 = y1 + abs(corners[3]) + 1
    pasted = paste(
        torch.ones(1, cells, cells),
        torch.tensor([[x1, y1, x2, y2]]).float(),
        (30, 40),
        threshold=0.5,
    )
    expected = np.zeros((30, 40), bool)
    expected[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = True
    assert np.array_equal(pasted[0].numpy(), expected)


def test_a_mask_of_the_boxs_own_size_is_copied():
    mask = torch.rand(1, 5, 7)
    pasted = paste(mask, torch.tensor([[3.0, 2, 10, 7]]), (12, 20))
    assert torch.allclose(pasted[0, 2:7, 3:10], mask[0], atol=1e-6)
    assert float(pasted.sum()) == pytest.approx(float(mask.sum()), rel=1e-5)


def test_enlarged_masks_are_interpolated_between_the_centres_of_cells():
    # Cells of 2 pixels with centres at 1 and 3; pixels have theirs at 0.5, 1.5, 2.5, 3.5.
    pasted = paste(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0.0, 0, 4, 1]]), (1, 4))
    assert pasted[0, 0].tolist() == pytest.approx([0, 0.25, 0.75, 1])


def test_a_fraction_of_a_pixel_moves_the_mask():
    mask = torch.tensor([[[1.0, 0.0]]])
    (left,) = paste(mask, torch.tensor([[0.0, 0, 20, 1]]), (1, 30))
    (right,) = paste(mask, torch.tensor([[0.5, 0, 20.5, 1]]), (1, 30))
    assert float(right[0, 10] - left[0, 10]) == pytest.approx(0.5 / 10, abs=1e-6)


def test_volumes_are_pasted_along_all_axes():
    mask = torch.zeros(1, 2, 2, 2)
    mask[0, 1, 0, 1] = 1  # far in z, near in y, far in x
    box = torch.tensor([[2.0, 4, 6, 10, 12, 14]])
    pasted = paste(mask, box, (20, 18, 16), threshold=0.5)[0]
    z, y, x = (pasted.nonzero().float().mean(dim=0) + 0.5).tolist()
    assert z > 10
    assert y < 8
    assert x > 6
    assert pasted[13, 4, 9]
    assert not pasted[6, 4, 9]
    old = paste(mask, box, (20, 18, 16), method="torchvision")[0]
    assert bool(old[13, 5, 9] > 0.4)


@pytest.mark.parametrize("method", ["exact", "torchvision"])
def test_boxes_beside_the_image_leave_it_empty(method):
    boxes = torch.tensor([[-30.0, -30, -20, -20], [50, 50, 60, 60], [-5, 40, 3, 70]])
    pasted = paste(torch.ones(3, 4, 4), boxes, (32, 32), method=method)
    assert pasted.shape == (3, 32, 32)
    assert not pasted.any()


def test_run_lengths_are_those_of_the_pasted_masks():
    masks = torch.rand(3, 6, 6)
    boxes = torch.tensor([[1.5, 2, 9, 11], [0, 0, 5, 5], [10, 10, 30, 30]])
    runs = to_runs(masks, boxes, (20, 25))
    pasted = paste(masks, boxes, (20, 25), threshold=0.5)
    for one, mask in zip(runs, pasted, strict=True):
        assert np.array_equal(rle.decode(one).astype(bool), mask.numpy())
    found = Detections(boxes, torch.ones(3), torch.zeros(3, dtype=torch.int64), masks)
    assert torch.equal(found.paste((20, 25)), pasted)
    assert torch.equal(found.subset(torch.tensor([2])).paste((20, 25)), pasted[2:])


def test_no_masks_give_none():
    assert paste(torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 6)).shape == (0, 5, 6)
    found = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="no masks"):
        found.paste((5, 6))
    with pytest.raises(RecipeError, match="method of pasting"):
        paste(torch.zeros(1, 2, 2), torch.zeros(1, 4), (5, 6), method="nearest")
