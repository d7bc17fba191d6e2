"""What is written is read again, in every format, as far as the format can say it."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.detect.formats_kit import CLASSES, box_scenes, mask_scene, masks, picture, same
from vesalius.detect import formats, rle
from vesalius.detect.formats import outlines

QUICK = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
LOST = {
    "coco": {"areas"},
    "voc": {"areas", "crowd", "difficult", "group"},
    "yolo": {"areas", "crowd", "difficult", "truncated", "group"},
    "labelme": {"areas"},
    "csv": {"areas"},
}


def written_and_read(scene, name, *, images="copy", classes=CLASSES):
    with tempfile.TemporaryDirectory() as place:
        path = picture(Path(place) / "source" / "a.png", scene.size)
        out = Path(place) / "out"
        scene = replace(scene, path=path)
        written = formats.write([scene], out, format=name, classes=classes, images=images)
        found = formats.read(out, classes=classes)
        assert found.format == name
        again = found.scenes[0]
        assert again.path.exists()
        # masks are made while the files are there
        return replace(again, masks=again.masks and tuple(again.masks)), written


@pytest.mark.parametrize("name", sorted(LOST))
@QUICK
@given(scene=box_scenes())
def test_boxes_come_back_from_every_format(name, scene):
    again, written = written_and_read(scene, name)
    same(scene, again, but=LOST[name])
    assert again.id == "a"
    lost = " ".join(written.losses)
    assert ("crowd" in lost) == (bool(scene.crowd.any()) and name in ("voc", "yolo"))
    assert ("groups" in lost) == (scene.group is not None and name in ("voc", "yolo", "coco"))


@QUICK
@given(scene=box_scenes())
def test_voc_keeps_what_is_hard_and_turns_crowds_into_it(scene):
    again, _ = written_and_read(scene, "voc")
    assert again.difficult.tolist() == (scene.difficult | scene.crowd).tolist()


@pytest.mark.parametrize("name", ["coco", "labelme"])
@QUICK
@given(arrays=masks(count=2))
def test_masks_come_back_exactly_holes_and_pieces_included(name, arrays):
    scene = mask_scene(arrays, labels=("RBC", "WBC"))
    again, written = written_and_read(scene, name)
    same(scene, again)
    assert not written.losses or set(written.losses) == {"classes without objects"}


@QUICK
@given(arrays=masks(count=1))
def test_yolo_keeps_the_largest_piece_and_says_what_it_dropped(arrays):
    again, written = written_and_read(mask_scene(arrays), "yolo")
    rings = outlines.trace(arrays[0])
    pieces = [ring for ring in rings if outlines.signed_area(ring) > 0]
    assert written.losses.get("parts of masks (only the largest is kept)", 0) == len(pieces) - 1
    assert written.losses.get("holes in masks (filled)", 0) == len(rings) - len(pieces)
    largest = max(map(outlines.signed_area, pieces))
    # a hole may hold a piece, which is filled with it
    assert rle.area(again.masks[0]) == pytest.approx(largest)
    if len(rings) == 1:
        assert np.array_equal(rle.decode(again.masks[0]), arrays[0])


@pytest.mark.parametrize("classes", [("RBC",), ("RBC", "WBC")])
@QUICK
@given(arrays=masks(size=(6, 7), count=3), labels=st.permutations(["RBC", "RBC", "WBC"]))
def test_numbered_masks_come_back_where_objects_do_not_overlap(classes, arrays, labels):
    free = np.ones_like(arrays[0])
    apart = []
    for array in arrays:
        apart.append(array & free)
        free = free & ~array
    labels = [name if name in classes else "RBC" for name in labels]
    kept = [(array, name) for array, name in zip(apart, labels, strict=True) if array.any()]
    if len(classes) > 1:
        kept.sort(key=lambda pair: pair[1])  # one folder per class is read after the other
    scene = mask_scene([array for array, _ in kept], labels=[name for _, name in kept])
    again, _ = written_and_read(scene, "masks", classes=classes)
    same(scene, again)


@QUICK
@given(boxes=st.lists(st.tuples(*[st.integers(0, 10)] * 6), max_size=4))
def test_boxes_of_volumes_come_back_from_tables(boxes):
    import nibabel

    from vesalius.detect.scene import Scene

    low = np.array([box[:3] for box in boxes], float).reshape(-1, 3) / 2
    high = low + 1 + np.array([box[3:] for box in boxes], float).reshape(-1, 3) / 4
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "v.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.zeros((9, 10, 11), np.uint8), np.eye(4)), path)
        scene = Scene("v", path, (9, 10, 11), np.hstack([low, high]), ("nodule",) * len(boxes))
        formats.write([scene], Path(place) / "out", format="csv", images="none")
        again = formats.find_scenes(Path(place) / "out")[0]
    same(scene, again)
    assert again.id == "v"


@pytest.mark.parametrize("name", ["coco", "csv", "labelme"])
def test_images_that_stay_where_they_are_are_found(name, tmp_path):
    path = picture(tmp_path / "far" / "deep" / "a.png")
    from vesalius.detect.scene import Scene

    scene = Scene("a", path, (12, 16), [[1, 2, 3, 4]], ("RBC",))
    formats.write([scene], tmp_path / "new" / "out", format=name)
    again = formats.find_scenes(tmp_path / "new" / "out")[0]
    assert again.path.resolve() == path.resolve()


@pytest.mark.parametrize("name", ["voc", "yolo", "masks"])
def test_other_formats_are_told_where_the_images_are(name, tmp_path):
    path = picture(tmp_path / "far" / "a.png", (8, 9))
    array = np.zeros((8, 9), bool)
    array[2:5, 3:7] = True
    scene = mask_scene([array], path=path)
    formats.write([scene], tmp_path / "out", format=name)
    again = formats.read(tmp_path / "out", images=path.parent, format=name).scenes[0]
    assert again.path == path
    assert again.boxes[0] == pytest.approx([3, 2, 7, 5])
