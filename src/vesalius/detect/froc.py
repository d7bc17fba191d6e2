"""Free-response ROC: how many lesions are found at how many false positives per image.

The score is the mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per image, as in
LUNA16 (Setio et al. 2017), read from the curve by linear interpolation. Rules as there: an object
is found with the highest score of the detections that hit it; further hits on it are neither right
nor wrong; detections that hit only ignored objects count for nothing. 2D and 3D.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.detect.coco_arrays import Detections, Truths, check_dims
from vesalius.detect.coco_matching import run_starts
from vesalius.detect.coco_overlaps import overlapping
from vesalius.errors import DataError

RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False positives per image at which LUNA16 reads the sensitivity."""


@dataclass(frozen=True, eq=False)
class Froc:
    """A free-response curve.

    Attributes:
        rates: false positives per image at which `sensitivities` are read.
        sensitivities: (len(rates),) from 0 to 1; NaN without true objects.
        false_positives, sensitivity, scores: (P,) the curve: false positives per image and
            sensitivity of all detections with at least this score, from the highest score down.
        objects: true objects that count.
        images: number of images.
    """

    rates: tuple[float, ...]
    sensitivities: NDArray[np.float64]
    false_positives: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    scores: NDArray[np.float64]
    objects: int
    images: int

    @property
    def score(self) -> float:
        """The mean sensitivity."""
        return float(self.sensitivities.mean())


