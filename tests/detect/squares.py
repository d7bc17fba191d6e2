"""Bright squares and rods on dark noise, as a data set on disk: quick to make, quick to learn."""

from pathlib import Path

import numpy as np

from vesalius.detect import rle
from vesalius.detect.formats import write
from vesalius.detect.scene import Scene

TINY = [
    "model.encoder=null",
    "model.widths=[8,16,24]",
    "model.norm=group",
    "model.pyramid_width=16",
    "model.head_width=32",
    "model.finest_stride=2",
    "model.anchor_sizes=[10,20,30]",
    "model.canonical_size=32",
    "model.pooled_size=4",
    "model.rois_per_image=32",
    "batch_size=4",
    "augment=[{name: flip}]",
]


def scenes(folder: Path, count: int = 6, *, size=(48, 64), seed: int = 0, masks: bool = False):
    """Write images into a folder and return their scenes; some images are empty."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for index in range(count):
        pixels = rng.normal(40, 8, size)
        boxes, labels, runs = [], [], []
        for _ in range(0 if index == 1 else 2):
            kind = ("square", "rod")[int(rng.integers(2))]
            sides = (14, 14) if kind == "square" else (8, 20)
            y, x = (
                int(rng.integers(0, full - side)) for full, side in zip(size, sides, strict=True)
            )
            mask = np.zeros(size, bool)
            mask[y : y + sides[0], x : x + sides[1]] = True
            if any((rle.decode(other) & mask).any() for other in runs):
                continue
            pixels[mask] = 200 if kind == "square" else 140
            boxes.append([x, y, x + sides[1], y + sides[0]])
            labels.append(kind)
            runs.append(rle.encode(mask))
        path = folder / f"image{index}.png"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
        made.append(
            Scene(f"image{index}", path, size, boxes, tuple(labels), runs if masks else None)
        )
    return made


def dataset(folder: Path, format: str = "coco", count: int = 6, **options) -> Path:  # noqa: A002
    """Write a data set and return its folder."""
    made = scenes(folder / "pixels", count, masks=format in ("coco", "masks"), **options)
    write(made, folder / "set", format=format, classes=["rod", "square"], images="copy")
    return folder / "set"


def volume_dataset(folder: Path, count: int = 3, *, seed: int = 0) -> Path:
    """Write volumes with numbered cubes beside them, in the layout images/ and labels/."""
    import nibabel as nib

    rng = np.random.default_rng(seed)
    for index in range(count):
        size = (24, 28, 32)
        pixels, numbers = rng.normal(0, 0.2, size), np.zeros(size, np.uint16)
        for number, start in enumerate(((2, 3, 4), (13, 14, 18)), start=1):
            part = tuple(slice(s + index, s + index + 9) for s in start)
            pixels[part], numbers[part] = 3, number
        for name, array in (("images", pixels.astype(np.float32)), ("labels", numbers)):
            place = folder / name / f"v{index}.nii.gz"
            place.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), place)
    return folder
