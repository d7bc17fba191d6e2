"""Several detectors' answers for one image, or one detector's for an image and its mirror image.

Weighted boxes fusion (Solovyev, Wang and Gabruseva, Image and Vision Computing 2021) averages
boxes and throws none away: unlike after non-maximum suppression, a box that overlaps a better one
still moves the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vesalius.detect import boxes as box_functions
from vesalius.detect.models.outputs import Detections
from vesalius.errors import DataError, RecipeError


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image.

    Attributes:
        boxes: (N, 2 * dims) low corner and high corner, any unit.
        scores: (N,) from 0 to 1.
        labels: (N,) class indices.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    @classmethod
    def of(
        cls, boxes: ArrayLike, scores: ArrayLike, labels: ArrayLike, *, dims: int = 2
    ) -> "Boxes":
        """Check and convert.

        Raises:
            DataError: numbers differ, corners are in the wrong order, or scores leave 0 to 1.
        """
        corners = np.asarray(boxes, np.float64).reshape(-1, 2 * dims)
        made = cls(corners, np.asarray(scores, np.float64), np.asarray(labels, np.int64))
        if not len(corners) == made.scores.size == made.labels.size:
            raise DataError(
                f"{len(corners)} boxes have {made.scores.size} scores and {made.labels.size} "
                "labels; give one of each per box."
            )
        if not (corners[:, :dims] <= corners[:, dims:]).all():
            raise DataError("A box has x1 > x2 or y1 > y2; corners are x1, y1, x2, y2.")
        if not ((made.scores >= 0) & (made.scores <= 1)).all():
            raise DataError("A box has a score outside 0 to 1.")
        return made


def fuse_boxes(
    members: Sequence[Boxes],
    *,
    weights: Sequence[float] | None = None,
    overlap: float = 0.55,
    smallest_score: float = 0.0,
) -> Boxes:
    """Fuse the boxes that several detectors found in one image.

    Boxes are taken by falling score and joined to the cluster of their label whose fused box they
    overlap most, or begin one. A fused corner is the mean of its cluster's, weighted by score;
    the fused score is the mean score, times min(boxes, members) / members, so that what one
    detector alone saw counts less.

    Args:
        members: one `Boxes` per detector.
        weights: trust in each detector; scores are multiplied by it. None: equal.
        overlap: smallest IoU of a box with the fused box that it joins.
        smallest_score: boxes below are left out.

    Returns:
        Boxes by falling score.
    """
    if not 0 < overlap <= 1:
        raise RecipeError(f"overlap is {overlap}; it lies between 0 and 1")
    # Weights of mean 1: equal ones leave scores as they are.
    trust = _trust(weights, len(members))
    found = _gathered(members, trust, smallest_score)
    fused = [row for label in np.unique(found.labels) for row in _fused(found, label, overlap)]
    if not fused:
        return Boxes(found.boxes[:0], np.empty(0), np.empty(0, np.int64))
    corners, scores, sizes, labels = (np.array(part) for part in zip(*fused, strict=True))
    scores = np.minimum(scores * np.minimum(sizes, len(members)) / len(members), 1.0)
    order = np.argsort(-scores, kind="stable")
    return Boxes(corners[order], scores[order], labels[order].astype(np.int64))


def iou(box: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """Return the intersection over union of one box with others (N, ...); 0 for empty ones."""
    box = np.asarray(box, np.float64)
    others, dims = np.asarray(others, np.float64).reshape(-1, len(box)), len(box) // 2
    low, high = np.maximum(box[:dims], others[:, :dims]), np.minimum(box[dims:], others[:, dims:])
    shared = np.clip(high - low, 0, None).prod(1)
    union = (box[dims:] - box[:dims]).prod() - shared
    union = union + (others[:, dims:] - others[:, :dims]).prod(1)
    return np.divide(shared, union, out=np.zeros(len(others)), where=union > 0)


def _trust(weights: Sequence[float] | None, members: int) -> NDArray[np.float64]:
    if members < 1:
        raise DataError("An ensemble needs at least one member.")
    given = np.ones(members) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (members,):
        raise DataError(f"There are {given.size} weights for {members} members; give one each.")
    if not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
        raise DataError(f"Weights are not negative and not all 0; these are {given.tolist()}.")
    return given / given.mean()


def _gathered(members: Sequence[Boxes], trust: NDArray, smallest: float) -> Boxes:
    """Return all boxes of all members with weighted scores, the highest first."""
    kept = [member.scores >= smallest for member in members]
    scores = np.concatenate([m.scores[k] * t for m, k, t in zip(members, kept, trust, strict=True)])
    corners = np.concatenate([m.boxes[k] for m, k in zip(members, kept, strict=True)])
    labels = np.concatenate([m.labels[k] for m, k in zip(members, kept, strict=True)])
    order = np.argsort(-scores, kind="stable")
    return Boxes(corners[order], scores[order], labels[order])


def _fused(found: Boxes, label: int, overlap: float) -> list[tuple]:
    """Return (corners, mean score, boxes in the cluster, label) of each cluster of a label."""
    own = found.labels == label
    corners, scores = found.boxes[own], found.scores[own]
    clusters: list[list[int]] = []
    fused = np.empty((0, corners.shape[1]))
    for index in range(len(corners)):
        shared = iou(corners[index], fused)
        best = int(shared.argmax()) if len(shared) else -1
        if best >= 0 and shared[best] > overlap:
            clusters[best].append(index)
            fused[best] = _mean_box(corners[clusters[best]], scores[clusters[best]])
        else:
            clusters.append([index])
            fused = np.vstack([fused, corners[index]])
    return [
        (box, scores[rows].mean(), len(rows), label)
        for box, rows in zip(fused, clusters, strict=True)
    ]


def _mean_box(corners: NDArray, scores: NDArray) -> NDArray[np.float64]:
    if scores.max() == 0:
        return corners.mean(0)
    shares = scores / scores.max()  # tiny scores would lose their digits in the products
    return shares @ corners / shares.sum()


# --- tables of `detect.answers` -----------------------------------------------------------------


def weighted_fusion(tables: Sequence[NDArray], *, dims: int) -> NDArray[np.float32]:
    """Return the fused table of several detectors' tables (without masks); see `answers`."""
    from vesalius.detect.answers import parts

    members = [Boxes.of(*parts(table, dims=dims)[:3], dims=dims) for table in tables]
    fused = fuse_boxes(members)
    columns = [fused.boxes, fused.scores[:, None], fused.labels[:, None]]
    return np.concatenate(columns, axis=1).astype(np.float32)


