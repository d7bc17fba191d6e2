"""Label maps that number the objects."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from tests.detect.formats_kit import mask_scene, picture
from vesalius.detect import formats, rle
from vesalius.detect.formats.instances import numbered_runs
from vesalius.detect.scene import Scene
from vesalius.errors import DataError


def put(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.asarray(labels, np.uint16)).save(path)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=24, max_size=24), st.sampled_from([(4, 6), (2, 3, 4)]))
def test_all_objects_are_encoded_as_if_one_by_one(values, shape):
    labels = np.array(values, np.uint8).reshape(shape)
    found = dict(numbered_runs(labels))
    assert sorted(found) == sorted(set(values) - {0})
    for value, runs in found.items():
        assert np.array_equal(rle.decode(runs), labels == value)
        assert runs.counts[1:].all()


def test_numbers_are_objects_and_gaps_do_not_matter(tmp_path):
    labels = np.zeros((12, 16), int)
    labels[2:5, 3:9], labels[7:, 10:], labels[0, 0] = 700, 3, 3
    picture(tmp_path / "images" / "a.png")
    put(tmp_path / "masks" / "a.png", labels)
    found = formats.read(tmp_path, classes=["nucleus"])
    assert (found.format, found.classes) == ("masks", ("nucleus",))
    assert found.scenes[0].boxes.tolist() == [[0, 0, 16, 12], [3, 2, 9, 5]]
    assert found.scenes[0].areas.tolist() == [31, 18]


def test_one_folder_per_class(tmp_path):
    for name in "ab":
        picture(tmp_path / "images" / f"{name}.png")
    put(tmp_path / "labels" / "RBC" / "a.png", np.tri(12, 16))
    put(tmp_path / "labels" / "WBC" / "a.png", np.eye(12, 16) * 2)
    put(tmp_path / "labels" / "WBC" / "b.png", np.zeros((12, 16)))
    found = formats.read(tmp_path)
    assert found.classes == ("RBC", "WBC")
    assert [scene.labels for scene in found.scenes] == [("RBC", "WBC"), ()]
    with pytest.raises(DataError, match="'WBC' is none of RBC"):
        formats.read(tmp_path, classes=["RBC"])


def test_volumes_keep_their_place_in_the_world(tmp_path):
    import nibabel

    affine = np.diag([0.5, 0.75, 2, 1])
    affine[:3, 3] = 3, 4, 5
    path = tmp_path / "v.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 7, 8), np.int16), affine), path)
    array = np.zeros((6, 7, 8), bool)
    array[1:3, 2:6, 4] = True
    scene = mask_scene([array], path=path)
    formats.write([scene], tmp_path / "out", format="masks", images="link")
    mask = nibabel.load(tmp_path / "out" / "labels" / "a.nii.gz")
    assert np.array_equal(mask.affine, affine)
    again = formats.find_scenes(tmp_path / "out")[0]
    assert again.boxes.tolist() == [[4, 2, 1, 5, 6, 3]]
    assert np.array_equal(rle.decode(again.masks[0]), array)


def test_what_hides_other_objects_is_told(tmp_path):
    big, small = np.ones((12, 16), bool), np.zeros((12, 16), bool)
    small[3:5, 3:5] = True
    scene = mask_scene([small, big, small], path=picture(tmp_path / "a.png"))
    written = formats.write([scene], tmp_path / "out", format="masks", images="copy")
    assert written.losses["objects hidden by others"] == 1
    assert written.losses["overlaps (the smaller object is in front)"] == 2
    again = formats.find_scenes(tmp_path / "out")[0]
    assert sorted(again.areas.tolist()) == [4, 188]


def test_boxes_without_masks_make_no_label_map(tmp_path):
    scene = Scene("a", picture(tmp_path / "a.png"), (12, 16), [[1, 2, 3, 4]], ("x",))
    with pytest.raises(DataError, match="boxes without masks"):
        formats.write([scene], tmp_path / "out", format="masks")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]


def test_everything_that_is_wrong_is_listed_at_once(tmp_path):
    labels = np.zeros((12, 16), int)
    labels[1:3, 1:3] = labels[6:9, 6:9] = 255
    for name in ("small", "plain"):
        picture(tmp_path / "images" / f"{name}.png")
    put(tmp_path / "masks" / "small.png", np.ones((5, 5)))
    put(tmp_path / "masks" / "plain.png", labels)
    with pytest.raises(DataError) as caught:
        formats.find_scenes(tmp_path)
    told = "\n".join(caught.value.problems)
    assert "small.png: has the size (5, 5), its image has (12, 16)" in told
    assert "plain.png: marks the foreground with 255" in told
    put(tmp_path / "masks" / "orphan.png", labels)
    with pytest.raises(DataError, match=r"orphan.png has no image"):
        formats.find_scenes(tmp_path)


def test_real_nuclei(shared_data, tmp_path):
    source = shared_data / "nuclei"
    names = sorted(path.name for path in (source / "images").iterdir())[:20]
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        for name in names:
            (tmp_path / part / name).symlink_to(source / part / name)
    scenes = formats.find_scenes(tmp_path, classes=["nucleus"])
    assert len(scenes) == 20
    for scene in scenes:
        labels = np.asarray(Pillow.open(source / "labels" / f"{scene.id}.png"))
        assert scene.count == len(np.unique(labels)) - 1
        assert scene.areas.sum() == (labels > 0).sum()
