"""How good proposals are: recall, average recall and mean average best overlap.

As Hosang, Benenson, Dollár and Schiele say it ("What makes for effective detection proposals?",
TPAMI 2016) and, for MABO, Uijlings et al. (IJCV 2013). An object counts as found by the proposal
that overlaps it most, even where that proposal is the best of another object too, as in both
papers; COCO's AR matches one to one instead.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from vesalius.detect.proposal_boxes import Proposals
from vesalius.errors import DataError


def best_overlaps(
    proposals: Sequence[np.ndarray | Proposals],
    truth: Sequence[np.ndarray],
    *,
    limit: int | None = None,
) -> np.ndarray:
    """Return each true object's highest IoU with a proposal of its image, 0 where there is none.

    Args:
        proposals: per image, best first: (N, 2 * dims) boxes or `Proposals`.
        truth: per image, (M, 2 * dims) boxes.
        limit: look at the first so many of each image only.

    Returns:
        (M of all images,) float64, in the order of `truth`.
    """
    if len(proposals) != len(truth):
        raise DataError(f"proposals of {len(proposals)} images, but truth of {len(truth)}")
    parts = [_best_of_image(*pair, limit) for pair in zip(proposals, truth, strict=True)]
    return np.concatenate([*parts, np.zeros(0)])


def _best_of_image(
    proposals: np.ndarray | Proposals, truth: np.ndarray, limit: int | None
) -> np.ndarray:
    import torch

    from vesalius.detect.boxes import iou

    boxes = np.asarray(getattr(proposals, "boxes", proposals), np.float64)[:limit]
    truth = np.asarray(truth, np.float64)
    if not len(boxes) or not len(truth):
        return np.zeros(len(truth))
    return iou(torch.from_numpy(truth), torch.from_numpy(boxes)).amax(dim=1).numpy()


def recall(
    proposals: Sequence[np.ndarray | Proposals],
    truth: Sequence[np.ndarray],
    thresholds: Sequence[float] = (0.5, 0.7, 0.9),
    *,
    limit: int | None = None,
) -> dict[float, float]:
    """Return the share of the true objects with a proposal of at least each IoU.

    NaN where there is no object. The arguments are those of `best_overlaps`.
    """
    best = best_overlaps(proposals, truth, limit=limit)
    return {float(t): float((best >= t).mean()) if len(best) else np.nan for t in thresholds}


def average_recall(
    proposals: Sequence[np.ndarray | Proposals],
    truth: Sequence[np.ndarray],
    *,
    limit: int | None = None,
) -> float:
    """Return twice the area under the recall over IoU 0.5 to 1 (Hosang et al. 2016, section 5.2).

    Exact, not summed over thresholds: an object of best overlap o adds 2 max(o - 0.5, 0). NaN where
    there is no object. The arguments are those of `best_overlaps`.
    """
    best = best_overlaps(proposals, truth, limit=limit)
    return float(2 * np.maximum(best - 0.5, 0).mean()) if len(best) else np.nan


def mean_average_best_overlap(
    proposals: Sequence[np.ndarray | Proposals],
    truth: Sequence[np.ndarray],
    labels: Sequence[Sequence[Hashable]] | None = None,
    *,
    limit: int | None = None,
) -> float:
    """Return MABO: the mean over classes of the objects' mean best IoU (Uijlings et al. 2013).

    NaN where there is no object. Without `labels` (per image, one for each object) all objects are
    one class. The other arguments are those of `best_overlaps`.
    """
    best = best_overlaps(proposals, truth, limit=limit)
    if not len(best):
        return np.nan
    names = [0] * len(best) if labels is None else [name for part in labels for name in part]
    if len(names) != len(best):
        raise DataError(f"{len(names)} labels, but {len(best)} objects")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    classes = np.array([numbers[name] for name in names])
    return float((np.bincount(classes, weights=best) / np.bincount(classes)).mean())
