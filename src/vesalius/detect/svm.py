"""R-CNN's classifiers: one linear SVM per class, trained with hard negatives.

Girshick, Donahue, Darrell and Malik, "Rich feature hierarchies for accurate object detection and
semantic segmentation" (CVPR 2014), section 2.3 and appendix B, with the numbers of the published
code: true boxes are the positives; regions whose overlap with the class is below 0.3 are its
negatives and the others are ignored; L2-regularised hinge loss with C = 0.001, positives weighing
twice, a bias feature of 10, features scaled to a mean norm of 20. One pass over the images keeps
the negatives above the margin (Felzenszwalb et al., "Object Detection with Discriminatively
Trained Part-Based Models", TPAMI 2010).

The solver is liblinear's dual coordinate descent, through scikit-learn.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from vesalius.errors import DataError

TARGET_NORM = 20.0
HARD = -1.0001  # a negative that scores above is worth keeping: it is at the margin or beyond
EASY = -1.2  # one that scores below leaves the cache
_SAMPLE = 200  # images, and regions of each, that the mean norm is estimated from
_ROW_BITS = 32  # image number and row of a region in one integer


@dataclass(frozen=True)
class ImageRegions:
    """The regions of one image: its true boxes and its proposals.

    Attributes:
        features: (N, D) floating, as the network gives them.
        overlaps: (N, classes), the highest IoU with a true box of each class.
        labels: (N,) integers: the class of a true box, -1 for a proposal.
    """

    features: np.ndarray
    overlaps: np.ndarray
    labels: np.ndarray


Fetch = Callable[[Any], ImageRegions]


def class_overlaps(
    boxes: np.ndarray, truth: np.ndarray, labels: Sequence[int], classes: int
) -> np.ndarray:
    """Return (N, classes): each box's highest IoU with a true box of each class, 0 without one.

    Args:
        boxes: (N, 2 * dims).
        truth: (M, 2 * dims).
        labels: (M,) classes of the true boxes, 0 to `classes` - 1.
    """
    from vesalius.detect.boxes import iou

    best = np.zeros((len(boxes), classes))
    if not len(boxes) or not len(truth):
        return best
    pair = (torch.from_numpy(np.asarray(values, np.float64)) for values in (boxes, truth))
    overlaps = iou(*pair).numpy()
    np.maximum.at(best.T, np.asarray(labels, np.int64), overlaps.T)
    return best


@dataclass(frozen=True)
class LinearSVMs:
    """Linear classifiers of region features.

    Attributes:
        weights: (classes, D) float64, of scaled features.
        biases: (classes,) float64.
        scale: what features are multiplied by first.
    """

    weights: np.ndarray
    biases: np.ndarray
    scale: float

    def decide(self, features: np.ndarray) -> np.ndarray:
        """Return (N, classes) float64 scores of features (N, D); above 0 is the class."""
        features = np.asarray(features)
        if features.ndim != 2 or features.shape[1] != self.weights.shape[1]:
            raise DataError(
                f"these SVMs take features (N, {self.weights.shape[1]}), not {features.shape}"
            )
        return features @ (self.scale * self.weights.T) + self.biases

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays, which any array file can keep."""
        scale = np.array([self.scale], np.float64)
        return {"weights": self.weights, "biases": self.biases, "scale": scale}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "LinearSVMs":
        """Return what `to_arrays` described.

        Raises:
            DataError: arrays that are missing or do not fit.
        """
        missing = {"weights", "biases", "scale"} - set(arrays)
        if missing:
            raise DataError(f"no arrays {', '.join(sorted(missing))}; these are no linear SVMs")
        weights, biases, scale = (
            np.asarray(arrays[name], np.float64) for name in ("weights", "biases", "scale")
        )
        if weights.ndim != 2 or biases.shape != weights.shape[:1] or scale.size != 1:
            raise DataError(f"weights {weights.shape} and biases {biases.shape} do not fit")
        return cls(weights, biases, float(scale.ravel()[0]))


@dataclass
class _Cache:
    """The examples of one class: all positives, and the negatives that are hard."""

    positives: np.ndarray
    negatives: list[np.ndarray] = field(default_factory=list)
    keys: list[np.ndarray] = field(default_factory=list)
    added: int = 0

    def add(self, features: np.ndarray, keys: np.ndarray) -> None:
        """Keep the negatives that are not there yet."""
        known = np.isin(keys, np.concatenate(self.keys)) if self.keys else np.zeros(len(keys), bool)
        new = np.flatnonzero(~known)
        if len(new):
            self.negatives.append(features[new])
            self.keys.append(keys[new])
            self.added += len(new)

    def evict(self, scores: np.ndarray) -> None:
        """Drop the negatives that are far on the right side."""
        keep = scores >= EASY
        self.negatives = [np.concatenate(self.negatives)[keep]] if keep.any() else []
        self.keys = [np.concatenate(self.keys)[keep]] if keep.any() else []


