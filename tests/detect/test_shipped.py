"""The detector that comes with the package."""

import numpy as np
import pytest
from PIL import Image

from vesalius import detect


def test_it_is_opened_by_name_without_the_package_its_features_came_from(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "vesalius.images.encoders.load_weights", lambda *_, **__: pytest.fail("asked for weights")
    )
    smear = np.full((120, 160, 3), (235, 225, 215), np.uint8)
    y, x = np.ogrid[:120, :160]
    smear[(y - 60) ** 2 + (x - 80) ** 2 < 27**2] = (190, 120, 120)  # a red disc
    Image.fromarray(smear).save(tmp_path / "smear.png")
    found = detect.predict("blood-cells", tmp_path / "smear.png", out=tmp_path / "found")
    (scene,) = found.scenes
    best = scene.subset(np.argsort(-scene.scores)[:1])
    assert abs(best.boxes[0] - (53, 33, 107, 87)).max() < 15
