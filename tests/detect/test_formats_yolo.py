"""YOLO txt."""

import pytest

from tests.detect.formats_kit import picture
from vesalius.detect import formats, rle
from vesalius.errors import DataError


def put(folder, name, *lines, part=""):
    picture(folder / "images" / part / f"{name}.png")
    path = folder / "labels" / part / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def name_them(folder, text="names: [RBC, WBC]"):
    (folder / "data.yaml").write_text(text)


def test_boxes_are_shares_of_the_image(tmp_path):
    put(tmp_path, "a", "1 0.5 0.5 0.25 0.5", "", "0 0.25 0.25 0.5 0.5")
    picture(tmp_path / "images" / "empty.png")
    name_them(tmp_path)
    found = formats.read(tmp_path)
    a, empty = found.scenes
    assert a.boxes.tolist() == [[6, 3, 10, 9], [0, 0, 8, 6]]
    assert a.labels == ("WBC", "RBC")
    assert empty.count == 0
    assert found.classes == ("RBC", "WBC")


def test_polygons_and_scores_are_told_by_the_count_of_numbers(tmp_path):
    square = "0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75"
    put(tmp_path, "a", f"0 {square} 0.5")
    put(tmp_path, "b", "0 0.5 0.5 0.5 0.5 0.75")
    name_them(tmp_path, "names: {0: RBC}")
    a, b = formats.find_scenes(tmp_path)
    assert a.boxes.tolist() == [[4, 3, 8, 9]]
    assert rle.area(a.masks[0]) == 24
    assert (a.scores[0], b.scores[0]) == (0.5, 0.75)
    assert b.masks is None


@pytest.mark.parametrize("inside", [True, False])
def test_parts_lie_inside_or_outside(tmp_path, inside):
    for part in ("train", "val"):
        if inside:
            put(tmp_path, part[0], "0 0.5 0.5 0.1 0.1", part=part)
        else:
            put(tmp_path / part, part[0], "0 0.5 0.5 0.1 0.1")
    name_them(tmp_path)
    scenes = formats.find_scenes(tmp_path)
    assert [(scene.id, scene.split) for scene in scenes] == [("t", "train"), ("v", "valid")]


def test_names_come_from_a_list_too_or_from_the_caller(tmp_path):
    put(tmp_path, "a", "1 0.5 0.5 0.1 0.1")
    with pytest.raises(DataError, match=r"no data.yaml or classes.txt"):
        formats.find_scenes(tmp_path)
    assert formats.find_scenes(tmp_path, classes=["x", "y"])[0].labels == ("y",)
    (tmp_path / "classes.txt").write_text("u\nv\n")
    assert formats.find_scenes(tmp_path)[0].labels == ("v",)


def test_everything_that_is_wrong_is_listed_at_once(tmp_path):
    put(tmp_path, "a", "0 0.5 0.5 0.1", "2 0.5 0.5 0.1 0.1", "0 1.5 0.5 0.1 0.1", "0 a b c d")
    put(tmp_path, "b", "0 0.5 0.5 0 0.1", "0 0.1 0.1 0.2 0.2 0.3 0.3 nan", "0.5 0.5 0.5 0.1 0.1")
    (tmp_path / "labels" / "lost.txt").write_text("")
    (tmp_path / "images" / "c.png").write_bytes(b"no png")
    name_them(tmp_path)
    with pytest.raises(DataError) as caught:
        formats.find_scenes(tmp_path)
    told = "\n".join(caught.value.problems)
    for words in (
        "a.txt, line 1: 4 numbers",
        "a.txt, line 2: the class 2 is not between 0 and 1",
        "a.txt, line 3: 1.5 is not between 0 and 1",
        "a.txt, line 4: could not convert",
        "b.txt, line 1: the box (8, 5.4, 8, 6.6) has no extent",
        "b.txt, line 2: the score nan is not between 0 and 1",
        "b.txt, line 3: the class 0.5",
        "lost.txt: has no image",
        "c.png cannot be read",
    ):
        assert words in told


def test_repair_clips_shares_beyond_the_image(tmp_path):
    put(tmp_path, "a", "0 0.0 0.5 1.0 0.5", "0 1.5 0.5 0.1 0.1")
    name_them(tmp_path)
    with pytest.raises(DataError, match="reaches beyond"):
        formats.find_scenes(tmp_path)
    found = formats.read(tmp_path, boxes="repair")
    assert found.scenes[0].boxes.tolist() == [[0, 3, 8, 9]]
    assert found.repairs["boxes outside the image dropped"] == 1


def test_txt_files_alone_are_recognised_where_the_images_lie_elsewhere(tmp_path):
    picture(tmp_path / "pictures" / "a.png")
    (tmp_path / "txt").mkdir()
    (tmp_path / "txt" / "a.txt").write_text("0 0.5 0.5 0.25 0.5")
    found = formats.read(tmp_path / "txt", images=tmp_path / "pictures", classes=["RBC"])
    assert found.format == "yolo"
    assert found.scenes[0].boxes.tolist() == [[6, 3, 10, 9]]


def test_a_data_yaml_may_lie_apart(tmp_path):
    put(tmp_path / "set", "a", "0 0.5 0.5 0.25 0.5")
    (tmp_path / "conf").mkdir()
    name_them(tmp_path / "conf", "path: ../set\nnames: [RBC]")
    assert formats.find_scenes(tmp_path / "conf" / "data.yaml")[0].labels == ("RBC",)
