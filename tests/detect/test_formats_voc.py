"""Pascal VOC xml."""

import numpy as np
import pytest

from tests.detect.formats_kit import picture
from vesalius.detect import formats
from vesalius.errors import DataError

XML = """<annotation><filename>{name}</filename>
<size><width>{width}</width><height>12</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{label}</name><difficult>{difficult}</difficult><bndbox>
<xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def put(folder, name, *boxes, width=16, difficult=0, label="RBC", image=True):
    if image:
        picture(folder / "JPEGImages" / f"{name}.png")
    objects = "".join(OBJECT.format(*box, label=label, difficult=difficult) for box in boxes)
    path = folder / "Annotations" / f"{name}.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(XML.format(name=f"{name}.png", width=width, objects=objects))
    return path


def test_a_box_includes_its_last_pixel_and_counts_from_one(tmp_path):
    put(tmp_path, "a", (3, 1, 5, 12), (16, 12, 16, 12), difficult=1)
    scene = formats.find_scenes(tmp_path)[0]
    assert scene.boxes.tolist() == [[2, 0, 5, 12], [15, 11, 16, 12]]
    assert scene.areas.tolist() == [36, 1]
    assert scene.difficult.all()


def test_boxes_counted_from_zero_are_clipped_by_a_pixel(tmp_path):
    put(tmp_path, "a", (0, 0, 5, 5))
    found = formats.read(tmp_path)
    assert found.scenes[0].boxes.tolist() == [[0, 0, 5, 5]]
    assert found.repairs == {"boxes clipped to the image": 1}


def test_splits_come_from_image_sets(tmp_path):
    for name in "abc":
        put(tmp_path, name)
    sets = tmp_path / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("a\n")
    (sets / "val.txt").write_text("b\n\n")
    (sets / "trainval.txt").write_text("a\nb\n")
    scenes = formats.find_scenes(tmp_path)
    assert [scene.split for scene in scenes] == ["train", "valid", None]
    assert scenes[0].to_case().extra["split"] == "train"
    (sets / "val.txt").write_text("a\nz\n")
    with pytest.raises(DataError) as caught:
        formats.find_scenes(tmp_path)
    assert len(caught.value.problems) == 2


def test_a_folder_of_xml_beside_its_images_is_understood(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(XML.format(name="renamed.png", width=0, objects=""))
    assert formats.find_scenes(tmp_path)[0].path == tmp_path / "a.png"


def test_everything_that_is_wrong_is_listed_at_once(tmp_path):
    put(tmp_path, "narrow", (1, 1, 3, 3), width=15)
    put(tmp_path, "lost", image=False)
    put(tmp_path, "flat", (5, 5, 4, 9), ("x", 1, 3, 3), ("", 1, 3, 3), (1, 1, 19, 3))
    put(tmp_path, "flag", (1, 1, 3, 3), difficult="perhaps")
    put(tmp_path, "broken").write_text("<annotation>")
    picture(tmp_path / "JPEGImages" / "bare.png")
    with pytest.raises(DataError) as caught:
        formats.find_scenes(tmp_path)
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 9
    for words in (
        "narrow.xml: the size 15 x 12 is written, narrow.png has 16 x 12",
        "lost.xml: the image lost.png was not found",
        "flat.xml, object 1: the box (4, 4, 4, 9) has no extent",
        "flat.xml, object 2: could not convert string to float",
        "flat.xml, object 3: needs <name> and <bndbox>",
        "flat.xml, object 4: the box (0, 0, 19, 3) reaches beyond the image",
        "<difficult> is 'perhaps'",
        "broken.xml: cannot be read as xml",
        "bare.png: has no xml",
    ):
        assert words in told


def test_real_blood_cells(shared_data):
    found = formats.read(shared_data / "blood-cells")
    assert (found.format, len(found.scenes)) == ("voc", 292)
    assert found.classes == ("Platelets", "RBC", "WBC")
    assert sum(scene.count for scene in found.scenes) == 3943
    assert sum(scene.split == "train" for scene in found.scenes) == 205
    first = found.scenes[0]
    assert first.id == "BloodImage_00000"
    assert np.array_equal(first.boxes[0], [259, 176, 491, 376])
