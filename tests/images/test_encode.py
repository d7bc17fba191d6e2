import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import binary_erosion
from skimage.color import rgb2lab
from skimage.segmentation import find_boundaries

from vesalius.errors import DataError
from vesalius.images.encode import (
    OKABE_ITO,
    _as_seen,
    colours_to_labels,
    from_one_hot,
    instances_to_border,
    instances_to_foreground,
    labels_to_colours,
    one_hot,
    palette,
)

LABELS = arrays.arrays(
    np.int64,
    arrays.array_shapes(min_dims=3, max_dims=4, max_side=6),
    elements=st.integers(0, 4),
)
INSTANCES = arrays.arrays(np.int32, (12, 13), elements=st.sampled_from([0, 0, 3, 3, 7]))


@settings(max_examples=40, deadline=None)
@given(labels=LABELS)
def test_one_hot_and_back_is_the_identity_for_both_libraries(labels):
    encoded = one_hot(labels, 5)
    assert encoded.shape == (labels.shape[0], 5, *labels.shape[1:])
    assert encoded.dtype == np.float32
    assert (encoded.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(from_one_hot(encoded), labels)
    in_torch = one_hot(torch.from_numpy(labels), 5)
    np.testing.assert_array_equal(in_torch.numpy(), encoded)
    np.testing.assert_array_equal(from_one_hot(in_torch).numpy(), labels)
    expected = torch.nn.functional.one_hot(torch.from_numpy(labels), 5).movedim(-1, 1).float()
    assert torch.equal(in_torch, expected)


@pytest.mark.parametrize("ignore", [255, -100, 1])
@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_ignored_pixels_are_zero_in_all_channels_and_come_back(ignore, convert):
    labels = np.array([[[0, 1, 2], [ignore, 2, ignore]]])
    encoded = one_hot(convert(labels), 3, ignore=ignore)
    np.testing.assert_array_equal(np.asarray(encoded).sum(axis=1)[labels == ignore], 0)
    np.testing.assert_array_equal(np.asarray(from_one_hot(encoded, ignore=ignore)), labels)


@pytest.mark.parametrize("wrong", [-1, 3, 255])
@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_a_label_out_of_range_is_named(wrong, convert):
    labels = np.array([[[0, 1], [2, wrong]]])
    with pytest.raises(DataError, match=f"Label {wrong} is out of range: 3 classes"):
        one_hot(convert(labels), 3)


def test_unsigned_labels_are_compared_correctly():
    assert one_hot(np.array([[0, 2]], dtype=np.uint8), 3).tolist() == [[[1, 0], [0, 0], [0, 1]]]
    assert one_hot(torch.tensor([[0, 2]], dtype=torch.uint8), 3)[0, 2].tolist() == [0, 1]


def test_the_palette_begins_with_a_clear_background_and_okabe_and_ito():
    colours = palette(40)
    assert colours[0].tolist() == [0, 0, 0, 0]
    assert [tuple(c) for c in colours[1:8, :3].tolist()] == list(OKABE_ITO)
    assert (colours[1:, 3] == 255).all()
    np.testing.assert_array_equal(palette(5), colours[:5])


def test_a_thousand_colours_are_all_different():
    assert len(np.unique(palette(1000), axis=0)) == 1000
    with pytest.raises(ValueError, match="1 to 1000"):
        palette(0)


def test_colours_are_told_apart_by_colour_blind_eyes():
    seen = _as_seen(palette(13)[1:, :3])
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1).min(axis=-1)
    # 0.02 is about a just noticeable difference in OKLab.
    assert distances[~np.eye(12, dtype=bool)].min() > 0.06


def test_colour_space_agrees_with_skimage_on_lightness_order():
    colours = np.random.default_rng(0).integers(0, 256, (200, 3))
    ours = _as_seen(colours)[:, 0, 0]
    theirs = rgb2lab(colours[None] / 255)[0, :, 0]
    assert np.corrcoef(ours, theirs)[0, 1] > 0.98


@settings(max_examples=40, deadline=None)
@given(labels=arrays.arrays(np.uint8, (4, 5), elements=st.integers(0, 30)))
def test_labels_become_colours_and_come_back(labels):
    colours = palette(31)
    painted = labels_to_colours(labels, colours)
    assert painted.shape == (4, 5, 4)
    np.testing.assert_array_equal(colours_to_labels(painted, colours), labels)
    table = {tuple(row[:3].tolist()): label for label, row in enumerate(colours)}
    np.testing.assert_array_equal(colours_to_labels(painted[..., :3], table), labels)


def test_unknown_colours_are_counted_and_located():
    array = np.zeros((3, 4, 3), dtype=np.uint8)
    array[1, 2] = (255, 0, 0)
    array[2, 1:] = (10, 20, 30)
    with pytest.raises(DataError) as error:
        colours_to_labels(array, {(0, 0, 0): 0})
    assert error.value.problems == [
        "(10, 20, 30): 3 pixel(s), the first at (2, 1)",
        "(255, 0, 0): 1 pixel(s), the first at (1, 2)",
    ]
    noise = np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="more colours; is it a JPEG"):
        colours_to_labels(noise, {(0, 0, 0): 0})
    with pytest.raises(DataError, match="8-bit RGB"):
        colours_to_labels(np.zeros((3, 3)), {(0, 0, 0): 0})
    with pytest.raises(DataError, match="Label 2 is out of range"):
        labels_to_colours(np.array([2]), palette(2))


@settings(max_examples=40, deadline=None)
@given(labels=INSTANCES)
def test_borders_equal_skimages_inner_boundaries(labels):
    classes = instances_to_border(labels)
    expected = find_boundaries(labels, connectivity=2, mode="inner", background=0)
    np.testing.assert_array_equal(classes == 2, expected & (labels > 0))
    np.testing.assert_array_equal(classes > 0, instances_to_foreground(labels) == 1)


@settings(max_examples=40, deadline=None)
@given(labels=INSTANCES, width=st.integers(1, 3))
def test_the_interior_is_each_instance_eroded(labels, width):
    interior = instances_to_border(labels, width=width) == 1
    square = np.ones((3, 3))
    expected = np.zeros_like(interior)
    for label in (3, 7):
        expected |= binary_erosion(labels == label, square, iterations=width, border_value=1)
    np.testing.assert_array_equal(interior, expected)


def test_touching_borders_are_only_where_instances_meet():
    labels = np.zeros((7, 12), dtype=np.int32)
    labels[2:5, 1:5], labels[2:5, 5:8], labels[2:5, 9:11] = 1, 2, 3
    touching = instances_to_border(labels, kind="touching") == 2
    expected = np.zeros_like(touching)
    expected[2:5, 4:6] = True
    np.testing.assert_array_equal(touching, expected)
    volume = np.repeat(labels[None], 3, axis=0)
    np.testing.assert_array_equal(instances_to_border(volume, kind="touching")[1] == 2, expected)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        instances_to_border(labels, width=0)
    with pytest.raises(ValueError, match="touching"):
        instances_to_border(labels, kind="some")
