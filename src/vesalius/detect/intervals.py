"""How sure a detection score is: bootstrap intervals over images, or over patients.

Objects of one image are not independent, so whole images are drawn, and where groups are given
whole patients. A resample is a row of weights: how often each image was drawn. Matching happens
inside an image and is done once; a resample only counts its results again, with the weights. The
scores are exactly those of evaluating the resampled images anew, as long as no two detections of
an image have the same score.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesalius.detect.coco_matching import Matching
from vesalius.detect.coco_precision import RECALLS, precision_at_hits, recalls_reached
from vesalius.errors import DataError

CELLS = 1 << 21
"""Resamples times detections that are counted at once: tens of megabytes."""


@dataclass(frozen=True, eq=False)
class Intervals:
    """Ends of confidence intervals, (S,) each; NaN with fewer than two units or no values."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    units: int
    confidence: float


def bootstrap(
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    images: int,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Intervals:
    """Return percentile intervals (Efron 1979) of scores of weighted images.

    The levels are moved outwards by sqrt(n / (n - 1)) t(n - 1) / z, because scores of few
    resampled units vary too little (Hesterberg 2015, section 5.3).

    Args:
        score: weights (R, images) -> scores (R, S).
        images: number of images.
        groups: (images,) patient of each image, drawn as a whole; None: every image by itself.
        resamples: number of draws.
        confidence: nominal level, between 0 and 1.
        seed: of the draws.

    Raises:
        DataError: groups of another length, or arguments out of range.
    """
    if resamples < 100 or not 0 < confidence < 1:
        raise DataError(
            f"resamples is {resamples} (at least 100), confidence {confidence} (between 0 and 1)."
        )
    units = units_of(groups, images)
    number = int(units.max()) + 1 if images else 0
    if number < 2:
        width = score(np.ones((1, images))).shape[1]
        return Intervals(*np.full((2, width), np.nan), number, confidence)
    drawn = [score(rows[:, units]) for rows in draws(number, resamples, seed)]
    low, high = _quantiles(np.concatenate(drawn), _levels(number, confidence))
    return Intervals(low, high, number, confidence)


def draws(units: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each unit is drawn, (some resamples, units), until all are made."""
    rng = np.random.default_rng(seed)
    rows = max(1, CELLS // units)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        picks = rng.integers(0, units, (count, units)) + np.arange(count)[:, None] * units
        drawn = np.bincount(picks.ravel(), minlength=count * units)
        yield drawn.reshape(count, units).astype(np.float64)


def units_of(groups: Sequence[Hashable] | None, images: int) -> NDArray[np.int64]:
    """Return the number of each image's unit; an image whose group is None is one of its own."""
    if groups is None:
        return np.arange(images)
    if len(groups) != images:
        raise DataError(f"there are {len(groups)} groups for {images} images. Give one per image.")
    known: dict[Hashable, int] = {}
    keys = ((place, None) if group is None else group for place, group in enumerate(groups))
    return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)


class WeightedPrecision:
    """Average precision and recall of matched images that count with weights.

    Args:
        matching: of all images; its first range of areas is used.
        images, classes: their numbers.
    """

    def __init__(self, matching: Matching, *, images: int, classes: int):
        self.thresholds = len(matching.thresholds)
        self.positives = np.zeros((images, classes))
        counted = ~matching.ignored[0]
        own = matching.truth_images[counted], matching.truth_labels[counted]
        np.add.at(self.positives, own, 1)
        order = np.lexsort((-matching.scores, matching.labels))
        bounds = np.searchsorted(matching.labels[order], np.arange(classes + 1))
        self._classes = [
            _ClassMatches(matching, order[bounds[k] : bounds[k + 1]]) for k in range(classes)
        ]

    def __call__(self, weights: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        """Return average precision and recall, each (R, T, K), for weights (R, images).

        NaN where no true object of a class has weight.
        """
        positives = weights @ self.positives
        shape = (len(weights), self.thresholds, len(self._classes))
        ap, recall = np.zeros(shape), np.zeros(shape)
        for k, matches in enumerate(self._classes):
            rows = max(1, CELLS // max(1, len(matches.images)))
            for start in range(0, len(weights), rows):
                part = slice(start, start + rows)
                matches.score(weights[part], positives[part, k], ap[part, :, k], recall[part, :, k])
        absent = np.broadcast_to((positives == 0)[:, None], shape)
        ap[absent], recall[absent] = np.nan, np.nan
        return ap, recall


class _ClassMatches:
    """The detections of one class, best first: their images, and which were right or ignored."""

    def __init__(self, matching: Matching, order: NDArray[np.int64]):
        self.images = matching.images[order]
        self.hits = [np.flatnonzero(row[order]) for row in matching.hit[0]]
        self.ignored = [np.flatnonzero(~row[order]) for row in matching.kept[0]]

    def score(self, weights: NDArray, positives: NDArray, ap: NDArray, recall: NDArray) -> None:
        """Write average precision and recall, (R, T), for weights (R, images)."""
        drawn = weights[:, self.images]
        ranks = np.cumsum(drawn, axis=1)
        positives = np.maximum(positives, 1)[:, None]  # without any there are no hits either
        for place, (hits, ignored) in enumerate(zip(self.hits, self.ignored, strict=True)):
            if len(hits) == 0:
                continue
            found = np.cumsum(drawn[:, hits], axis=1)
            counted = ranks[:, hits]
            if len(ignored):  # few: cheaper than a sum over all that are kept
                passed = np.cumsum(drawn[:, ignored], axis=1)
                passed = np.concatenate([np.zeros((len(drawn), 1)), passed], axis=1)
                counted = counted - passed[:, np.searchsorted(ignored, hits)]
            curve = precision_at_hits(found, counted)
            reached = recalls_reached(found, positives)
            steps = np.diff(reached, prepend=0, axis=1)
            ap[:, place] = np.einsum("rn,rn->r", curve, steps) / len(RECALLS)
            recall[:, place] = found[:, -1] / positives[:, 0]


def mean_known(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return means without NaN; NaN, and no warning, where nothing is left."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis) / known.sum(axis)


def _levels(units: int, confidence: float) -> NDArray[np.float64]:
    from scipy.special import ndtr, stdtrit

    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    return ndtr(np.sqrt(units / (units - 1)) * stdtrit(units - 1, tails))


def _quantiles(values: NDArray, levels: NDArray) -> NDArray[np.float64]:
    """Return the two quantiles of each column without its NaN, (2, S)."""
    ends = np.full((2, values.shape[1]), np.nan)
    known = ~np.isnan(values).all(0)
    if known.any():
        ends[:, known] = np.nanquantile(values[:, known], levels, axis=0)
    return ends
