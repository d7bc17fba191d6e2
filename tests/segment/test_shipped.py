"""The models that come with the package: small, described, and of use by name."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from vesalius.cli import main
from vesalius.engine.run import Run
from vesalius.engine.shipped import shipped
from vesalius.segment.metrics import panoptic_quality

LARGEST = {"segment": 8 << 20, "detect": 12_000_000}


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_model_is_small_and_its_card_says_where_it_comes_from(name):
    folder = shipped()[name]
    department = folder.parent.name
    assert sum(path.stat().st_size for path in folder.iterdir()) < LARGEST[department]
    card = (folder / "README.md").read_text(encoding="utf-8")
    headline = Run(name).scores.headline
    for needed in ("licence of the data", "seed", f"vesalius {department} train", headline):
        assert needed in card, needed
    config = Run(name).config
    words = [config["data"], *shlex.split(config["command"]), *card.split()]
    assert not [word for word in words if word.startswith("/") and len(word) > 1]
    assert Run(name).scores.cases == {}


def fluorescence(count=9, size=96):
    """Return an image of bright round nuclei on a dark ground, and their numbers."""
    rows, columns = np.mgrid[:size, :size]
    truth = np.zeros((size, size), np.uint16)
    places = [(16 + 32 * (i // 3), 16 + 32 * (i % 3)) for i in range(count)]
    for number, (row, column) in enumerate(places, start=1):
        truth[(rows - row) ** 2 + ((columns - column) / 1.2) ** 2 < 81] = number
    noise = np.random.default_rng(0).normal(0, 4, truth.shape)
    bright = gaussian_filter(90.0 * (truth > 0), 1) + 15 + noise
    return np.clip(bright, 0, 255).astype(np.uint8), truth


def test_nuclei_are_found_by_name_from_the_command_line(tmp_path, capsys):
    image, truth = fluorescence()
    Image.fromarray(image).save(tmp_path / "cells.png")
    out = str(tmp_path / "masks")
    options = ["predict.mirror=false", "--out", out, "--json"]
    assert main(["segment", "predict", "nuclei", str(tmp_path / "cells.png"), *options]) == 0
    (mask,) = json.loads(capsys.readouterr().out)["masks"]
    found = np.asarray(Image.open(mask))
    quality = panoptic_quality(truth, found)
    assert quality["tp"] == 9
    assert quality["rq"] > 0.9
