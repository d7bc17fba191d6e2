"""Polygons around masks, and masks made when they are asked for."""

import pickle

import numpy as np
from hypothesis import given, settings

from tests.detect.formats_kit import masks
from vesalius.detect import rle
from vesalius.detect.formats.outlines import Outlines, polygons_of, signed_area, trace


@settings(max_examples=60, deadline=None)
@given(masks(size=(7, 6)))
def test_rings_enclose_the_mask_exactly(drawn):
    mask = drawn[0]
    rings = trace(mask)
    assert sum(signed_area(ring) for ring in rings) == mask.sum()
    filled = np.zeros(mask.shape, int)
    for ring in rings:
        made = rle.decode(rle.from_polygons([ring], mask.shape))
        filled += np.where(made, np.sign(signed_area(ring)), 0).astype(int)
    assert np.array_equal(filled, mask)


@settings(max_examples=60, deadline=None)
@given(masks(size=(7, 6)))
def test_there_is_one_ring_per_piece_and_one_per_hole(drawn):
    from scipy.ndimage import label

    mask = np.pad(drawn[0], 1)
    signs = [signed_area(ring) > 0 for ring in trace(mask)]
    assert sum(signs) == label(mask, np.ones((3, 3)))[1]
    assert len(signs) - sum(signs) == label(~mask)[1] - 1


def test_rings_of_a_frame_go_around_outside_and_inside():
    mask = np.ones((3, 4), bool)
    mask[1, 1:3] = False
    outer, inner = sorted(trace(mask), key=signed_area, reverse=True)
    assert sorted(outer.tolist()) == [[0, 0], [0, 3], [4, 0], [4, 3]]
    assert sorted(inner.tolist()) == [[1, 1], [1, 2], [3, 1], [3, 2]]
    assert polygons_of([rle.encode(mask)], 0)[1] == 1


def test_masks_are_made_once_and_do_not_travel():
    square = np.array([[1.0, 1], [4, 1], [4, 3], [1, 3]])
    outlines = Outlines([[square]], (5, 6))
    assert outlines[0] is outlines[-1]
    assert rle.area(outlines[0]) == 6
    assert outlines.box(0) == (1, 1, 4, 3)
    again = pickle.loads(pickle.dumps(outlines))
    assert again[0] == outlines[0]
    assert [rle.area(runs) for runs in again.subset([0, 0])] == [6, 6]
    assert outlines[:1] == (outlines[0],)


def test_areas_of_polygons_are_exact_and_crossing_ones_are_counted():
    triangle = np.array([[0.0, 0], [4, 0], [0, 3]])
    crossing = np.array([[0.0, 0], [4, 4], [4, 0], [0, 4]])
    square = np.array([[1.0, 1], [4, 1], [4, 3], [1, 3]])
    outlines = Outlines([[triangle], [crossing], [square, square]], (5, 6))
    assert outlines.area(0) == 6
    assert outlines.area(1) == rle.area(outlines[1]) > 4
    assert outlines.area(2) == 6
