"""`nuclei-stardist`: the one 2D image with instance labels inside the stardist package.

One fluorescence field of view, 512 x 512, uint16 with values up to 235, and 125 labelled nuclei;
from the 2018 Data Science Bowl (Caicedo et al. 2019). The package's 3D volume (31 x 61 x 57) is
synthetic and too small to be split; it is not used.

Split: rows 0-351 train, rows 384-511 valid; the 32 rows between them belong to neither, because
nuclei are about 25 pixels long and must not lie in both parts.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.datasets.catalogue import carried_file
from vesalius.errors import DataError

SHAPE = (512, 512)
LABELS = {"background": 0, "nucleus": 1}
TILE_WIDTH = 128
# part -> (first row, last row + 1, rows of a tile); all tiles are divisible by 16
PARTS = {"train": (0, 352, 176), "valid": (384, 512, 128)}


def build(folder: Path) -> dict[str, Any]:
    """Write `{train,valid}/{images,masks,instances}/rRRR_cCCC.png` to `folder`.

    Images are 8 bit (the stored values, at most 235), masks 8 bit (0 background, 1 nucleus),
    instances 16 bit (the package's label of each nucleus). In the masks touching nuclei are one
    region; take `instances` where they must be told apart. Tiles are named by their first row and
    column. Returns what the marker file says about the set.
    """
    image, instances = read_nuclei()
    for part, (first, end, rows) in PARTS.items():
        for row in range(first, end, rows):
            for column in range(0, SHAPE[1], TILE_WIDTH):
                tile = np.s_[row : row + rows, column : column + TILE_WIDTH]
                name = f"r{row:03d}_c{column:03d}.png"
                _write(folder / part / "images" / name, image[tile])
                _write(folder / part / "masks" / name, (instances[tile] > 0).astype(np.uint8))
                _write(folder / part / "instances" / name, instances[tile])
    _describe(folder)
    return {"labels": LABELS, "split": "rows 0-351 train, 352-383 unused, 384-511 valid"}


def read_nuclei() -> tuple[np.ndarray, np.ndarray]:
    """Return image (uint8) and instance labels (uint16, 0 = background), both (512, 512).

    Raises:
        MissingDependencyError: stardist is not installed.
        DataError: the installed stardist carries another image.
    """
    image, instances = _read("img2d.tif"), _read("mask2d.tif")
    if image.shape != SHAPE or instances.shape != SHAPE or image.max() > 255:
        raise DataError(
            f"The installed stardist has an image of shape {image.shape} with values up to "
            f"{image.max()}; 'nuclei-stardist' is defined for {SHAPE} and values up to 255. "
            'Install a version that has it: pip install "stardist==0.9.2"'
        )
    return image.astype(np.uint8), instances.astype(np.uint16)


def _read(name: str) -> np.ndarray:
    import tifffile

    return tifffile.imread(carried_file("nuclei-stardist", f"data/images/{name}"))


def _write(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def _describe(folder: Path) -> None:
    description = {"channel_names": {"0": "nuclei"}, "labels": LABELS, "file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
