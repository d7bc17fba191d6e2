"""One image with its objects."""

import pickle

import numpy as np
import pytest

from tests.detect.formats_kit import mask_scene
from vesalius.detect import rle
from vesalius.detect.scene import Scene, class_names
from vesalius.errors import DataError


def scene(**options):
    boxes = [[0, 0, 2, 3], [4, 5, 8, 6]]
    return Scene("a", "a.png", (10, 12), boxes, ("x", "y"), **options)


def test_what_is_not_given_is_filled_in():
    made = scene()
    assert (made.dims, made.count, made.split) == (2, 2, None)
    assert made.areas.tolist() == [6, 4]
    assert not made.crowd.any()
    assert not made.difficult.any()
    assert made.boxes.dtype == np.float64


def test_a_scene_without_objects_has_empty_arrays():
    empty = Scene("a", None, (4, 5, 6), [], ())
    assert empty.boxes.shape == (0, 6)
    assert empty.areas.shape == empty.crowd.shape == (0,)


@pytest.mark.parametrize(
    "wrong",
    [{"crowd": [True]}, {"areas": [1.0]}, {"scores": [0.1, 0.2, 0.3]}, {"masks": ()}],
)
def test_arrays_that_do_not_fit_are_refused(wrong):
    with pytest.raises(DataError, match=f"scene a: {next(iter(wrong))}"):
        scene(**wrong)


def test_boxes_of_other_dimensions_are_refused():
    with pytest.raises(DataError, match="one box of 6 numbers"):
        Scene("a", None, (4, 5, 6), [[0, 0, 1, 1]], ("x",))


def test_a_subset_takes_everything_along_by_flag_or_by_place():
    masks = [np.eye(5, dtype=bool), np.ones((5, 5), bool), np.tri(5, dtype=bool)]
    full = mask_scene(masks, labels=("a", "b", "c"), scores=[0.1, 0.2, 0.3])
    some = full.subset([2, 0])
    assert some.labels == ("c", "a")
    assert some.scores.tolist() == [0.3, 0.1]
    assert some.areas.tolist() == [15, 5]
    assert rle.decode(some.masks[0]).tolist() == np.tri(5).tolist()
    assert full.subset(np.array([True, False, True])).labels == ("a", "c")
    assert full.subset([]).count == 0
    with pytest.raises(DataError, match="keep"):
        full.subset(np.array([True]))


def test_boxes_and_areas_are_measured_on_masks():
    mask = np.zeros((6, 8), bool)
    mask[1:3, 2:7] = True
    given = Scene("a", None, (6, 8), [[0, 0, 8, 6]], ("x",))
    measured = given.with_masks([rle.encode(mask)])
    assert measured.boxes.tolist() == [[2, 1, 7, 3]]
    assert measured.areas.tolist() == [10]
    volume = np.zeros((4, 5, 6), bool)
    volume[1:3, 2, 3:6] = True
    solid = Scene("v", None, (4, 5, 6), [[0] * 6], ("x",)).with_masks([rle.encode(volume)])
    assert solid.boxes.tolist() == [[3, 2, 1, 6, 3, 3]]
    with pytest.raises(DataError, match="no masks"):
        given.with_masks()
    with pytest.raises(DataError, match="empty or not of size"):
        given.with_masks([rle.encode(np.zeros((6, 8), bool))])


def test_a_case_of_the_engine_and_back():
    made = scene(group="p1", extra={"split": "train"})
    case = made.to_case()
    assert (case.id, case.input, case.group) == ("a", made.path, "p1")
    assert case.extra["split"] == "train"
    again = Scene.from_case(pickle.loads(pickle.dumps(case)))
    assert again.boxes.tolist() == made.boxes.tolist()
    assert (again.group, again.extra) == ("p1", {"split": "train"})


def test_an_image_of_another_size_than_annotated_is_refused():
    scene().check_size((10, 12))
    with pytest.raises(DataError, match=r"a.png has the size \(12, 10\)"):
        scene().check_size((12, 10))


def test_class_names_are_sorted():
    assert class_names([scene(), scene()]) == ("x", "y")