def best_of(tables: Sequence[NDArray], *, dims: int, threshold: float = 0.5) -> NDArray[np.float32]:
    """Return all detectors' rows after non-maximum suppression per label; masks come along."""
    table = np.concatenate(tables).astype(np.float32)
    rows = torch.from_numpy(table)
    boxes, scores, labels = rows[:, : 2 * dims], rows[:, 2 * dims], rows[:, 2 * dims + 1]
    return table[box_functions.batched_nms(boxes, scores, labels.long(), threshold).numpy()]


# --- mirror images ------------------------------------------------------------------------------


def mirrored(boxes: Tensor, width: int) -> Tensor:
    """Return boxes (N, 2 * dims) of an image that was mirrored along x."""
    dims = boxes.shape[1] // 2
    found = boxes.clone()
    found[:, 0], found[:, dims] = width - boxes[:, dims], width - boxes[:, 0]
    return found


def fuse_mirrored(found: Detections, turned: Detections, width: int) -> Detections:
    """Return one image's detections fused with those of its mirror image.

    Boxes are fused by weight; masks cannot be, so that of detections with masks the better ones
    stay.
    """
    boxes = mirrored(turned.boxes, width)
    dims = boxes.shape[1] // 2
    if found.masks is not None and turned.masks is not None:
        joined = Detections(
            torch.cat([found.boxes, boxes]),
            torch.cat([found.scores, turned.scores]),
            torch.cat([found.labels, turned.labels]),
            torch.cat([found.masks, turned.masks.flip(-1)]),
        )
        return joined.subset(
            box_functions.batched_nms(joined.boxes, joined.scores, joined.labels, 0.5)
        )
    one = Boxes.of(found.boxes, found.scores, found.labels, dims=dims)
    fused = fuse_boxes([one, Boxes.of(boxes, turned.scores, turned.labels, dims=dims)])
    kind = found.boxes.dtype
    return Detections(
        torch.from_numpy(fused.boxes).to(kind),
        torch.from_numpy(fused.scores).to(kind),
        torch.from_numpy(fused.labels),
    )
