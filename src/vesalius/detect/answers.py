"""A detector's answer for one image as one table, so that it can be stored, pooled and fused.

Columns: the box (x1, y1, x2, y2; volumes x1, y1, z1, x2, y2, z2) in pixels of the original image,
the score, the label's number and, from networks with masks, the probabilities inside the box,
flattened. Rows by falling score.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vesalius.detect.models.outputs import Detections
from vesalius.detect.scene import Scene


def from_detections(
    found: Detections, *, old: Sequence[int], new: Sequence[int]
) -> NDArray[np.float32]:
    """Return the table of detections.

    Args:
        found: in pixels of the image as the network saw it, on the CPU.
        old, new: sizes of that image and of the original one.
    """
    factors = torch.tensor([n / o for n, o in zip(new, old, strict=True)][::-1] * 2)
    columns = [found.boxes * factors, found.scores[:, None], found.labels[:, None].float()]
    if found.masks is not None:
        columns.append(found.masks.reshape(len(found), -1))
    return torch.cat([column.float() for column in columns], dim=1).numpy()


def parts(table: NDArray, *, dims: int) -> tuple[NDArray, NDArray, NDArray, NDArray | None]:
    """Return boxes (N, 2 * dims), scores (N,), labels (N,) int64 and masks (N, *sides) or None."""
    boxes, scores = table[:, : 2 * dims], table[:, 2 * dims]
    labels = table[:, 2 * dims + 1].astype(np.int64)
    flat = table[:, 2 * dims + 2 :]
    if not flat.shape[1]:
        return boxes, scores, labels, None
    side = round(flat.shape[1] ** (1 / dims))
    return boxes, scores, labels, flat.reshape(len(flat), *[side] * dims)


def to_scene(
    table: NDArray,
    *,
    id: str,  # noqa: A002 - the scene's own word
    path: Path | None,
    size: Sequence[int],
    classes: Sequence[str],
    masks: bool = False,
    min_score: float = 0.0,
) -> Scene:
    """Return a table as a scene.

    Args:
        table: see the module.
        id, path, size: of the image.
        classes: names by number.
        masks: paste the masks (at probability 0.5); an empty one leaves its object out.
        min_score: objects below are left out.
    """
    table = np.asarray(table, np.float32)[table[:, 2 * len(size)] >= min_score]
    boxes, scores, labels, inside = parts(table, dims=len(size))
    runs = None
    if masks and inside is not None:
        runs, keep = _pasted(inside, boxes, size)
        boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
    return Scene(
        id,
        path,
        tuple(size),
        boxes.astype(np.float64),
        tuple(classes[k] for k in labels),
        masks=runs,
        scores=scores.astype(np.float64),
    )


def _pasted(masks: NDArray, boxes: NDArray, size: Sequence[int]):
    """Return run lengths of the masks that are not empty, and which these are."""
    from vesalius.detect import rle
    from vesalius.detect.masks import to_runs

    found = to_runs(torch.from_numpy(masks.copy()), torch.from_numpy(boxes.copy()), size)
    keep = np.array([rle.area(runs) > 0 for runs in found], bool)
    return [runs for runs, kept in zip(found, keep, strict=True) if kept], keep
