"""Weighted boxes fusion: boxes of several detectors are averaged, none is thrown away.

Solovyev, Wang and Gabruseva, Image and Vision Computing 2021. Unlike non-maximum suppression a
box that overlaps a better one still moves the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError, RecipeError
from vesalius.study.averaging import checked_weights


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image.

    Attributes:
        boxes: (N, 4) x1, y1, x2, y2, any unit.
        scores: (N,) from 0 to 1.
        labels: (N,) class indices.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, boxes: ArrayLike, scores: ArrayLike, labels: ArrayLike) -> "Boxes":
        """Check and convert.

        Raises:
            DataError: numbers differ, corners are in the wrong order, or scores leave 0 to 1.
        """
        corners = np.asarray(boxes, np.float64).reshape(-1, 4)
        made = cls(corners, np.asarray(scores, np.float64), np.asarray(labels, np.int64))
        if not len(corners) == made.scores.size == made.labels.size:
            raise DataError(
                f"{len(corners)} boxes have {made.scores.size} scores and {made.labels.size} "
                "labels; give one of each per box."
            )
        if not (corners[:, :2] <= corners[:, 2:]).all():
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
    trust = checked_weights(weights, len(members)) * len(members)
    found = _gathered(members, trust, smallest_score)
    fused = [row for label in np.unique(found.labels) for row in _fused(found, label, overlap)]
    if not fused:
        return Boxes.of(np.empty((0, 4)), [], [])
    corners, scores, sizes, labels = (np.array(part) for part in zip(*fused, strict=True))
    scores = np.minimum(scores * np.minimum(sizes, len(members)) / len(members), 1.0)
    order = np.argsort(-scores, kind="stable")
    return Boxes(corners[order], scores[order], labels[order].astype(np.int64))


def iou(box: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """Return the intersection over union of one box (4,) with others (N, 4); 0 for empty ones."""
    box, others = np.asarray(box, np.float64), np.asarray(others, np.float64).reshape(-1, 4)
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    return np.divide(shared, union, out=np.zeros(len(others)), where=union > 0)


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
    fused = np.empty((0, 4))
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
