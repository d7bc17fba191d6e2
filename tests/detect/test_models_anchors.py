import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vesalius.detect import boxes
from vesalius.detect.models.anchors import (
    AnchorGenerator,
    caffe_cell_anchors,
    cell_anchors,
    grid_anchors,
)
from vesalius.errors import RecipeError

PY_FASTER_RCNN = [  # as the authors print it: MATLAB counts pixels from 1, second corners included
    [-83, -39, 100, 56],
    [-175, -87, 192, 104],
    [-359, -183, 376, 200],
    [-55, -55, 72, 72],
    [-119, -119, 136, 136],
    [-247, -247, 264, 264],
    [-35, -79, 52, 96],
    [-79, -167, 96, 184],
    [-167, -343, 184, 360],
]


def test_the_nine_anchors_are_those_of_the_authors_code():
    expected = torch.tensor(PY_FASTER_RCNN) - torch.tensor([1, 1, 0, 0])
    assert torch.equal(caffe_cell_anchors(), expected.float())


def test_rounded_anchors_are_those_of_torchvision():
    cells = cell_anchors([32], rounded=True)
    assert cells.tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]


def test_anchors_of_detectron2s_test():
    cells = cell_anchors([32, 64], [0.25, 1, 4])
    anchors = grid_anchors(cells, (1, 2), (4, 4))
    expected = [
        [-32.0, -8.0, 32.0, 8.0],
        [-16.0, -16.0, 16.0, 16.0],
        [-8.0, -32.0, 8.0, 32.0],
        [-64.0, -16.0, 64.0, 16.0],
        [-32.0, -32.0, 32.0, 32.0],
        [-16.0, -64.0, 16.0, 64.0],
    ]
    # Theirs run over sizes first, ours over ratios; the second element lies 4 pixels to the right.
    assert sorted(anchors[:6].tolist()) == sorted(expected)
    assert torch.equal(anchors[6:], anchors[:6] + torch.tensor([4.0, 0, 4, 0]))


@given(
    size=st.floats(4, 200),
    ratio=st.floats(0.2, 5),
    depth=st.none() | st.floats(0.2, 5),
)
def test_area_ratio_and_depth_are_as_asked(size, ratio, depth):
    (box,) = cell_anchors([size], [ratio], depth_ratios=None if depth is None else [depth])
    dims = 2 if depth is None else 3
    sides = box[dims:] - box[:dims]
    assert torch.allclose(box[dims:], -box[:dims])
    assert float(sides[0] * sides[1]) == pytest.approx(size**2, rel=1e-4)
    assert float(sides[1] / sides[0]) == pytest.approx(ratio, rel=1e-4)
    if depth is not None:
        assert float(sides[2]) == pytest.approx(size * depth, rel=1e-4)


def test_anchors_of_a_volume_stand_in_array_order():
    generator = AnchorGenerator(
        strides=[4], sizes=[[8, 16]], aspect_ratios=[1], depth_ratios=[0.5, 1]
    )
    (anchors,) = generator([torch.zeros(1, 1, 2, 3, 5)], (8, 12, 20))
    assert generator.per_element == 4
    assert anchors.shape == (2 * 3 * 5 * 4, 6)
    centres = ((anchors[:, :3] + anchors[:, 3:]) / 2)[::4]
    assert centres[1].tolist() == [4, 0, 0]  # x runs first
    assert centres[5].tolist() == [0, 4, 0]
    assert centres[15].tolist() == [0, 0, 4]
    assert boxes.area(anchors[:4]).tolist() == [8 * 8 * 4, 16 * 16 * 8, 8**3, 16**3]


def test_fitted_strides_are_the_sides_over_the_elements():
    maps = [torch.zeros(1, 1, 13, 13)]
    options = {"strides": [64], "sizes": [64], "aspect_ratios": [1]}
    (true,) = AnchorGenerator(**options)(maps, (800, 800))
    (fitted,) = AnchorGenerator(**options, fitted_strides=True)(maps, (800, 800))
    assert (true[1] - true[0]).tolist() == [64, 0, 64, 0]
    assert (fitted[1] - fitted[0]).tolist() == [61, 0, 61, 0]


@pytest.mark.parametrize("sizes", [[32], [32, 64, 128], [32, 0], [32, ()]])
def test_sizes_that_do_not_fit_the_levels_are_refused(sizes):
    with pytest.raises(RecipeError, match="anchor"):
        AnchorGenerator(strides=[4, 8], sizes=sizes)


def test_anchors_are_no_part_of_the_state():
    assert not AnchorGenerator(strides=[4], sizes=[32]).state_dict()
