"""Recognise, write and convert."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.detect.formats_kit import mask_scene, picture
from vesalius.detect import formats
from vesalius.detect.scene import Scene
from vesalius.errors import DataError, RecipeError

ACCEPTANCE = Path(__file__).parents[1] / "acceptance" / "detect"


@pytest.fixture
def scene(tmp_path):
    path = picture(tmp_path / "pictures" / "a.png")
    return Scene("a", path, (12, 16), [[1, 2, 3, 4], [5, 5, 9, 9]], ("x", "y"), crowd=[0, 1],
                 areas=[3.0, 16.0], extra={"split": "train"})  # fmt: skip


def test_a_conversion_counts_and_names_its_losses(scene, tmp_path):
    formats.write([scene], tmp_path / "coco", format="coco", classes=["y", "x", "z"])
    done = formats.convert(tmp_path / "coco", tmp_path / "yolo", format="yolo", images="link")
    assert (done.read.format, done.counts) == ("coco", {"y": 1, "x": 1, "z": 0})
    assert done.splits == {"train": 1}
    assert done.written.losses == {
        "crowd flags": 1,
        "annotated areas (taken from the boxes)": 1,
        "image numbers": 1,
    }
    assert (tmp_path / "yolo" / "images" / "train" / "a.png").resolve() == scene.path.resolve()
    again = formats.read(tmp_path / "yolo")
    assert again.classes == ("y", "x", "z")


def test_a_chain_through_all_formats_of_boxes_changes_no_box(scene, tmp_path):
    formats.write([scene], tmp_path / "start", format="coco", images="copy")
    last = tmp_path / "start"
    for name in ("voc", "yolo", "labelme", "csv", "coco"):
        formats.convert(last, tmp_path / name, format=name, images="copy")
        last = tmp_path / name
    again = formats.find_scenes(last)[0]
    assert np.allclose(again.boxes, scene.boxes)
    assert again.labels == scene.labels
    assert again.split == "train"


def test_nothing_is_left_where_writing_fails(scene, tmp_path, monkeypatch):
    from vesalius.detect.formats import yolo

    def fail(scenes, target):
        target.write("labels/a.txt", "0")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(yolo, "write", fail)
    with pytest.raises(OSError, match="no space left"):
        formats.write([scene], tmp_path / "out", format="yolo")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_folder_in_use_is_not_overwritten(scene, tmp_path):
    with pytest.raises(RecipeError, match="is in use"):
        formats.write([scene], tmp_path / "pictures", format="csv")
    (tmp_path / "empty").mkdir()
    formats.write([scene], tmp_path / "empty", format="csv")
    assert (tmp_path / "empty" / "boxes.csv").exists()


def test_what_a_format_cannot_hold_at_all_is_refused(scene, tmp_path):
    volume = mask_scene([np.ones((2, 3, 4), bool)])
    with pytest.raises(DataError, match="volumes"):
        formats.write([volume], tmp_path / "out", format="coco")
    with pytest.raises(RecipeError, match=r"\['y'\] is missing"):
        formats.write([scene], tmp_path / "out", format="coco", classes=["x"])
    with pytest.raises(RecipeError, match="no format 'coca'"):
        formats.write([scene], tmp_path / "out", format="coca")
    with pytest.raises(DataError, match="occur twice"):
        formats.write([scene, scene], tmp_path / "out", format="coco")
    with pytest.raises(RecipeError, match="images is 'move'"):
        formats.write([scene], tmp_path / "out", format="coco", images="move")


def test_what_is_not_understood_lists_what_is(tmp_path):
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match="COCO json"):
        formats.read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="it has: nothing"):
        formats.read(tmp_path / "empty")
    with pytest.raises(DataError, match="does not exist"):
        formats.read(tmp_path / "gone")
    with pytest.raises(RecipeError, match="boxes is 'fix'"):
        formats.read(tmp_path, boxes="fix")


def test_equal_ids_are_refused(tmp_path):
    for folder in ("x", "y"):
        picture(tmp_path / folder / "a.png")
    rows = ["image,x1,y1,x2,y2,label", "x/a.png,1,1,2,2,u", "y/a.png,1,1,2,2,u"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    scenes = formats.find_scenes(tmp_path)
    assert len({scene.id for scene in scenes}) == 2
    picture(tmp_path / "x" / "a.bmp")
    (tmp_path / "t.csv").write_text("\n".join([*rows, "x/a.bmp,1,1,2,2,u"]))
    with pytest.raises(DataError, match="occurs 2 times"):
        formats.find_scenes(tmp_path)


def test_files_say_the_same_as_those_of_an_independent_converter(tmp_path):
    told = json.loads((ACCEPTANCE / "formats.json").read_text(encoding="utf-8"))
    path = picture(tmp_path / "pictures" / "a.png", (480, 640))
    labels, boxes = [box[0] for box in told["boxes"]], [box[1:] for box in told["boxes"]]
    scene = Scene("a", path, (480, 640), boxes, labels)
    for name in ("yolo", "labelme", "coco"):
        formats.write([scene], tmp_path / name, format=name, images="copy")
    lines = (tmp_path / "yolo" / "labels" / "a.txt").read_text().splitlines()
    for mine, theirs in zip(lines, told["yolo"], strict=True):
        assert [float(v) for v in mine.split()] == pytest.approx([float(v) for v in theirs.split()])
    shapes = json.loads((tmp_path / "labelme" / "a.json").read_text())["shapes"]
    assert [shape["points"] for shape in shapes] == told["labelme"]
    annotations = json.loads((tmp_path / "coco" / "annotations.json").read_text())["annotations"]
    assert [entry["bbox"] for entry in annotations] == told["coco"]
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("\n".join(told["yolo"]))
    again = formats.find_scenes(tmp_path / "yolo")[0]
    assert np.allclose(again.boxes, boxes)
    assert again.labels == tuple(labels)
