"""A data set of its own making: bright discs (and squares) on noise, easy to learn."""

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image


def disc(size, rng, *, dims=2):
    """Return (image float, labels 0, 1 disc, 2 square) of one case."""
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"))
    image = rng.normal(0, 0.15, size)
    labels = np.zeros(size, np.uint8)
    centre = [rng.uniform(0.3 * n, 0.7 * n) for n in size]
    radius = rng.uniform(0.18, 0.28) * min(size)
    inside = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) < radius**2
    labels[inside] = 1
    corner = [int(rng.uniform(0, 0.7 * n)) for n in size]
    square = tuple(slice(c, c + max(2, int(0.2 * min(size)))) for c in corner)
    labels[square] = 2
    image += 1.0 * (labels == 1) + 2.0 * (labels == 2)
    return image, labels


def write_pictures(folder: Path, count=8, size=(40, 48), *, suffix=".png", seed=0) -> Path:
    """Write images/ and masks/ of grey pictures."""
    rng = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image, labels = disc(size, rng)
        pixels = np.clip(60 * image + 60, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"case{index}{suffix}")
        Image.fromarray(labels).save(folder / "masks" / f"case{index}.png")
    return folder


def write_volumes(folder: Path, count=6, size=(20, 24, 18), *, seed=0) -> Path:
    """Write an nnU-Net folder of volumes whose voxels are not cubes."""
    rng = np.random.default_rng(seed)
    affine = np.array([[0, -0.9, 0, 12], [1.1, 0, 0, -7], [0, 0, 2.0, 3], [0, 0, 0, 1.0]])
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image, labels = disc(size, rng)
        volume = nib.Nifti1Image(image.astype(np.float32), affine)
        nib.save(volume, folder / "imagesTr" / f"c{index}_0000.nii.gz")
        nib.save(nib.Nifti1Image(labels, affine), folder / "labelsTr" / f"c{index}.nii.gz")
    (folder / "dataset.json").write_text(
        '{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "disc": 1, "square": 2},'
        f' "numTraining": {count}, "file_ending": ".nii.gz"}}'
    )
    return folder