@dataclass(frozen=True, eq=False)
class FrocEvents:
    """What moves the curve, by descending score: found objects and false positives.

    Attributes:
        scores, images: (E,).
        found: (E,) bool, an object that is found; else a false positive.
        object_images: (N,) image of each true object that counts.
    """

    scores: NDArray[np.float64]
    images: NDArray[np.int64]
    found: NDArray[np.bool_]
    object_images: NDArray[np.int64]

    def curve(self, weights: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        """Return false positives per image and sensitivity, (R, P), for weights (R, images)."""
        ends = np.append(run_starts(self.scores)[1:], len(self.scores)) - 1
        ends = ends[: len(self.scores)]
        drawn = weights[:, self.images]
        objects = weights[:, self.object_images].sum(1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            sensitivity = np.cumsum(drawn * self.found, axis=1)[:, ends] / objects
        false = np.cumsum(drawn * ~self.found, axis=1)[:, ends]
        return false / weights.sum(1, keepdims=True), sensitivity

    def sensitivities(self, weights: NDArray, rates: ArrayLike = RATES) -> NDArray[np.float64]:
        """Return the sensitivities at the rates, (R, rates), for weights (R, images)."""
        rates = np.asarray(rates, np.float64)
        some = weights[:, self.object_images].sum(1) > 0
        found = np.full((len(weights), len(rates)), np.nan)
        for row in np.flatnonzero(some):
            false, sensitivity = (part[0] for part in self.curve(weights[row : row + 1]))
            found[row] = np.interp(rates, np.append(0, false), np.append(0, sensitivity))
        return found


def froc(
    truths: Truths,
    detections: Detections,
    *,
    images: int,
    rates: tuple[float, ...] = RATES,
    hit: Literal["iou", "centre"] = "iou",
    threshold: float = 0.5,
    distance: float | None = None,
    spacing: ArrayLike | None = None,
    duplicates: Literal["ignored", "wrong"] = "ignored",
) -> Froc:
    """Return the free-response curve over all classes; an object is hit only by its own class.

    Args:
        truths: objects; `ignore` or `crowd`: of no consequence.
        detections: of all images.
        images: number of images, those without objects and detections included.
        rates: false positives per image at which the sensitivity is read.
        hit: "iou": the overlap of the boxes reaches `threshold`; "centre": the centres are less
            than `distance` apart.
        threshold: lowest overlap, in (0, 1].
        distance: in pixels, or in the units of `spacing`; None: half the mean side of the true
            box, which for a sphere is its radius (LUNA16).
        spacing: size of a pixel along x, y (and z), for "centre"; None: 1.
        duplicates: further hits on one object are "ignored" (LUNA16) or "wrong".

    Raises:
        DataError: an unknown rule, rates or thresholds out of range, or an image's index too high.
    """
    events = froc_events(
        truths,
        detections,
        images=images,
        hit=hit,
        threshold=threshold,
        distance=distance,
        spacing=spacing,
        duplicates=duplicates,
    )
    if not rates or min(rates) < 0:
        raise DataError(f"rates are {rates}; give false positives per image, 0 or more.")
    every = np.ones((1, images))
    false, sensitivity = (part[0] for part in events.curve(every))
    ends = run_starts(events.scores)
    return Froc(
        tuple(rates),
        events.sensitivities(every, rates)[0],
        false,
        sensitivity,
        events.scores[ends],
        len(events.object_images),
        images,
    )


def froc_events(
    truths: Truths,
    detections: Detections,
    *,
    images: int,
    hit: str = "iou",
    threshold: float = 0.5,
    distance: float | None = None,
    spacing: ArrayLike | None = None,
    duplicates: str = "ignored",
) -> FrocEvents:
    """Return what moves the curve, for resampling; arguments as of `froc`."""
    _check(truths, detections, images, hit, threshold, duplicates)
    if hit == "iou":
        pairs = overlapping(truths, detections, minimum=threshold)
    else:
        pairs = overlapping(truths, detections, minimum=0.0)
        pairs = pairs.where(_near(truths, detections, pairs, distance, spacing))
    counts = ~(truths.ignore | truths.crowd)
    useful = pairs.where(counts[pairs.truths])
    order = np.lexsort((useful.detections, -detections.scores[useful.detections], useful.truths))
    firsts = order[run_starts(useful.truths[order])]
    best, objects = useful.detections[firsts], useful.truths[firsts]
    false = np.ones(len(detections), bool)
    false[pairs.detections] = False
    if duplicates == "wrong":
        false[useful.detections] = True
        false[best] = False
    wrong = np.flatnonzero(false)
    scores = np.concatenate([detections.scores[best], detections.scores[wrong]])
    where = np.concatenate([truths.images[objects], detections.images[wrong]])
    found = np.arange(len(scores)) < len(best)
    order = np.argsort(-scores, kind="stable")
    return FrocEvents(scores[order], where[order], found[order], truths.images[counts])


def _near(truths, detections, pairs, distance: float | None, spacing) -> NDArray[np.bool_]:
    dims = truths.boxes.shape[1] // 2
    scale = np.broadcast_to(1.0 if spacing is None else np.asarray(spacing, np.float64), dims)
    centres = [(o.boxes[:, :dims] + o.boxes[:, dims:]) / 2 * scale for o in (truths, detections)]
    sides = (truths.boxes[:, dims:] - truths.boxes[:, :dims]) * scale
    reach = sides.mean(1) / 2 if distance is None else np.full(len(truths), float(distance))
    apart = np.linalg.norm(centres[0][pairs.truths] - centres[1][pairs.detections], axis=1)
    return apart < reach[pairs.truths]


def _check(truths, detections, images: int, hit: str, threshold: float, duplicates: str) -> None:
    check_dims(truths, detections)
    highest = max((int(o.images.max()) for o in (truths, detections) if len(o)), default=-1)
    problems = []
    if hit not in ("iou", "centre"):
        problems.append(f"hit is '{hit}'; known are 'iou' and 'centre'")
    if duplicates not in ("ignored", "wrong"):
        problems.append(f"duplicates is '{duplicates}'; known are 'ignored' and 'wrong'")
    if not 0 < threshold <= 1:
        problems.append(f"threshold is {threshold}; an overlap lies between 0 and 1")
    if images < 1 or highest >= images:
        problems.append(f"images is {images}, the highest index {highest}; count all images")
    if problems:
        raise DataError("the free-response curve cannot be made:", problems)
