"""`brain-tissue`: axial slices of the MNI ICBM152 2009a symmetric template, grey and white matter.

The template (Fonov et al. 2011) is an average of 152 brains, skull-stripped and resampled to 1 mm
by nilearn: T1 and two tissue probability maps, each (197, 233, 189) in RAS+ order.

Label of a voxel: the arg max of (1 - grey - white, grey, white), in this order, so a tie goes to
the earlier one. 0 is everything else: air, cerebrospinal fluid, and voxels of mixed tissue where
the rest outweighs either tissue.

Split: axial, never left against right, because the template is its own mirror image. Neighbouring
slices are almost the same picture (label maps one slice apart agree with Dice 0.92, nine apart
with 0.58 for grey and 0.51 for white matter), so a random split would leak. A contiguous block
through the ventricles and the deep nuclei is held out, and 8 slices on either side of it are used
by neither part. Copying the labels of the nearest training slice gives Dice 0.57 for grey and 0.55
for white matter over that block: the number a model has to beat.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.datasets.catalogue import carried_file
from vesalius.errors import DataError

TEMPLATE = "datasets/data/mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
SHAPE = (197, 233, 189)
LABELS = {"background": 0, "grey matter": 1, "white matter": 2}

# 160 x 192 voxels around the brain (x 26-170, y 27-207 are not air): both divisible by 32
WINDOW_X, WINDOW_Y = slice(18, 178), slice(21, 213)
# slices below 12 and above 149 show next to no brain
VALID = range(70, 94)
TRAIN = (*range(12, 62), *range(102, 150))
GAP = 8


def build(folder: Path) -> dict[str, Any]:
    """Write `{train,valid}/{images,masks}/axial_ZZZ.png` (8 bit, 192 high, 160 wide) to `folder`.

    `axial_ZZZ` is the slice at z = ZZZ - 72 mm in MNI space, with the front of the head up and the
    left of the brain on the left. Returns what the marker file says about the set.
    """
    image, mask = read_template()
    for part, slices in {"train": TRAIN, "valid": VALID}.items():
        for z in slices:
            _write(folder / part / "images", z, image)
            _write(folder / part / "masks", z, mask)
    description = {"channel_names": {"0": "T1"}, "labels": LABELS, "file_ending": ".png"}
    text = json.dumps(description, indent=2)
    (folder / "dataset.json").write_text(text + "\n", encoding="utf-8")
    return {
        "labels": LABELS,
        "label_rule": "arg max of (1 - grey - white, grey, white)",
        "axis": "axial (z), slice index in the 189 slices of the 1 mm template",
        "train_slices": list(TRAIN),
        "valid_slices": list(VALID),
        "gap_slices": GAP,
    }


def read_template() -> tuple[np.ndarray, np.ndarray]:
    """Return T1 (uint8, 0-255) and labels (uint8, 0-2), both (197, 233, 189), x y z, RAS+.

    Raises:
        MissingDependencyError: nilearn is not installed.
        DataError: the installed nilearn carries another template.
    """
    t1, grey, white = (_read(kind) for kind in ("t1", "gm", "wm"))
    # the maps are stored with 255 for certainty; integers keep the comparison exact
    rest = 255 - grey.astype(np.int16) - white
    label = np.stack([rest, grey, white]).argmax(axis=0)
    return t1, label.astype(np.uint8)


def _read(kind: str) -> np.ndarray:
    import nibabel

    path = carried_file("brain-tissue", TEMPLATE.format(kind=kind))
    voxels = np.asarray(nibabel.load(path).dataobj)
    if voxels.shape != SHAPE or voxels.dtype != np.uint8 or voxels.max() != 255:
        raise DataError(
            f"{path} has shape {voxels.shape} and type {voxels.dtype}; 'brain-tissue' is defined "
            f'for {SHAPE} and uint8. Install a nilearn that has it: pip install "nilearn==0.14.1"'
        )
    return voxels


def _write(folder: Path, z: int, volume: np.ndarray) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    # rows from front (high y) to back: the way an axial slice is printed
    pixels = volume[WINDOW_X, WINDOW_Y, z].T[::-1]
    Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"axial_{z:03d}.png")
