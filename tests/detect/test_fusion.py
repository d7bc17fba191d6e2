"""Weighted boxes fusion, by hand and by what must hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.detect.fusion import Boxes, fuse_boxes, iou
from vesalius.errors import DataError


def test_two_boxes_meet_where_their_scores_pull_them():
    a = Boxes.of([[0, 0, 10, 10]], [0.8], [1])
    b = Boxes.of([[1, 1, 11, 11]], [0.4], [1])
    found = fuse_boxes([a, b])
    np.testing.assert_allclose(found.boxes, [[1 / 3, 1 / 3, 31 / 3, 31 / 3]])
    np.testing.assert_allclose(found.scores, [0.6])


def test_what_one_detector_of_two_saw_counts_half():
    a = Boxes.of([[0, 0, 10, 10]], [0.8], [0])
    found = fuse_boxes([a, Boxes.of([], [], [])])
    np.testing.assert_allclose(found.scores, [0.4])
    np.testing.assert_allclose(found.boxes, a.boxes)


def test_weights_scale_scores_and_pull_the_corners():
    a, b = Boxes.of([[0, 0, 10, 10]], [0.5], [0]), Boxes.of([[2, 0, 12, 10]], [0.5], [0])
    found = fuse_boxes([a, b], weights=[3, 1])
    np.testing.assert_allclose(found.boxes, [[0.5, 0, 10.5, 10]])
    np.testing.assert_allclose(found.scores, [0.5])  # mean of 0.75 and 0.25


def test_labels_are_not_mixed_and_far_boxes_stay_apart():
    a = Boxes.of([[0, 0, 4, 4], [9, 9, 12, 12]], [0.9, 0.7], [0, 0])
    b = Boxes.of([[0, 0, 4, 4]], [0.8], [1])
    found = fuse_boxes([a, b])
    assert found.labels.tolist() == [0, 1, 0]
    np.testing.assert_allclose(found.scores, [0.45, 0.4, 0.35])


def test_a_box_joins_the_cluster_that_it_overlaps_most():
    first = Boxes.of([[0, 0, 10, 10], [6, 0, 16, 10]], [0.9, 0.8], [0, 0])
    second = Boxes.of([[5, 0, 15, 10]], [0.5], [0])
    found = fuse_boxes([first, second], overlap=0.3)
    np.testing.assert_allclose(found.boxes[0], [(6 * 0.8 + 5 * 0.5) / 1.3, 0, 203 / 13, 10])
    np.testing.assert_allclose(found.boxes[1], [0, 0, 10, 10])


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(*[st.floats(0, 50)] * 2, *[st.floats(0.1, 20)] * 2, st.floats(0, 1)),
        max_size=6,
    ),
    st.integers(1, 3),
)
def test_detectors_that_agree_are_left_as_they_are_and_nothing_leaves_the_hull(rows, number):
    corners = [[x, y, x + w, y + h] for x, y, w, h, _ in rows]
    one = Boxes.of(corners, [row[4] for row in rows], [0] * len(rows))
    found = fuse_boxes([one] * number)
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert len(found.boxes) <= len(rows)
    if rows:
        hull = np.concatenate([one.boxes[:, :2].min(0), one.boxes[:, 2:].max(0)])
        assert (found.boxes[:, :2] >= hull[:2] - 1e-9).all()
        assert (found.boxes[:, 2:] <= hull[2:] + 1e-9).all()
    if len(rows) == 1:
        np.testing.assert_allclose(found.boxes, one.boxes)
        np.testing.assert_allclose(found.scores, one.scores)


def test_iou_by_hand():
    np.testing.assert_allclose(iou([0, 0, 2, 2], [[1, 1, 3, 3], [5, 5, 6, 6]]), [1 / 7, 0])
    assert iou([0, 0, 0, 0], [[0, 0, 0, 0]])[0] == 0


def test_broken_boxes_are_refused():
    with pytest.raises(DataError, match="x1 > x2"):
        Boxes.of([[5, 0, 1, 1]], [0.5], [0])
    with pytest.raises(DataError, match="scores"):
        Boxes.of([[0, 0, 1, 1]], [], [])
    with pytest.raises(DataError, match="outside 0 to 1"):
        Boxes.of([[0, 0, 1, 1]], [2], [0])
