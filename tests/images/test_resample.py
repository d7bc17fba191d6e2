"""Resampling: invariants, and agreement with scikit-image and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter
from skimage.transform import resize

from vesalius.errors import DataError, RecipeError
from vesalius.images.resample import (
    axis_weights,
    median_spacing,
    resample,
    resample_to,
    resampled_affine,
    resampled_size,
)

SIZES = st.integers(2, 3).flatmap(lambda n: st.tuples(*[st.integers(1, 12)] * n))
LABEL_MAPS = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.int32]),
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=9),
    elements=st.sampled_from([0, 1, 2, 7, 100]),
)
RANDOM = np.random.default_rng(0)


@given(SIZES, st.data(), st.sampled_from([0, 1, 3]), st.floats(-1e3, 1e3, width=32))
def test_a_constant_stays_constant(size, data, order, value):
    new = data.draw(st.tuples(*[st.integers(1, 12)] * len(size)))
    out = resample_to(np.full((2, *size), value, np.float32), new, order=order)
    assert out.shape == (2, *new)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, value, rtol=1e-5, atol=1e-5)


@given(LABEL_MAPS, st.sampled_from([0, 1]))
def test_the_same_spacing_changes_nothing(labels, order):
    spacing = (0.7,) * labels.ndim
    same = resample(labels, spacing=spacing, new_spacing=spacing, order=order, is_label=True)
    np.testing.assert_array_equal(same, labels)
    image = resample(labels[None], spacing=spacing, new_spacing=spacing, order=order)
    np.testing.assert_array_equal(image[0], labels)


@pytest.mark.parametrize("order", [1, 3])
def test_both_kernels_interpolate(order):
    np.testing.assert_allclose(axis_weights(9, 9, order=order).toarray(), np.eye(9), atol=1e-7)


@given(LABEL_MAPS, st.data(), st.sampled_from([0, 1]))
@settings(max_examples=200)
def test_the_set_of_labels_never_grows(labels, data, order):
    size = data.draw(st.tuples(*[st.integers(1, 15)] * labels.ndim))
    out = resample_to(labels, size, order=order, is_label=True)
    assert out.shape == size
    assert out.dtype == labels.dtype
    assert set(np.unique(out)) <= set(np.unique(labels))


@given(LABEL_MAPS, st.data())
def test_labels_win_as_if_every_indicator_were_resampled_whole(labels, data):
    size = data.draw(st.tuples(*[st.integers(1, 15)] * labels.ndim))
    values = np.unique(np.append(labels.ravel(), 0))
    indicators = np.stack([labels == value for value in values]).astype(np.float32)
    shares = resample_to(indicators, size, order=1)
    out = resample_to(labels, size, is_label=True)
    won = np.take_along_axis(shares, np.searchsorted(values, out)[None], 0)[0]
    assert (won >= shares.max(0) - 1e-5).all()


def test_an_enlarged_and_reduced_label_map_is_the_same():
    labels = np.zeros((20, 24), np.uint16)
    labels[3:11, 4:13], labels[12:18, 8:20] = 1, 900
    large = resample_to(labels, (61, 70), is_label=True)
    np.testing.assert_array_equal(resample_to(large, (20, 24), is_label=True), labels)


def test_a_mask_that_shrinks_goes_by_majority():
    labels = np.zeros((6, 6), np.uint8)
    labels[::3, ::3] = 1
    assert not resample_to(labels, (2, 2), is_label=True).any()


@pytest.mark.parametrize(("order", "error"), [(1, 0.05), (3, 0.01)])
@pytest.mark.parametrize("new", [(24, 45, 33), (30, 25, 31)])
def test_a_smooth_image_survives_the_way_there_and_back(order, error, new):
    smooth = gaussian_filter(RANDOM.normal(size=(27, 30, 28)), 3)[None]
    back = resample_to(resample_to(smooth, new, order=order), smooth.shape[1:], order=order)
    inner = (slice(None), *[slice(3, -3)] * 3)
    assert np.abs(back - smooth)[inner].max() < error * np.ptp(smooth)


@pytest.mark.parametrize("new", [(13, 31), (20, 20), (41, 15)])
def test_linear_enlargement_agrees_with_scikit_image(new):
    image = RANDOM.random((9, 12))
    expected = resize(image, new, order=1, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(resample_to(image[None], new)[0], expected, atol=1e-6)


@pytest.mark.parametrize("order", [1, 3])
def test_pillow_agrees_also_when_shrinking(order):
    from PIL import Image as Pillow

    image = RANDOM.random((40, 50)).astype(np.float32)
    how = {1: Pillow.Resampling.BILINEAR, 3: Pillow.Resampling.BICUBIC}[order]
    expected = np.asarray(Pillow.fromarray(image).resize((17, 23), how))
    ours = resample_to(image[None], (23, 17), order=order)[0]
    # Pillow leaves out what lies beyond the edge; the edge voxel is repeated here
    np.testing.assert_allclose(ours[3:-3, 3:-3], expected[3:-3, 3:-3], atol=2e-4)


def test_shrinking_does_not_alias():
    stripes = np.tile([0.0, 1.0], 64)[None, None].repeat(8, 1)
    small = resample_to(stripes, (8, 40), order=1)
    assert np.abs(small[..., 2:-2] - 0.5).max() < 0.1


@given(st.tuples(*[st.integers(4, 20)] * 3), st.tuples(*[st.floats(0.4, 2.5)] * 3))
@settings(max_examples=40)
def test_a_point_keeps_its_place_in_the_world(size, new_spacing):
    affine = np.diag([0.8, 1.0, 1.6, 1.0])
    affine[:3, 3] = (5, -7, 11)
    spacing = (0.8, 1.0, 1.6)
    grid = np.indices(size).reshape(3, -1)
    world = (affine @ np.vstack([grid, np.ones(grid.shape[1])]))[:3].reshape(3, *size)
    new_size = resampled_size(size, spacing=spacing, new_spacing=new_spacing)
    coordinates = resample_to(world, new_size)
    new = resampled_affine(affine, size=size, new_size=new_size)
    new_grid = np.indices(new_size).reshape(3, -1)
    expected = (new @ np.vstack([new_grid, np.ones(new_grid.shape[1])]))[:3]
    voxel = np.maximum(spacing, np.diag(new)[:3])
    off = np.abs(coordinates.reshape(3, -1) - expected) / voxel[:, None]
    assert off.max() <= 0.5 + 1e-4  # at the edge, where the image ends
    from_end = np.array(new_size)[:, None] - 1 - new_grid
    inner = (np.minimum(new_grid, from_end) >= 2).all(0)
    # a widened kernel that is sampled at voxels has its centre of mass a little off
    assert off[:, inner].size == 0 or off[:, inner].max() < 0.1


@given(st.integers(1, 500), st.floats(0.1, 9), st.floats(0.1, 9))
def test_the_size_is_the_rounded_length(size, spacing, new_spacing):
    (new,) = resampled_size((size,), spacing=(spacing,), new_spacing=(new_spacing,))
    assert new >= 1
    assert new == 1 or abs(new - size * spacing / new_spacing) <= 0.5


def test_nearest_takes_the_voxel_that_holds_the_centre():
    row = np.array([[1, 2, 3, 4]], np.uint8)
    assert resample_to(row, (1, 8), order=0, is_label=True).tolist() == [[1, 1, 2, 2, 3, 3, 4, 4]]
    assert resample_to(row, (1, 2), order=0, is_label=True).tolist() == [[2, 4]]


def test_the_median_spacing_is_taken_per_axis():
    assert median_spacing([(1, 2, 3), (1, 4, 9), (2, 4, 5)]) == (1.0, 4.0, 5.0)
    with pytest.raises(DataError, match="Keep pictures and volumes apart"):
        median_spacing([(1, 2), (1, 2, 3)])


def test_wrong_arguments_are_explained():
    image = np.zeros((1, 4, 4))
    with pytest.raises(RecipeError, match=r"order 3 is none of \(0, 1\)"):
        resample_to(image[0], (2, 2), order=3, is_label=True)
    with pytest.raises(RecipeError, match="positive"):
        resample(image, spacing=(1, 0), new_spacing=(1, 1))
    with pytest.raises(RecipeError, match="2 axes need"):
        resample(image, spacing=(1, 1, 1), new_spacing=(1, 1, 1))
