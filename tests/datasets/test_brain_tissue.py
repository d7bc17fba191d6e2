import json

import numpy as np
import pytest
from PIL import Image

from vesalius import datasets
from vesalius.datasets import brain_tissue
from vesalius.errors import DataError

pytest.importorskip("nilearn", reason="nilearn carries the template")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return datasets.open("brain-tissue", tmp_path_factory.mktemp("data") / "brain")


@pytest.fixture(scope="module")
def template():
    return brain_tissue.read_template()


def test_images_and_masks_pair_up_with_the_declared_labels(folder):
    for part, count in {"train": 98, "valid": 24}.items():
        images = sorted((folder / part / "images").iterdir())
        masks = sorted((folder / part / "masks").iterdir())
        assert [p.name for p in images] == [p.name for p in masks]
        assert len(images) == count
        for image, mask in zip(images, masks, strict=True):
            pixels, labels = np.asarray(Image.open(image)), np.asarray(Image.open(mask))
            assert pixels.shape == labels.shape == (192, 160)
            assert pixels.dtype == labels.dtype == np.uint8
            assert set(np.unique(labels)) <= {0, 1, 2}
    assert json.loads((folder / "dataset.json").read_text())["labels"] == brain_tissue.LABELS


def test_every_slice_shows_all_three_labels(folder):
    for mask in folder.glob("*/masks/*.png"):
        assert set(np.unique(np.asarray(Image.open(mask)))) == {0, 1, 2}, mask.name


def test_no_training_slice_is_near_the_held_out_block():
    distances = [abs(t - v) for t in brain_tissue.TRAIN for v in brain_tissue.VALID]
    assert min(distances) == brain_tissue.GAP + 1
    block = list(brain_tissue.VALID)
    assert block == list(range(block[0], block[-1] + 1))


def test_labels_follow_the_rule_against_nilearns_own_reader(template):
    from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template

    grey = load_mni152_gm_template(resolution=1).get_fdata()
    white = load_mni152_wm_template(resolution=1).get_fdata()
    _, label = template
    chosen = np.choose(label, [1 - grey - white, grey, white])
    np.testing.assert_allclose(chosen, np.maximum(1 - grey - white, np.maximum(grey, white)))


def test_the_window_cuts_off_no_brain(template):
    t1, label = template
    inside = np.zeros(label.shape, bool)
    inside[brain_tissue.WINDOW_X, brain_tissue.WINDOW_Y] = True
    assert not label[~inside].any()
    assert not (t1[~inside] > 12).any()


def test_the_template_is_its_own_mirror_image(template):
    # the reason why left against right would be no split at all
    for volume in template:
        np.testing.assert_array_equal(volume, volume[::-1])


def test_copying_the_nearest_training_slice_scores_what_the_description_says(template):
    _, label = template
    nearest = [min(brain_tissue.TRAIN, key=lambda t, v=v: abs(t - v)) for v in brain_tissue.VALID]
    truth, copied = label[..., list(brain_tissue.VALID)], label[..., nearest]
    for tissue, said in {1: "0.57", 2: "0.55"}.items():
        both = ((truth == tissue) & (copied == tissue)).sum()
        dice = 2 * both / ((truth == tissue).sum() + (copied == tissue).sum())
        assert f"{dice:.2f}" == said
        assert said in datasets.find("brain-tissue").english


def test_the_front_of_the_head_is_up(folder, template):
    t1, _ = template
    pixels = np.asarray(Image.open(folder / "valid" / "images" / "axial_080.png"))
    x, y = 98, 180  # front of the head, on the midline
    row = brain_tissue.WINDOW_Y.stop - 1 - y
    assert pixels[row, x - brain_tissue.WINDOW_X.start] == t1[x, y, 80]
    assert row < 96


def test_another_template_is_refused(tmp_path, monkeypatch):
    import nibabel

    path = tmp_path / "t1.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), path)
    monkeypatch.setattr(brain_tissue, "carried_file", lambda name, relative: path)
    with pytest.raises(DataError, match=r"shape \(4, 4, 4\)"):
        brain_tissue.read_template()
