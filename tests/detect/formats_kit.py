"""Small data sets for the tests of formats."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image as Pillow

from vesalius.detect import rle
from vesalius.detect.scene import Scene

CLASSES = ("RBC", "WBC", "血小板")


def picture(path: Path, size=(12, 16)) -> Path:
    """Write a grey picture of a size (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.zeros(size, np.uint8)).save(path)
    return path


def same(one: Scene, other: Scene, *, but=(), tolerance=1e-6) -> None:
    """Assert that two scenes hold the same objects in the same order."""
    assert one.size == other.size
    assert one.labels == other.labels
    np.testing.assert_allclose(one.boxes, other.boxes, atol=tolerance)
    for name in ("areas", "crowd", "difficult", "truncated", "scores"):
        if name in but:
            continue
        mine, yours = getattr(one, name), getattr(other, name)
        assert (mine is None) == (yours is None), name
        if mine is not None:
            np.testing.assert_allclose(mine, yours, rtol=1e-6, err_msg=name)
    if "masks" not in but:
        assert (one.masks is None) == (other.masks is None)
        if one.masks is not None:
            assert [rle.decode(m).tolist() for m in one.masks] == [
                rle.decode(m).tolist() for m in other.masks
            ]
    for name in ("group", "split"):
        assert name in but or getattr(one, name) == getattr(other, name)


@st.composite
def box_scenes(draw, size=(12, 16), *, names=CLASSES):
    """Draw boxes in quarters of a pixel, with flags."""
    height, width = size
    count = draw(st.integers(0, 4))
    boxes, labels = [], []
    for _ in range(count):
        x = sorted(draw(st.lists(st.integers(0, 4 * width), min_size=2, max_size=2, unique=True)))
        y = sorted(draw(st.lists(st.integers(0, 4 * height), min_size=2, max_size=2, unique=True)))
        boxes.append([x[0] / 4, y[0] / 4, x[1] / 4, y[1] / 4])
        labels.append(draw(st.sampled_from(names)))
    flags = {
        name: [draw(st.booleans()) for _ in range(count)]
        for name in ("crowd", "difficult", "truncated")
    }
    scored = count and draw(st.booleans())
    scores = [draw(st.integers(0, 8)) / 8 for _ in range(count)] if scored else None
    extra = draw(st.sampled_from([{}, {"split": "train"}, {"split": "valid"}]))
    group = draw(st.sampled_from([None, "patient 7"]))
    return Scene("a", None, size, np.array(boxes).reshape(-1, 4), tuple(labels), scores=scores,
                 group=group, extra=extra, **flags)  # fmt: skip


@st.composite
def masks(draw, size=(8, 9), *, count=1):
    """Draw random masks that are not empty."""
    cells = st.lists(st.booleans(), min_size=size[0] * size[1], max_size=size[0] * size[1])
    drawn = []
    for _ in range(count):
        mask = np.array(draw(cells)).reshape(size)
        mask[draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))] = True
        drawn.append(mask)
    return drawn


def mask_scene(arrays, *, labels=None, path=None, **options) -> Scene:
    """Return the scene of masks (bool arrays)."""
    runs = tuple(rle.encode(array) for array in arrays)
    size = arrays[0].shape
    labels = labels or ("RBC",) * len(runs)
    return Scene("a", path, size, rle.to_box(list(runs)), tuple(labels), masks=runs, **options)
