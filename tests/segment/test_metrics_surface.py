"""Surfaces and distances against other algorithms, and their invariances."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from scipy.spatial.distance import cdist
from skimage.measure import marching_cubes

from vesalius.segment.metrics import nearest
from vesalius.segment.metrics.areas import surface_areas
from vesalius.segment.metrics.surface import (
    SurfaceDistances,
    border_voxels,
    surface_distances,
    surfels,
)

SPACINGS = {2: (2.0, 0.75), 3: (1.5, 0.8, 0.5)}
KINDS = pytest.mark.parametrize("elements", ["surfels", "voxels"])


@st.composite
def masks(draw, count=2):
    """Masks of one shape, 2D or 3D, none of them empty."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=2, max_size=3)))
    drawn = [draw(hnp.arrays(bool, shape)) for _ in range(count)]
    assume(all(mask.any() for mask in drawn))
    return drawn


def positions(surface):
    return np.argwhere(surface.where)


def by_hand(truth, prediction, spacing, elements):
    """All pairs of elements."""
    extract = surfels if elements == "surfels" else border_voxels
    one, other = (positions(extract(m, spacing)) * spacing for m in (truth, prediction))
    table = cdist(one, other)
    return table.min(axis=1), table.min(axis=0)


@KINDS
@settings(max_examples=60, deadline=None)
@given(pair=masks(), few=st.sampled_from([0, 3000]))
def test_distances_are_the_smallest_of_all_pairs(elements, pair, few):
    spacing = SPACINGS[pair[0].ndim]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "FEW", few)
        found = surface_distances(*pair, spacing=spacing, elements=elements)
    truth, prediction = by_hand(*pair, spacing, elements)
    np.testing.assert_allclose(found.truth, truth, atol=1e-12)
    np.testing.assert_allclose(found.prediction, prediction, atol=1e-12)


@pytest.mark.parametrize("norm", ["euclidean", "taxicab", "chessboard"])
@pytest.mark.parametrize("dims", [2, 3])
def test_far_masks_are_measured_in_every_norm_by_every_search(norm, dims, monkeypatch):
    rng = np.random.default_rng(3)
    shape, spacing = (40,) * dims, SPACINGS[dims]
    truth, prediction = np.zeros(shape, bool), np.zeros(shape, bool)
    truth[(slice(1, 8),) * dims] = True
    prediction[(slice(25, 39),) * dims] = rng.random((14,) * dims) < 0.5
    one, other = (np.argwhere(border_voxels(m, spacing).where) for m in (truth, prediction))
    metric = {"euclidean": "euclidean", "taxicab": "cityblock", "chessboard": "chebyshev"}[norm]
    expected = cdist(one * spacing, other * spacing, metric).min(axis=1)
    for reach, few in ((100, 10**9), (0, 0), (100, 0), (3000, 0)):
        monkeypatch.setattr(nearest, "REACH", reach)
        monkeypatch.setattr(nearest, "FEW", few)
        nearest._offsets.cache_clear()
        found = surface_distances(truth, prediction, spacing=spacing, elements="voxels", norm=norm)
        np.testing.assert_allclose(found.truth, expected, atol=1e-12)
    nearest._offsets.cache_clear()


def test_the_distance_transform_and_the_tree_agree():
    rng = np.random.default_rng(0)
    spacing = (1.5, 0.8, 0.5)
    here, there = (border_voxels(rng.random((9, 8, 7)) < p, spacing) for p in (0.5, 0.03))
    queries = positions(here)
    by_tree = nearest._by_tree(queries, there, spacing, 2.0)
    by_transform = nearest._by_transform(queries, there, spacing)
    lengths = [np.linalg.norm((queries - at) * spacing, axis=1) for at in (by_tree, by_transform)]
    np.testing.assert_allclose(*lengths)


@settings(max_examples=60, deadline=None)
@given(masks(1))
def test_border_voxels_are_what_erosion_takes_away(drawn):
    (mask,) = drawn
    expected = mask & ~ndimage.binary_erosion(mask)
    np.testing.assert_array_equal(border_voxels(mask, (1.0,) * mask.ndim).where, expected)


