"""COCO json: what the format allows, and what is wrong with files."""

import json

import numpy as np
import pytest

from tests.detect.formats_kit import picture
from vesalius.detect import formats, rle
from vesalius.detect.formats import coco_results
from vesalius.errors import DataError


@pytest.fixture
def content(tmp_path):
    for name in ("a.png", "b.png", "empty.png"):
        picture(tmp_path / "images" / name)
    names = ["a.png", "b.png", "empty.png"]
    return {
        "images": [
            {"id": 10 * k, "file_name": name, "height": 12, "width": 16}
            for k, name in enumerate(names, start=1)
        ],
        "categories": [{"id": 7, "name": "WBC"}, {"id": 3, "name": "RBC"}],
        "annotations": [
            {"id": 1, "image_id": 20, "category_id": 7, "bbox": [1, 2, 3, 4], "area": 11.5},
            {"id": 2, "image_id": 10, "category_id": 3, "bbox": [0, 0, 16, 12], "iscrowd": 1},
        ],
    }


def put(folder, content):
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_boxes_are_corners_and_categories_sorted_by_number(content, tmp_path):
    found = formats.read(put(tmp_path, content))
    a, b, empty = found.scenes
    assert found.classes == ("RBC", "WBC")
    assert b.boxes.tolist() == [[1, 2, 4, 6]]
    assert b.areas.tolist() == [11.5]
    assert a.areas.tolist() == [192]
    assert a.crowd.tolist() == [True]
    assert empty.count == 0
    assert [scene.extra["image_id"] for scene in found.scenes] == [10, 20, 30]


def test_all_kinds_of_segmentation_are_the_same_mask(content, tmp_path):
    mask = np.zeros((12, 16), bool)
    mask[2:6, 1:4] = True
    runs = rle.encode(mask)
    kinds = [
        [[1, 2, 4, 2, 4, 6, 1, 6]],
        {"size": [12, 16], "counts": rle.to_string(runs)},
        {"size": [12, 16], "counts": runs.counts.tolist()},
    ]
    content["annotations"] = [
        {"id": k, "image_id": 10, "category_id": 3, "segmentation": kind}
        for k, kind in enumerate(kinds)
    ]
    scene = formats.find_scenes(put(tmp_path, content))[0]
    assert scene.boxes.tolist() == [[1, 2, 4, 6]] * 3
    assert scene.areas.tolist() == [12] * 3
    assert all(np.array_equal(rle.decode(made), mask) for made in scene.masks)


def test_polygons_travel_without_change(content, tmp_path):
    polygon = [1.25, 2.5, 4.125, 2.5, 3.3, 6.1]
    content["annotations"][0]["segmentation"] = [polygon]
    scenes = formats.find_scenes(put(tmp_path, content))
    formats.write(scenes, tmp_path / "out", format="coco", images="link")
    again = json.loads((tmp_path / "out" / "annotations.json").read_text(encoding="utf-8"))
    kept = [entry["segmentation"] for entry in again["annotations"] if "segmentation" in entry]
    assert kept == [[polygon]]
    assert (tmp_path / "out" / "images" / "a.png").is_symlink()


def test_everything_that_is_wrong_is_listed_at_once(content, tmp_path):
    content["images"].append({"id": 10, "file_name": "gone.png", "height": 5, "width": 5})
    content["categories"].append({"id": 8})
    wrong = [
        {"image_id": 99, "category_id": 3, "bbox": [1, 1, 2, 2]},
        {"image_id": 10, "category_id": 99, "bbox": [1, 1, 2, 2]},
        {"image_id": 20, "category_id": 3, "bbox": [1, 1, 0, 2]},
        {"image_id": 20, "category_id": 3, "bbox": [float("nan"), 1, 5, 2]},
        {"image_id": 20, "category_id": 3, "bbox": [10, 1, 10, 2]},
        {"image_id": 20, "category_id": 3},
        {"image_id": 20, "category_id": 3, "segmentation": [[1, 1, 2, 2]]},
        {"image_id": 20, "category_id": 3, "segmentation": {"size": [5, 5], "counts": "54"}},
    ]
    content["annotations"] += [{"id": k, **entry} for k, entry in enumerate(wrong, start=10)]
    content["annotations"].append(content["annotations"][0])
    with pytest.raises(DataError) as caught:
        formats.find_scenes(put(tmp_path, content))
    told = "\n".join(caught.value.problems)
    for words in (
        "image 4: the id 10 occurs twice",
        "gone.png was not found",
        "category 3: needs an id and a name",
        "annotation id 10: the image_id 99 is not declared",
        "annotation id 11: the category_id 99 is not declared",
        "annotation id 12: the box (1, 1, 1, 3) has no extent",
        "annotation id 13: the box (nan, 1, nan, 3) has numbers that are not finite",
        "annotation id 14: the box (10, 1, 20, 3) reaches beyond the image (16 x 12 pixels)",
        "annotation id 15: has neither bbox nor segmentation",
        "annotation id 16: a polygon of 4 numbers",
        "annotation id 17: the run lengths have the size (5, 5)",
        "annotation id 1: the id occurs twice",
    ):
        assert words in told


