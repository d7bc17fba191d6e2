"""Which detections overlap which true objects, over all images at once.

Candidate pairs are made by sorting, not by looping over images, and their overlap is computed in
blocks, so that memory stays small. The arithmetic is that of the COCO tools (`maskApi.c`), term by
term, because an overlap that lies exactly on a threshold counts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesalius.detect.coco_arrays import Detections, Truths, check_dims
from vesalius.errors import DataError

BLOCK = 1 << 20
"""Pairs whose overlap is computed at once: some tens of megabytes."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Overlapping pairs, sorted by detection, then by truth.

    Attributes:
        detections, truths: (P,) int64 indices.
        overlaps: (P,) float64: IoU; for a crowd, intersection over the detection's area.
    """

    detections: NDArray[np.int64]
    truths: NDArray[np.int64]
    overlaps: NDArray[np.float64]

    def where(self, keep: NDArray[np.bool_]) -> "Pairs":
        """Return some of the pairs."""
        return Pairs(self.detections[keep], self.truths[keep], self.overlaps[keep])


def overlapping(
    truths: Truths,
    detections: Detections,
    *,
    minimum: float,
    kind: str = "bbox",
    same_label: bool = True,
) -> Pairs:
    """Return all pairs of one image whose overlap is at least `minimum`.

    Args:
        minimum: lowest overlap kept; 0 keeps all pairs of an image, those apart as well.
        kind: "bbox": of boxes, "segm": of masks.
        same_label: only pairs of one class.

    Raises:
        DataError: an unknown kind, or there are no masks to compare.
    """
    _check_kind(truths, detections, kind)
    first = _keys(truths, detections, same_label)
    order = np.argsort(first[0], kind="stable")
    starts = np.searchsorted(first[0], first[1], "left", sorter=order)
    counts = np.searchsorted(first[0], first[1], "right", sorter=order) - starts
    found = [Pairs(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float64)))]
    for chosen in _blocks(counts):
        own, other = _product(chosen, starts[chosen], counts[chosen])
        pairs = _measured(truths, detections, own, order[other], kind)
        found.append(pairs.where(pairs.overlaps >= minimum))
    parts = zip(*((p.detections, p.truths, p.overlaps) for p in found), strict=True)
    return Pairs(*(np.concatenate(part) for part in parts))


def box_overlaps(
    truths: Truths, detections: Detections, mine: NDArray, theirs: NDArray
) -> NDArray[np.float64]:
    """Return the overlap of detection `mine[i]` with truth `theirs[i]`, (P,), from their boxes.

    Touching or inverted boxes have 0, as in COCO's `bbIou`.
    """
    dims = detections.boxes.shape[1] // 2
    shared = np.ones(len(mine))
    apart = np.zeros(len(mine), bool)
    for axis in range(dims):
        low = np.maximum(detections.boxes[mine, axis], truths.boxes[theirs, axis])
        high = np.minimum(detections.boxes[mine, axis + dims], truths.boxes[theirs, axis + dims])
        side = high - low
        apart |= side <= 0
        shared *= side
    whole = detections.volumes[mine]
    # The order of the terms matters for the last bit.
    union = np.where(truths.crowd[theirs], whole, whole + truths.volumes[theirs] - shared)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(apart, 0.0, shared / union)


def _check_kind(truths: Truths, detections: Detections, kind: str) -> None:
    check_dims(truths, detections)
    if kind not in ("bbox", "segm"):
        raise DataError(f"kind is '{kind}'; known are 'bbox' (boxes) and 'segm' (masks).")
    for objects, name in ((truths, "true objects"), (detections, "detections")):
        if kind == "segm" and objects.masks is None and len(objects):
            raise DataError(f"the {name} have no masks. Compare boxes (kind='bbox'), or add masks.")


def _keys(truths: Truths, detections: Detections, same_label: bool) -> tuple[NDArray, NDArray]:
    """Return one number per object that is equal for those that may be paired."""
    if not same_label:
        return truths.images, detections.images
    width = 1 + max((int(o.images.max()) for o in (truths, detections) if len(o)), default=0)
    return tuple(o.labels * width + o.images for o in (truths, detections))


def _blocks(counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the detections that have partners, in groups of about `BLOCK` pairs."""
    some = np.flatnonzero(counts)
    cuts = np.flatnonzero(np.diff(np.cumsum(counts[some]) // BLOCK)) + 1
    return [part for part in np.split(some, cuts) if len(part)]


def _product(mine: NDArray, starts: NDArray, counts: NDArray) -> tuple[NDArray, NDArray]:
    """Return each of `mine` with `starts, starts + 1, ...`, `counts` of them."""
    before = np.cumsum(counts) - counts
    places = np.arange(counts.sum()) + np.repeat(starts - before, counts)
    return np.repeat(mine, counts), places


def _measured(
    truths: Truths, detections: Detections, mine: NDArray, theirs: NDArray, kind: str
) -> Pairs:
    if kind == "bbox":
        return Pairs(mine, theirs, box_overlaps(truths, detections, mine, theirs))
    from vesalius.detect import rle

    used, rows = np.unique(mine, return_inverse=True)
    masks = [detections.masks[k] for k in used.tolist()]
    return Pairs(mine, theirs, rle.pair_iou(masks, truths.masks, rows, theirs, truths.crowd))
