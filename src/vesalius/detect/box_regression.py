"""R-CNN's box regression: per class, ridge regression from a region's features to a better box.

Girshick, Donahue, Darrell and Malik, "Rich feature hierarchies for accurate object detection and
semantic segmentation" (CVPR 2014), appendix C, as in the published code: proposals that overlap
their nearest true box by more than 0.6 IoU (true boxes themselves included), the shift and log
growth between the two as targets, centred and decorrelated, features scaled to a mean norm of 20,
lambda = 1000, and a bias column that is shrunk like the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vesalius.detect.boxes import BoxCoder, iou
from vesalius.detect.svm import norm_scale
from vesalius.errors import DataError

_FLOOR = 1e-3  # added to the targets' variances before they are divided by


def pairs(
    boxes: np.ndarray, truth: np.ndarray, labels: Sequence[int], *, min_overlap: float = 0.6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choose the boxes of an image that regression learns from.

    Args:
        boxes: (N, 2 * dims), proposals and true boxes.
        truth: (M, 2 * dims).
        labels: (M,) classes of the true boxes.
        min_overlap: a box must overlap its nearest true box by more.

    Returns:
        The chosen rows of `boxes` (K,), their true boxes (K, 2 * dims), and their classes (K,).
    """
    truth, labels = np.asarray(truth, np.float64), np.asarray(labels, np.int64)
    if not len(boxes) or not len(truth):
        return np.zeros(0, np.int64), truth[:0], labels[:0]
    best, nearest = iou(_tensor(boxes), _tensor(truth)).max(dim=1)
    rows = np.flatnonzero(best.numpy() > min_overlap)
    chosen = nearest.numpy()[rows]
    return rows, truth[chosen], labels[chosen]


@dataclass(frozen=True)
class RidgeBoxes:
    """Regressors of all classes.

    Attributes:
        weights: (classes, D + 1, 2 * dims) float64, of scaled features; the last row is the bias.
        means: (classes, 2 * dims) float64, of the targets.
        colours: (classes, 2 * dims, 2 * dims) float64, what undoes the whitening of the targets.
        scale: what features are multiplied by first.
    """

    weights: np.ndarray
    means: np.ndarray
    colours: np.ndarray
    scale: float

    @classmethod
    def fit(
        cls,
        features: np.ndarray,
        boxes: np.ndarray,
        truth: np.ndarray,
        labels: Sequence[int],
        *,
        classes: int,
        ridge: float = 1000.0,
        scale: float | None = None,
    ) -> "RidgeBoxes":
        """Fit the regressors of all classes on pairs of boxes (see `pairs`).

        A class without a pair gets a regressor that leaves boxes as they are.

        Args:
            features: (K, D) of the boxes.
            boxes, truth: (K, 2 * dims), the boxes and what they should become.
            labels: (K,) classes, 0 to `classes` - 1.
            classes: how many there are.
            ridge: lambda, the weight of the squared weights.
            scale: of the features; by default their mean norm becomes 20.

        Raises:
            DataError: shapes that do not fit, features that are not finite, or no pair at all.
        """
        features, labels = np.asarray(features), np.asarray(labels, np.int64)
        _check(features, boxes, truth, labels, classes)
        if scale is None:
            scale = norm_scale(np.linalg.norm(features, axis=1))
        targets = _coder(boxes).encode(_tensor(truth), _tensor(boxes)).numpy()
        width, depth = targets.shape[1], features.shape[1] + 1
        weights, means = np.zeros((classes, depth, width)), np.zeros((classes, width))
        colours = np.tile(np.eye(width), (classes, 1, 1))
        for c in np.unique(labels):
            rows = labels == c
            means[c] = targets[rows].mean(axis=0)
            white, colours[c] = whiten(targets[rows] - means[c])
            weights[c] = _ridge(_with_bias(features[rows], scale), white, ridge)
        return cls(weights, means, colours, float(scale))

    def apply(self, features: np.ndarray, boxes: np.ndarray, labels: Sequence[int]) -> np.ndarray:
        """Return the boxes (N, 2 * dims) moved by the regressors of their classes.

        They may reach beyond the image, and grow at most by the box coder's limit of 62.5 times.

        Args:
            features: (N, D).
            boxes: (N, 2 * dims).
            labels: (N,) the class of each box.
        """
        features, labels = np.asarray(features), np.asarray(labels, np.int64)
        if len(boxes) == 0:
            return np.zeros((0, self.means.shape[1]))
        _check(features, boxes, boxes, labels, len(self.weights))
        if features.shape[1] + 1 != self.weights.shape[1]:
            raise DataError(
                f"these regressors take features (N, {self.weights.shape[1] - 1}), not "
                f"{features.shape}"
            )
        deltas = np.empty((len(boxes), self.means.shape[1]))
        for c in np.unique(labels):
            rows = labels == c
            white = _with_bias(features[rows], self.scale) @ self.weights[c]
            deltas[rows] = white @ self.colours[c] + self.means[c]
        return _coder(boxes).decode(_tensor(deltas), _tensor(boxes)).numpy()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays, which any array file can keep."""
        scale = np.array([self.scale], np.float64)
        return {
            "weights": self.weights,
            "means": self.means,
            "colours": self.colours,
            "scale": scale,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "RidgeBoxes":
        """Return what `to_arrays` described.

        Raises:
            DataError: arrays that are missing or do not fit.
        """
        names = ("weights", "means", "colours", "scale")
        missing = set(names) - set(arrays)
        if missing:
            raise DataError(f"no arrays {', '.join(sorted(missing))}; this is no box regression")
        weights, means, colours, scale = (np.asarray(arrays[n], np.float64) for n in names)
        count, width = means.shape
        fitting = colours.shape == (count, width, width) and scale.size == 1
        if weights.ndim != 3 or weights.shape[::2] != (count, width) or not fitting:
            raise DataError(
                f"weights {weights.shape}, means {means.shape} and colours {colours.shape} do not "
                "fit"
            )
        return cls(weights, means, colours, float(scale.ravel()[0]))


def whiten(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return centred targets (N, T) decorrelated, and the matrix (T, T) that undoes it."""
    variances, axes = np.linalg.eigh(targets.T @ targets / len(targets))
    deviations = np.sqrt(np.maximum(variances, 0) + _FLOOR)
    return targets @ (axes / deviations) @ axes.T, (axes * deviations) @ axes.T


