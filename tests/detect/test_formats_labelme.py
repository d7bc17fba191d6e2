"""LabelMe json."""

import base64
import io
import json
import math

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.detect.formats_kit import picture
from vesalius.detect import formats, rle
from vesalius.errors import DataError


def put(folder, *shapes, name="a", size=(12, 16), **more):
    picture(folder / f"{name}.png")
    content = {"version": "5", "imagePath": f"{name}.png", "imageData": "x" * 99, "shapes": shapes}
    content |= {"imageHeight": size[0], "imageWidth": size[1], **more}
    (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def shape(kind, *points, label="RBC", **more):
    return {"label": label, "shape_type": kind, "points": points, "group_id": None, **more}


def test_rectangles_alone_are_boxes_in_any_order_of_corners(tmp_path):
    put(tmp_path, shape("rectangle", [8, 9], [2, 3], flags={"difficult": True}))
    scene = formats.find_scenes(tmp_path)[0]
    assert scene.boxes.tolist() == [[2, 3, 8, 9]]
    assert scene.masks is None
    assert scene.difficult.tolist() == [True]


def test_polygons_circles_and_rectangles_together_have_masks(tmp_path):
    put(
        tmp_path,
        shape("polygon", [1, 1], [5, 1], [5, 4], [1, 4]),
        shape("circle", [8, 6], [8, 10], label="WBC"),
        shape("rectangle", [2, 3], [4, 6]),
    )
    scene = formats.find_scenes(tmp_path)[0]
    assert scene.boxes[1] == pytest.approx([4, 2, 12, 10])
    assert [rle.area(scene.masks[k]) for k in (0, 2)] == [12, 6]
    assert rle.area(scene.masks[1]) == pytest.approx(math.pi * 16, rel=0.1)


def test_shapes_of_one_group_are_one_object(tmp_path):
    put(
        tmp_path,
        shape("polygon", [1, 1], [3, 1], [3, 3], [1, 3], group_id=4),
        shape("polygon", [6, 6], [9, 6], [9, 8], [6, 8], group_id=4),
        shape("polygon", [6, 6], [9, 6], [9, 8], [6, 8], group_id=4, label="WBC"),
    )
    scene = formats.find_scenes(tmp_path)[0]
    assert scene.labels == ("RBC", "WBC")
    assert scene.boxes[0].tolist() == [1, 1, 9, 8]
    assert rle.area(scene.masks[0]) == 10


def test_masks_inside_the_file_are_placed(tmp_path):
    crop = np.eye(3, dtype=bool)
    kept = io.BytesIO()
    Pillow.fromarray(crop).save(kept, format="PNG")
    text = base64.b64encode(kept.getvalue()).decode()
    put(tmp_path, shape("mask", [4, 2], [6, 4], mask=text))
    scene = formats.find_scenes(tmp_path)[0]
    assert scene.boxes.tolist() == [[4, 2, 7, 5]]
    assert np.array_equal(rle.decode(scene.masks[0])[2:5, 4:7], crop)


def test_everything_that_is_wrong_is_listed_at_once(tmp_path):
    put(
        tmp_path,
        shape("point", [1, 1]),
        shape("polygon", [1, 1], [2, 2]),
        shape("rectangle", [1, 1], [1, 5]),
        shape("polygon", [1, 1], [50, 2], [3, 9]),
        {"label": "", "points": []},
    )
    put(tmp_path, name="b", size=(1, 2))
    put(tmp_path, name="c", imagePath="gone/far.png")
    (tmp_path / "c.png").unlink()
    (tmp_path / "d.json").write_text("{")
    (tmp_path / "e.json").write_text("{}")
    with pytest.raises(DataError) as caught:
        formats.find_scenes(tmp_path)
    told = "\n".join(caught.value.problems)
    for words in (
        "a.json, shape 1: a point has no extent",
        "a.json, shape 2: 2 points make no polygon",
        "a.json, shape 3: the box (1, 1, 1, 5) has no extent",
        "a.json, shape 4: the box (1, 1, 50, 9) reaches beyond",
        "a.json, shape 5: needs a label",
        "b.json: imageHeight and imageWidth are (1, 2), b.png has (12, 16)",
        "c.json: the image gone/far.png was not found",
        "d.json: cannot be read as JSON",
        "e.json: has no list of shapes",
    ):
        assert words in told


def test_points_are_dropped_on_request(tmp_path):
    put(tmp_path, shape("point", [1, 1]), shape("rectangle", [1, 1], [5, 5]))
    found = formats.read(tmp_path, boxes="repair")
    assert found.scenes[0].count == 1
    assert found.repairs == {"points and lines dropped": 1}