def test_repair_clips_and_drops_and_counts(content, tmp_path):
    boxes = [[10, 1, 10, 2], [1, 1, 0, 2], [float("inf"), 1, 5, 2], [20, 1, 5, 2], [15, 1, 1.5, 2]]
    content["annotations"] += [
        {"id": k, "image_id": 20, "category_id": 3, "bbox": box}
        for k, box in enumerate(boxes, start=10)
    ]
    found = formats.read(put(tmp_path, content), boxes="repair")
    assert found.scenes[1].boxes.tolist() == [[1, 2, 4, 6], [10, 1, 16, 3], [15, 1, 16, 3]]
    assert found.repairs == {
        "boxes clipped to the image": 2,
        "boxes that are not finite dropped": 1,
        "boxes without extent dropped": 1,
        "boxes outside the image dropped": 1,
    }
    with pytest.warns(UserWarning, match="2 boxes clipped"):
        formats.find_scenes(tmp_path, boxes="repair")


def test_up_to_a_pixel_beyond_the_border_is_clipped(content, tmp_path):
    content["annotations"][0]["bbox"] = [-1, 0, 18, 13]
    found = formats.read(put(tmp_path, content))
    assert found.scenes[1].boxes.tolist() == [[0, 0, 16, 12]]
    assert found.repairs == {"boxes clipped to the image": 1}


def test_an_object_without_outline_among_others_is_told(content, tmp_path):
    content["annotations"][0]["segmentation"] = [[1, 1, 5, 1, 5, 5]]
    bare = {"id": 5, "image_id": 20, "category_id": 3, "bbox": [2, 2, 3, 3], "segmentation": []}
    content["annotations"].append(bare)
    with pytest.raises(DataError, match="annotation id 5: has no outline"):
        formats.find_scenes(put(tmp_path, content))
    found = formats.read(tmp_path, boxes="repair")
    assert found.repairs == {"boxes taken as outlines": 1}
    assert rle.area(found.scenes[1].masks[1]) == 9


def test_labels_beyond_the_given_classes_are_refused_with_the_nearest_name(content, tmp_path):
    with pytest.raises(DataError, match=r"'WBC' is none of RBC, WBCs. Did you mean 'WBCs'"):
        formats.find_scenes(put(tmp_path, content), classes=["RBC", "WBCs"])


def test_sizes_are_compared_on_request(content, tmp_path):
    content["images"][2]["width"] = 15
    put(tmp_path, content)
    assert formats.find_scenes(tmp_path)[2].size == (12, 15)
    with pytest.raises(DataError, match=r"empty.png: the size \(12, 15\) is written"):
        formats.find_scenes(tmp_path, check_sizes=True)


def test_parts_of_a_data_set_come_from_the_files(content, tmp_path):
    for part in ("train", "val"):
        name = f"instances_{part}2017.json"
        images = [{**entry, "file_name": f"{part}_{entry['file_name']}"}
                  for entry in content["images"]]  # fmt: skip
        for entry in images:
            picture(tmp_path / f"{part}2017" / entry["file_name"])
        (tmp_path / "annotations").mkdir(exist_ok=True)
        text = json.dumps({**content, "images": images})
        (tmp_path / "annotations" / name).write_text(text)
        (tmp_path / "annotations" / f"captions_{part}2017.json").write_text('{"images": 3}')
    scenes = formats.find_scenes(tmp_path)
    assert [scene.split for scene in scenes] == ["train"] * 3 + ["valid"] * 3
    assert scenes[3].path == tmp_path / "val2017" / "val_a.png"


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "annotations.json").write_text('{"images": [')
    with pytest.raises(DataError, match=r"annotations.json: cannot be read as JSON"):
        formats.find_scenes(tmp_path, format="coco")


def test_results_are_read_beside_their_images_and_written_again(content, tmp_path):
    truth = formats.find_scenes(put(tmp_path, content))
    results = [
        {"image_id": 20, "category_id": 7, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.75},
        {"image_id": 30, "category_id": 3, "bbox": [-3.0, 2.0, 5.0, 4.0], "score": 0.5},
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    categories = coco_results.category_ids(tmp_path / "annotations.json")
    found = coco_results.read_results(path, truth, categories)
    assert [scene.count for scene in found] == [0, 1, 1]
    assert found[1].scores.tolist() == [0.75]
    assert found[2].boxes.tolist() == [[0, 2, 2, 6]]
    numbers = {name: number for number, name in categories.items()}
    assert coco_results.to_results(found[:2], numbers) == results[:1]
    path.write_text(json.dumps([{"image_id": 5, "category_id": 7, "bbox": [1, 2, 3, 4]}]))
    with pytest.raises(DataError, match="image_id 5"):
        coco_results.read_results(path, truth, categories)


@pytest.mark.parametrize(
    "damage",
    [
        {"images": 3},
        {"annotations": {"a": 1}},
        {"annotations": [5]},
        {"annotations": [{"image_id": [1], "category_id": {}}]},
        {"annotations": [{"image_id": 10, "category_id": 3, "bbox": [1, 2]}]},
        {"annotations": [{"image_id": 10, "category_id": 3, "bbox": "1234"}]},
        {"annotations": [{"image_id": 10, "category_id": 3, "segmentation": {"counts": 4}}]},
        {"images": [{"id": 1, "file_name": "a.png", "height": 0, "width": float("inf")}]},
        {"images": [{"id": [], "file_name": 4, "height": 1, "width": 1}]},
        {"categories": [{"id": "x", "name": None}]},
    ],
)
def test_damage_of_every_kind_is_told_and_not_stumbled_over(content, tmp_path, damage):
    with pytest.raises(DataError, match="problem"):
        formats.find_scenes(put(tmp_path, content | damage))
