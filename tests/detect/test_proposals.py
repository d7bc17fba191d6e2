"""Proposals in files and their recall."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from vesalius.detect import proposals as module
from vesalius.detect.proposals import (
    Proposals,
    average_recall,
    best_overlaps,
    cached,
    mean_average_best_overlap,
    read_proposals,
    recall,
    selective_search,
    write_proposals,
)
from vesalius.errors import DataError

finite = st.floats(-1e4, 1e4, allow_nan=False)


@st.composite
def tables(draw):
    """Draw proposals of several images, all 2D or 3D, all with or without scores."""
    dims, scored = draw(st.sampled_from([2, 3])), draw(st.booleans())
    names = draw(st.lists(st.text("abc/é .7,\"'", min_size=1), unique_by=str.strip, max_size=4))
    found = {}
    for name in filter(None, map(str.strip, names)):
        count = draw(st.integers(0, 3))
        low = np.array(draw(st.lists(finite, min_size=count * dims, max_size=count * dims)))
        low = low.reshape(count, dims)
        scores = np.array(draw(st.lists(finite, min_size=count, max_size=count)))
        boxes = np.concatenate([low, low + 1.5], axis=1)
        found[name] = Proposals(boxes, np.sort(scores)[::-1] if scored else None)
    return found


@settings(max_examples=40, deadline=None)
@given(found=tables(), suffix=st.sampled_from([".npz", ".json", ".csv"]))
def test_what_is_written_comes_back(found, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / f"proposals{suffix}"
    write_proposals(path, found)
    again = read_proposals(path)
    write_proposals(path, again)  # what was read can be written
    again = read_proposals(path)
    assert list(again) == list(found)
    for name, part in found.items():
        if len(part):
            np.testing.assert_array_equal(again[name].boxes, part.boxes)
            np.testing.assert_array_equal(again[name].scores, part.scores)
        else:
            assert len(again[name]) == 0


def test_the_best_score_comes_first(tmp_path):
    path = tmp_path / "p.json"
    path.write_text('{"a": [[0, 0, 1, 1, 0.2], [0, 0, 2, 2, 0.9], [0, 0, 3, 3, 0.2]]}')
    found = read_proposals(path)["a"]
    assert found.boxes[:, 2].tolist() == [2, 1, 3]
    assert found.scores.tolist() == [0.9, 0.2, 0.2]
    assert len(found.best(2)) == 2


def test_coco_results_are_widths_and_heights(tmp_path):
    path = tmp_path / "results.json"
    rows = [{"image_id": 7, "bbox": [10, 20, 5, 6], "score": 0.5, "category_id": 1}]
    path.write_text(json.dumps(rows))
    assert read_proposals(path)["7"].boxes.tolist() == [[10, 20, 15, 26]]


def test_the_authors_mat_files_count_from_one_and_name_rows_first(tmp_path):
    boxes, images = np.empty((1, 2), object), np.empty((2, 1), object)
    boxes[0, 0] = np.array([[1, 1, 375, 500], [11, 21, 30, 60]], np.uint16)
    boxes[0, 1] = np.zeros((0, 4))
    images[:, 0] = ["000005", "000007"]
    savemat(tmp_path / "voc.mat", {"boxes": boxes, "images": images})
    found = read_proposals(tmp_path / "voc.mat")
    assert found["000005"].boxes.tolist() == [[0, 0, 500, 375], [20, 10, 60, 30]]
    assert len(found["000007"]) == 0


def test_a_folder_holds_one_table_per_image(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0, 0, 4, 4, 0.1], [1, 1, 5, 5, 0.3]]))
    np.savez(tmp_path / "b.npz", boxes=np.array([[0, 0, 1, 2.0]]), scores=np.array([1.0]))
    np.savez(tmp_path / "more.npz", c=np.array([[0, 0, 1, 2.0]]), d=np.zeros((0, 4)))
    found = read_proposals(tmp_path)
    assert {name: len(part) for name, part in found.items()} == {"a": 2, "b": 1, "c": 1, "d": 0}
    assert found["a"].boxes[0].tolist() == [1, 1, 5, 5]


def test_all_wrong_tables_are_named_at_once(tmp_path):
    path = tmp_path / "p.json"
    path.write_text('{"a": [[5, 0, 1, 1]], "b": [[0, 0, 1, NaN]], "c": [[0, 0, 1]], "d": ["x"]}')
    with pytest.raises(DataError) as caught:
        read_proposals(path)
    assert len(caught.value.problems) == 4
    assert "image 'a': box 1 ends where it begins" in caught.value.problems[0]


def test_a_csv_error_names_the_line(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("image,x1,y1,x2,y2\na,0,0,1,1\na,0,zero,1,1\na,0,0\n")
    with pytest.raises(DataError) as caught:
        read_proposals(path)
    assert [problem.split(": ")[0][-6:] for problem in caught.value.problems] == [
        "line 3",
        "line 4",
    ]


def test_a_csv_without_corners_says_which_columns_are_missing(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("image,x1,y1,w,h\n")
    with pytest.raises(DataError, match="no column x2, y2"):
        read_proposals(path)


def test_a_pickle_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "p.pkl"
    path.write_bytes(pickle.dumps({"boxes": [], "indexes": []}))
    with pytest.raises(DataError, match="runs whatever code"):
        read_proposals(path)
    np.save(tmp_path / "objects.npy", np.array([{}, None], object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        read_proposals(tmp_path / "objects.npy")


@pytest.mark.parametrize(
    "name", ["nothing.npz", "broken.npz", "broken.json", "broken.mat", "x.txt"]
)
def test_files_that_cannot_be_read_are_named(name, tmp_path):
    if name != "nothing.npz":
        (tmp_path / name).write_bytes(b"{ not what it says")
    with pytest.raises(DataError, match=name):
        read_proposals(tmp_path / name)


def test_a_mixture_is_not_written(tmp_path):
    flat, deep = Proposals(np.array([[0, 0, 1, 1.0]])), Proposals(np.array([[0, 0, 0, 1, 1, 1.0]]))
    with pytest.raises(DataError, match="2D or 3D"):
        write_proposals(tmp_path / "p.npz", {"a": flat, "b": deep})
    assert not list(tmp_path.iterdir())


def test_kept_boxes_come_back_without_a_search(tmp_path, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    first = cached(tmp_path, picture, seed=5)
    np.testing.assert_array_equal(first, selective_search(picture, seed=5))
    monkeypatch.setattr(module, "selective_search", lambda *_, **__: pytest.fail("searched again"))
    np.testing.assert_array_equal(cached(tmp_path, picture, seed=5), first)


def test_another_pixel_type_or_setting_is_another_entry(tmp_path):
    picture = np.zeros((20, 20, 3), np.uint8)
    changed = picture.copy()
    changed[3, 4, 1] = 1
    for image, options in (
        (picture, {}),
        (changed, {}),
        (picture.reshape(10, 40, 3), {}),
        (picture.astype(np.float32), {}),
        (picture, {"seed": 1}),
        (picture, {"mode": "single"}),
        (picture, {"min_size": 5}),
    ):
        cached(tmp_path, image, **options)
    assert len(list(tmp_path.iterdir())) == 7


def test_a_damaged_entry_is_an_error_that_names_it(tmp_path):
    picture = np.zeros((9, 9), np.uint8)
    cached(tmp_path, picture)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(b"damaged")
    with pytest.raises(DataError, match=entry.name):
        cached(tmp_path, picture)


TRUTH = [
    np.array([[0, 0, 10, 10], [20, 0, 30, 10.0]]),
    np.zeros((0, 4)),
    np.array([[0, 0, 4, 4.0]]),
]
FOUND = [np.array([[0, 0, 10, 20], [20, 0, 30, 9.0]]), np.array([[0, 0, 1, 1.0]]), np.zeros((0, 4))]


def test_overlaps_and_recall_by_hand():
    np.testing.assert_allclose(best_overlaps(FOUND, TRUTH), [0.5, 0.9, 0])
    np.testing.assert_allclose(best_overlaps(FOUND, TRUTH, limit=1), [0.5, 0, 0])
    assert recall(FOUND, TRUTH, [0.5, 0.7, 0.95]) == {0.5: 2 / 3, 0.7: 1 / 3, 0.95: 0}
    assert average_recall(FOUND, TRUTH) == pytest.approx(2 * 0.4 / 3)
    assert mean_average_best_overlap(FOUND, TRUTH) == pytest.approx(1.4 / 3)
    labels = [["cell", "nucleus"], [], ["cell"]]
    assert mean_average_best_overlap(FOUND, TRUTH, labels) == pytest.approx((0.25 + 0.9) / 2)


def test_recall_of_nothing_is_not_a_number():
    nothing = [np.zeros((0, 4))]
    assert np.isnan(recall(FOUND[:1], nothing)[0.5])
    assert np.isnan(average_recall(FOUND[:1], nothing))
    assert np.isnan(mean_average_best_overlap(FOUND[:1], nothing))


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_average_recall_is_the_area_under_the_recall(values):
    # A proposal of the height v in a true box of height 1 overlaps it by v.
    truth = [np.array([[0, 0, 1, 1.0]]) for _ in values]
    found = [np.array([[0, 0, 1, value]]) for value in values]
    thresholds = np.linspace(0.5, 1, 2001)
    curve = [np.mean(np.array(values) >= t) for t in thresholds]
    assert average_recall(found, truth) == pytest.approx(
        2 * np.trapezoid(curve, thresholds), abs=2e-3
    )


def test_proposals_of_another_number_of_images_are_refused():
    with pytest.raises(DataError, match="3 images, but truth of 1"):
        recall(FOUND, TRUTH[:1])
