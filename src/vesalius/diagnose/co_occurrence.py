"""Moving a label's probability by what the record's other labels say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat
from scipy.optimize import minimize_scalar
from scipy.special import expit

from vesalius.block import Block
from vesalius.engine.calibration import log_odds


@dataclass(frozen=True, eq=False)
class CoOccurrence:
    """Log-odds are moved by factor * sum over other labels of (p - mean p) * weight.

    Attributes:
        weights: (labels, labels) shrunken log odds ratios, 0 on the diagonal.
        means: (labels,) mean probability where it was fitted.
        factor: how much of it is believed, 0 to 1.
    """

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    factor: float

    def apply(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return moved probabilities (N, labels)."""
        moves = (probabilities - self.means) @ self.weights
        return expit(log_odds(probabilities) + self.factor * moves)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        table = {"weights": self.weights.tolist(), "means": self.means.tolist()}
        return table | {"factor": self.factor}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CoOccurrence":
        """Rebuild from `to_dict`."""
        return cls(np.array(values["weights"]), np.array(values["means"]), values["factor"])


class CoOccurrenceBlock(Block):
    """Diseases that come together: a naive-Bayes-like correction from the labels' pairs.

    The log odds ratio of each pair in the training labels is shrunk by its own variance; how much
    of all that a model does not know already is one factor, fitted to log loss.
    """

    spread: PositiveFloat = 1.0
    """standard deviation that log odds ratios are expected to have; the smaller, the more shrunk"""

    def fit(
        self, probabilities: NDArray, truth: NDArray, training: NDArray | None = None
    ) -> CoOccurrence:
        """Return the correction.

        Args:
            probabilities, truth: (N, labels) of records that the model did not train on.
            training: (M, labels) labels of the training records; None: `truth`.
        """
        weights = pair_weights(truth if training is None else training, spread=self.spread)
        means = probabilities.mean(0)
        z, moves = log_odds(probabilities), (probabilities - means) @ weights

        def loss(factor: float) -> float:
            moved = z + factor * moves
            return float((np.logaddexp(0, moved) - truth * moved).mean())

        best = minimize_scalar(loss, bounds=(0, 1), method="bounded", options={"xatol": 1e-3})
        factor = float(best.x) if best.fun < loss(0.0) else 0.0
        return CoOccurrence(weights, means, factor)


def pair_weights(truth: NDArray[np.bool_], *, spread: float = 1.0) -> NDArray[np.float64]:
    """Return (labels, labels) log odds ratios of label pairs, drawn towards 0.

    With 1/2 added to every cell (Haldane), times spread^2 / (spread^2 + variance), the variance
    being the sum of the cells' inverses: the posterior mean under a normal prior.
    """
    y = truth.astype(np.float64)
    both = y.T @ y
    one = np.diagonal(both)
    first, second = one[:, None] - both, one[None, :] - both
    cells = np.stack([both, first, second, len(y) - both - first - second]) + 0.5
    ratio = np.log(cells[0]) + np.log(cells[3]) - np.log(cells[1]) - np.log(cells[2])
    weights = ratio * spread**2 / (spread**2 + (1 / cells).sum(0))
    np.fill_diagonal(weights, 0.0)
    return weights