def test_areas_are_those_of_marching_cubes_with_few_corners_inside():
    spacing = (3.0, 2.0, 0.7)
    table = surface_areas(spacing)
    for code in range(1, 255):
        bits = [code >> bit & 1 for bit in range(8)]
        if sum(bits) > 4:
            continue
        cube = np.array(bits, dtype=float).reshape(2, 2, 2).T
        points, faces, _, _ = marching_cubes(cube, 0.5, spacing=spacing, method="lorensen")
        a, b, c = np.moveaxis(points[faces], 1, 0)
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
        assert table[code] == pytest.approx(area, rel=1e-6)


@pytest.mark.parametrize("spacing", [(2.0, 0.75), (3.0, 2.0, 0.7)])
def test_areas_of_inside_and_outside_are_the_same(spacing):
    table = surface_areas(spacing)
    assert table[0] == table[-1] == 0
    assert (table[1:-1] > 0).all()
    np.testing.assert_allclose(table, table[::-1])


def test_the_area_of_a_box_is_that_of_its_faces_with_rounded_edges():
    box = np.zeros((12, 12, 12), bool)
    box[2:10, 3:9, 4:8] = True
    areas = surfels(box, (1.0, 1.0, 1.0)).areas
    faces = 2 * (7 * 5 + 5 * 3 + 7 * 3)
    edges = 4 * (7 + 5 + 3) * np.sqrt(0.5)
    corners = 8 * np.sqrt(3) / 8
    assert areas.sum() == pytest.approx(faces + edges + corners)


@KINDS
@settings(max_examples=40, deadline=None)
@given(pair=masks())
def test_swapping_the_masks_swaps_the_directions(elements, pair):
    one = surface_distances(*pair, elements=elements)
    other = surface_distances(*pair[::-1], elements=elements)
    np.testing.assert_array_equal(one.truth, other.prediction)
    np.testing.assert_array_equal(one.prediction_areas, other.truth_areas)


@KINDS
@settings(max_examples=60, deadline=None)
@given(three=masks(3))
def test_the_hausdorff_distance_obeys_the_triangle_inequality(elements, three):
    def hausdorff(one, other):
        return surface_distances(
            one, other, spacing=SPACINGS[one.ndim], elements=elements
        ).hausdorff()

    a, b, c = three
    assert hausdorff(a, c) <= hausdorff(a, b) + hausdorff(b, c) + 1e-9


@KINDS
def test_identical_masks_have_no_distance(elements):
    mask = np.random.default_rng(0).random((7, 8, 9)) < 0.3
    found = surface_distances(mask, mask, elements=elements)
    assert found.hausdorff() == found.area_average() == 0
    assert found.within(0.0) == 1


@KINDS
def test_an_empty_mask_is_infinitely_far(elements):
    mask = np.ones((3, 4), bool)
    found = surface_distances(mask, ~mask, elements=elements)
    assert found.truth.size
    assert np.isinf(found.truth).all()
    assert not found.prediction.size
    assert not found.comparable


@KINDS
def test_the_border_of_what_does_not_count_is_no_surface(elements):
    mask, valid = np.zeros((8, 8), bool), np.ones((8, 8), bool)
    mask[2:6, :] = True
    valid[:, 4:] = False
    extract = surfels if elements == "surfels" else border_voxels
    where = extract(mask & valid, (1.0, 1.0), valid).where
    # The upper and lower edge of the band, the image's left edge, and nothing at column 4.
    expected = extract(mask, (1.0, 1.0)).where
    expected[:, 4:] = False
    np.testing.assert_array_equal(where, expected)


def test_percentiles_follow_their_names():
    truth, prediction = np.arange(11.0), np.array([0.0, 20.0])
    found = SurfaceDistances(truth, prediction, np.ones(11), np.array([99.0, 1.0]))
    assert found.largest_percentile(0.95) == pytest.approx(19.0)
    assert found.pooled_percentile(0.5) == 5.0
    # 95% of the truth's area ends in its 11th element, of the prediction's in its first.
    assert found.area_percentile(0.95) == 10.0
    assert found.area_average() == pytest.approx((55 + 20) / 111)
    assert found.mean_of_averages() == pytest.approx((5 + 0.2) / 2)
    assert found.pooled_average() == pytest.approx(75 / 13)
    assert found.within(0.0) == pytest.approx(100 / 111)
    assert found.mean_of_shares(0.0) == pytest.approx((1 / 11 + 1 / 2) / 2)
