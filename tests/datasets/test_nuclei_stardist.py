import importlib
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from vesalius import datasets
from vesalius.datasets import nuclei_stardist
from vesalius.datasets.catalogue import find
from vesalius.errors import DataError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the same layout as stardist, with random nuclei; importing it would fail."""
    images = tmp_path / "site" / "stardist" / "data" / "images"
    images.mkdir(parents=True)
    (tmp_path / "site" / "stardist" / "__init__.py").write_text("raise ImportError('not needed')")
    generator = np.random.default_rng(0)
    image = generator.integers(0, 236, (512, 512)).astype(np.uint16)
    mask = np.kron(np.arange(1024).reshape(32, 32) % 3 * 100, np.ones((16, 16))).astype(np.uint16)
    tifffile.imwrite(images / "img2d.tif", image)
    tifffile.imwrite(images / "mask2d.tif", mask)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "stardist", raising=False)
    importlib.invalidate_caches()
    return image, mask, images


def _check(folder, image, instances):
    for part, (first, end, rows) in nuclei_stardist.PARTS.items():
        tiles = {p.name: np.asarray(Image.open(p)) for p in (folder / part / "images").iterdir()}
        assert len(tiles) == (end - first) // rows * 4
        for name, tile in tiles.items():
            row, column = int(name[1:4]), int(name[6:9])
            place = np.s_[row : row + rows, column : column + 128]
            np.testing.assert_array_equal(tile, image[place])
            found = np.asarray(Image.open(folder / part / "instances" / name))
            np.testing.assert_array_equal(found, instances[place])
            mask = np.asarray(Image.open(folder / part / "masks" / name))
            np.testing.assert_array_equal(mask, instances[place] > 0)
            assert mask.dtype == np.uint8


def test_tiles_are_the_packages_pixels_and_parts_do_not_touch(tmp_path, package):
    image, instances, _ = package
    _check(datasets.open("nuclei-stardist", tmp_path / "nuclei"), image, instances)
    assert nuclei_stardist.PARTS["valid"][0] - nuclei_stardist.PARTS["train"][1] == 32


def test_another_image_is_refused(tmp_path, package):
    *_, images = package
    tifffile.imwrite(images / "img2d.tif", np.zeros((64, 64), np.uint16))
    with pytest.raises(DataError, match=r"shape \(64, 64\)"):
        datasets.open("nuclei-stardist", tmp_path / "nuclei")
    assert not (tmp_path / "nuclei").exists()


@pytest.mark.skipif(not find("nuclei-stardist").available, reason="stardist is not installed")
def test_the_real_package_carries_what_is_described(tmp_path):
    image, instances = nuclei_stardist.read_nuclei()
    assert len(np.unique(instances)) - 1 == 125
    assert image.max() == 235
    _check(datasets.open("nuclei-stardist", tmp_path / "nuclei"), image, instances)