def train_svms(
    images: Sequence[Any],
    fetch: Fetch,
    classes: Sequence[str],
    *,
    C: float = 1e-3,
    positive_weight: float = 2.0,
    bias: float = 10.0,
    max_overlap: float = 0.3,
    retrain_after: int = 2000,
    epochs: int = 1,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> LinearSVMs:
    """Train one SVM per class on the regions of images.

    Every image is fetched 1 + `epochs` times, one at a time, so features may lie on disk; the
    positives and the hard negatives are held in memory.

    Args:
        images: what `fetch` is called with.
        fetch: gives the regions of an image.
        classes: names, for messages; their number is that of the classifiers.
        C: of the hinge loss.
        positive_weight: of the loss of positives.
        bias: the value of the feature that is appended for the intercept.
        max_overlap: regions overlapping the class less are its negatives.
        retrain_after: train a class again when more than so many negatives have been added, and at
            the end of a pass.
        epochs: passes over the images for negatives; the paper found one enough.
        tolerance: of the solver (liblinear's own default is 0.1, scikit-learn's 0.0001).
        seed: of the sample for the norm and of the solver.

    Raises:
        DataError: no images, a class without positives or negatives, or regions that do not fit.
    """
    if not len(images):
        raise DataError("there are no images to train SVMs on")
    positives, scale = _first_pass(images, fetch, len(classes), np.random.default_rng(seed))
    empty = [f"{name}: no true box" for name, p in zip(classes, positives, strict=True) if not p]
    if empty:
        raise DataError("some classes have nothing to learn from; leave them out", empty)
    caches = [_Cache(np.concatenate(rows) * scale) for rows in positives]
    machines = LinearSVMs(
        np.zeros((len(classes), caches[0].positives.shape[1])), np.zeros(len(classes)), scale
    )
    trained = np.zeros(len(classes), bool)
    for number, regions, last in _visits(images, fetch, len(classes), epochs):
        features = np.asarray(regions.features, np.float32) * np.float32(scale)
        # Before its first training a class takes everything: all weights 0 score 0, which is hard.
        scores = machines.decide(regions.features)
        keys = (number << _ROW_BITS) + np.arange(len(features))
        for c, cache in enumerate(caches):
            hard = (scores[:, c] > HARD) & (regions.overlaps[:, c] < max_overlap)
            cache.add(features[hard], keys[hard])
            due = cache.added > retrain_after or last or not trained[c]
            if due and cache.negatives:
                negatives = np.concatenate(cache.negatives)
                machines.weights[c], machines.biases[c] = fit_svm(
                    cache.positives,
                    negatives,
                    C=C,
                    positive_weight=positive_weight,
                    bias=bias,
                    tolerance=tolerance,
                    seed=seed,
                )
                trained[c], cache.added = True, 0
                cache.evict(negatives @ machines.weights[c] + machines.biases[c])
    empty = [f"{n}: no negative" for n, done in zip(classes, trained, strict=True) if not done]
    if empty:
        raise DataError("some classes have nothing to learn against; add proposals", empty)
    return machines


def fit_svm(
    positives: np.ndarray,
    negatives: np.ndarray,
    *,
    C: float = 1e-3,
    positive_weight: float = 2.0,
    bias: float = 10.0,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> tuple[np.ndarray, float]:
    """Return the weights (D,) and the bias of one linear SVM.

    They minimise |w|^2 / 2 + (b / bias)^2 / 2 + C (positive_weight * the hinge losses of the
    positives + those of the negatives).
    """
    from sklearn.svm import LinearSVC

    solver = LinearSVC(
        loss="hinge",
        dual=True,
        C=C,
        class_weight={1: positive_weight},
        intercept_scaling=bias,
        tol=tolerance,
        max_iter=20_000,
        random_state=seed,
    )
    labels = np.repeat([1, -1], [len(positives), len(negatives)])
    solver.fit(np.concatenate([positives, negatives]).astype(np.float64), labels)
    return solver.coef_[0], float(solver.intercept_[0])


def _visits(
    images: Sequence[Any], fetch: Fetch, classes: int, epochs: int
) -> Iterator[tuple[int, ImageRegions, bool]]:
    """Yield (number, regions, whether the pass ends) of every image, `epochs` times."""
    for _ in range(epochs):
        for number, image in enumerate(images):
            last = number == len(images) - 1
            yield number, _checked(fetch(image), image, classes), last


def _first_pass(
    images: Sequence[Any], fetch: Fetch, classes: int, rng: np.random.Generator
) -> tuple[list[list[np.ndarray]], float]:
    """Return the positives of each class, and the scale that gives features a mean norm of 20."""
    chosen = set(rng.permutation(len(images))[:_SAMPLE].tolist())
    positives: list[list[np.ndarray]] = [[] for _ in range(classes)]
    norms = []
    for number, regions, _ in _visits(images, fetch, classes, epochs=1):
        for c in np.unique(regions.labels[regions.labels >= 0]):
            rows = regions.features[regions.labels == c]
            positives[c].append(np.array(rows, np.float32))
        if number in chosen:
            rows = rng.permutation(len(regions.features))[:_SAMPLE]
            norms.append(np.linalg.norm(regions.features[rows], axis=1))
    return positives, norm_scale(np.concatenate([*norms, np.zeros(0)]))


def norm_scale(norms: np.ndarray) -> float:
    """Return what features of these norms are multiplied by to have the mean norm 20.

    Raises:
        DataError: the mean is 0 or not finite.
    """
    mean = float(np.mean(norms)) if len(norms) else 0.0
    if not np.isfinite(mean) or mean <= 0:
        raise DataError(f"the features' mean norm is {mean}; they are all zero or not finite")
    return TARGET_NORM / mean


def _checked(regions: ImageRegions, image: object, classes: int) -> ImageRegions:
    count = len(regions.features)
    shapes = (np.shape(regions.overlaps), np.shape(regions.labels))
    if np.ndim(regions.features) != 2 or shapes != ((count, classes), (count,)):
        raise DataError(
            f"{image}: features {np.shape(regions.features)}, overlaps {shapes[0]} and labels "
            f"{shapes[1]} do not fit; expected (N, D), (N, {classes}) and (N,)"
        )
    if count and (np.min(regions.labels) < -1 or np.max(regions.labels) >= classes):
        raise DataError(f"{image}: labels are -1 (proposal) to {classes - 1}")
    if not np.isfinite(regions.features).all():
        raise DataError(f"{image}: features that are not finite; check the network")
    return regions
