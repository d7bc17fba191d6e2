"""Calibration that knows no department: a temperature, or rising staircases.

Fitted to cases that did not train. Of answers with probability 0.3 three in ten should be right.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import RecipeError

ENOUGH_POSITIVES = 50
"""Labels with fewer positives use the staircase of all labels: theirs would be noise."""
CALIBRATIONS = ("temperature", "isotonic", "none")
_LIMIT = 1e-7
"""Probabilities are kept this far from 0 and 1 before logarithms are taken."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Probabilities that mean what they say: by a temperature, or by rising staircases.

    Attributes:
        how: "temperature", "isotonic" or "none".
        exclusive: the labels are classes, of which exactly one is true.
        slope: of the log-odds (classes: of the logarithms); the temperature is 1 / slope.
        knots: isotonic: (x, y) per label.
    """

    how: str
    exclusive: bool = False
    slope: float = 1.0
    knots: tuple[tuple[NDArray, NDArray], ...] = ()

    def apply(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Return calibrated probabilities (N, labels)."""
        table = np.asarray(probabilities, np.float64)
        if self.how == "temperature":
            return _cooled(table, self.slope, self.exclusive)
        if self.how == "isotonic":
            columns = [np.interp(table[:, j], *knots) for j, knots in enumerate(self.knots)]
            table = np.stack(columns, axis=1)
            sums = table.sum(1, keepdims=True) if self.exclusive else 1.0
            table = table / np.where(sums == 0, 1.0, sums)
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        if self.how == "isotonic":
            return {"how": self.how, "knots": [[x.tolist(), y.tolist()] for x, y in self.knots]}
        return {"how": self.how, "slope": self.slope}


def _cooled(table: NDArray, slope: float, exclusive: bool) -> NDArray[np.float64]:
    from scipy.special import expit, logit, softmax

    kept = np.clip(table, _LIMIT, 1 - _LIMIT)
    return softmax(slope * np.log(kept), axis=1) if exclusive else expit(slope * logit(kept))


def fit_calibration(
    probabilities: NDArray, truth: NDArray, *, how: str = "temperature", exclusive: bool = False
) -> Calibration:
    """Fit to probabilities and truth (N, labels) of cases that did not train.

    "temperature": one for all labels, of least log loss (Guo et al. 2017). "isotonic": a staircase
    per label (Zadrozny and Elkan 2002); labels with fewer than 50 positives use that of all.

    Raises:
        RecipeError: `how` is unknown.
    """
    if how not in CALIBRATIONS:
        raise RecipeError(f"calibration '{how}' is none of {', '.join(CALIBRATIONS)}")
    if how == "temperature":
        return Calibration(how, exclusive, _temperature(probabilities, truth, exclusive))
    if how == "isotonic":
        whole = _staircase(probabilities.ravel(), truth.ravel())
        knots = [
            _staircase(column, true) if true.sum() >= ENOUGH_POSITIVES else whole
            for column, true in zip(probabilities.T, truth.T, strict=True)
        ]
        return Calibration(how, exclusive, knots=tuple(knots))
    return Calibration(how, exclusive)


def _temperature(table: NDArray, truth: NDArray, exclusive: bool) -> float:
    from scipy.optimize import minimize_scalar

    def loss(log_slope: float) -> float:
        found = np.clip(_cooled(table, float(np.exp(log_slope)), exclusive), _LIMIT, 1 - _LIMIT)
        parts = np.log(found[truth]) if exclusive else np.log(np.where(truth, found, 1 - found))
        # As much pull towards no change as a single case has: flawless answers have no minimum.
        return -float(parts.sum()) + 0.5 * log_slope**2

    found: Any = minimize_scalar(loss, bounds=(-4, 4), method="bounded")
    return float(np.exp(found.x))


def _staircase(probabilities: NDArray, truth: NDArray) -> tuple[NDArray, NDArray]:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    model.fit(probabilities, truth.astype(np.float64))
    return model.X_thresholds_.astype(np.float64), model.y_thresholds_.astype(np.float64)
