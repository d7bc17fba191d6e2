"""Calibration of any department's probabilities: `engine.calibration`, and classes.

Labels of which several may be true are calibrated one by one. Classes, of which exactly one is
true, have a temperature of their softmax (Guo et al. 2017), or staircases whose answers are
brought back to a sum of 1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.engine import calibration
from vesalius.engine.calibration import LIMIT, IsotonicBlock, TemperatureBlock
from vesalius.errors import RecipeError

CALIBRATIONS = ("temperature", "isotonic", "none")
_BLOCKS = {"temperature": TemperatureBlock(), "isotonic": IsotonicBlock()}


@dataclass(frozen=True, eq=False)
class Calibration:
    """Probabilities that mean what they say.

    Attributes:
        how: "temperature", "isotonic" or "none".
        exclusive: the labels are classes, of which exactly one is true.
        fitted: what was fitted per label; None for "none" and for the temperature of classes.
        slope: of the classes' logarithms; the temperature is 1 / slope.
    """

    how: str
    exclusive: bool = False
    fitted: calibration.Calibration | None = None
    slope: float = 1.0

    def apply(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Return calibrated probabilities (N, labels)."""
        table = np.asarray(probabilities, np.float64)
        if self.fitted is None:
            return table if self.how == "none" else _cooled(table, self.slope)
        table = self.fitted.apply(table)
        sums = table.sum(1, keepdims=True) if self.exclusive else 1.0
        return table / np.where(sums == 0, 1.0, sums)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        found = {"slope": self.slope} if self.fitted is None else self.fitted.to_dict()
        return {"how": self.how, **found}


def fit_calibration(
    probabilities: NDArray, truth: NDArray, *, how: str = "temperature", exclusive: bool = False
) -> Calibration:
    """Fit to probabilities and truth (N, labels) of cases that did not train.

    "temperature": one for all labels. "isotonic": a staircase per label; labels with few
    positives use that of all.

    Raises:
        RecipeError: `how` is unknown.
    """
    if how not in CALIBRATIONS:
        raise RecipeError(f"calibration '{how}' is none of {', '.join(CALIBRATIONS)}")
    if how == "none":
        return Calibration(how, exclusive)
    if how == "temperature" and exclusive:
        return Calibration(how, exclusive, slope=_slope(probabilities, truth))
    return Calibration(how, exclusive, _BLOCKS[how].fit(probabilities, truth))


def _cooled(table: NDArray, slope: float) -> NDArray[np.float64]:
    from scipy.special import softmax

    return softmax(slope * np.log(np.clip(table, LIMIT, 1 - LIMIT)), axis=1)


def _slope(table: NDArray, truth: NDArray) -> float:
    """Return the slope of least log loss, by the class that is true."""
    from scipy.optimize import minimize_scalar

    def loss(log_slope: float) -> float:
        found = np.clip(_cooled(table, float(np.exp(log_slope))), LIMIT, 1 - LIMIT)
        # As much pull towards no change as a single case has: flawless answers have no minimum.
        return -float(np.log(found[truth]).sum()) + 0.5 * log_slope**2

    found: Any = minimize_scalar(loss, bounds=(-4, 4), method="bounded")
    return float(np.exp(found.x))