def _ridge(inputs: np.ndarray, targets: np.ndarray, ridge: float) -> np.ndarray:
    """Return W that minimises |inputs W - targets|^2 + ridge |W|^2."""
    from scipy.linalg import solve

    rows, columns = inputs.shape
    if rows < columns:  # the smaller of two equal systems
        kernel = inputs @ inputs.T + ridge * np.eye(rows)
        return inputs.T @ solve(kernel, targets, assume_a="pos")
    kernel = inputs.T @ inputs + ridge * np.eye(columns)
    return solve(kernel, inputs.T @ targets, assume_a="pos")


def _with_bias(features: np.ndarray, scale: float) -> np.ndarray:
    return np.column_stack([features.astype(np.float64) * scale, np.ones(len(features))])


def _coder(boxes: np.ndarray) -> BoxCoder:
    return BoxCoder(weights=(1.0,) * np.shape(boxes)[1])


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float64))


def _check(
    features: np.ndarray, boxes: np.ndarray, truth: np.ndarray, labels: np.ndarray, classes: int
) -> None:
    count = len(labels)
    shapes = np.shape(features), np.shape(boxes), np.shape(truth)
    fitting = features.ndim == 2 and shapes[1] == shapes[2] and shapes[1][1:] in ((4,), (6,))
    if not fitting or len(features) != count or len(boxes) != count:
        raise DataError(
            f"features {shapes[0]}, boxes {shapes[1]} and {shapes[2]}, and {count} labels do not "
            "fit; expected (N, D), (N, 4 or 6) twice, and N"
        )
    if not count:
        raise DataError("no pair of a proposal and a true box to learn from; lower min_overlap")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"labels are 0 to {classes - 1}, found {labels.min()} to {labels.max()}")
    if not np.isfinite(features).all():
        raise DataError("features that are not finite; check the network")
