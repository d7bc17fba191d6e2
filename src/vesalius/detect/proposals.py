"""Proposals: boxes that may hold an object, where they come from and how good they are.

They come from selective search (`selective_search`, `cached`) or from any other program by a file
(`read_proposals`); `recall`, `average_recall` and `mean_average_best_overlap` say how good they
are.
"""

import hashlib
from pathlib import Path

import numpy as np

from vesalius.detect.proposal_boxes import Proposals
from vesalius.detect.proposal_files import read_proposals, write_proposals
from vesalius.detect.proposal_recall import (
    average_recall,
    best_overlaps,
    mean_average_best_overlap,
    recall,
)
from vesalius.detect.selective_search import MODES, selective_search
from vesalius.errors import DataError
from vesalius.files import replacing

__all__ = [
    "MODES",
    "Proposals",
    "average_recall",
    "best_overlaps",
    "cached",
    "mean_average_best_overlap",
    "read_proposals",
    "recall",
    "selective_search",
    "write_proposals",
]

# Part of every cache key: count up when selective search finds other boxes than before.
VERSION = 1


def cached(
    folder: str | Path,
    image: np.ndarray,
    *,
    mode: str = "fast",
    seed: int = 0,
    min_size: float = 1,
) -> np.ndarray:
    """Return the boxes of `selective_search`, from `folder` where they were kept before.

    The name of the file covers the pixels, their type and shape, the settings, and the versions of
    the algorithm and of scikit-image, so no other picture's or setting's boxes can come back.
    Several processes may share the folder.

    Raises:
        DataError: a kept file is damaged.
        StorageError: the folder cannot be written.
    """
    path = Path(folder) / f"{_key(np.asarray(image), mode, seed, min_size)}.npy"
    if path.exists():
        try:
            return np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise DataError(f"the kept proposals {path} are damaged; delete the file") from error
    boxes = selective_search(image, mode, seed, min_size=min_size)
    with replacing(path) as temporary:
        np.save(temporary, boxes, allow_pickle=False)
    return boxes


def _key(image: np.ndarray, mode: str, seed: int, min_size: float) -> str:
    from importlib.metadata import version

    settings = (VERSION, version("scikit-image"), mode, int(seed), float(min_size))
    digest = hashlib.sha256(repr((settings, image.shape, image.dtype.str)).encode())
    digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()[:40]
