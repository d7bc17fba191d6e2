"""Making probabilities mean what they say.

Of records with probability 0.3 three in ten should be positive. Temperature and Platt scaling move
log-odds along a line, isotonic regression along any rising staircase. All are fitted to records
that the model did not train on. Whether it helped: `reliability.calibration_errors`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, PositiveFloat
from scipy.special import expit, logit

from vesalius.block import Block
from vesalius.engine.arrays import checked_probabilities, checked_truth
from vesalius.errors import DataError

LIMIT = 1e-7
"""Probabilities are kept this far from 0 and 1 before their log-odds are taken."""
FLATTEST = 1e-3
"""The smallest slope: calibration never turns the order of records round."""


@dataclass(frozen=True, eq=False)
class Line:
    """Log-odds become slope * log-odds + intercept, per label or for all alike.

    Attributes:
        slope, intercept: (labels,) or (1,). The temperature is 1 / slope.
    """

    slope: NDArray[np.float64]
    intercept: NDArray[np.float64]

    def apply(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Return calibrated probabilities (N, labels)."""
        table = _fitting(probabilities, len(self.slope))
        return expit(self.slope * log_odds(table) + self.intercept)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"slope": self.slope.tolist(), "intercept": self.intercept.tolist()}


@dataclass(frozen=True, eq=False)
class Staircase:
    """Probabilities are looked up, with straight lines between the knots.

    Attributes:
        knots: (x, y) per label, or one pair for all.
    """

    knots: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]

    def apply(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Return calibrated probabilities (N, labels)."""
        table = _fitting(probabilities, len(self.knots))
        if len(self.knots) == 1:
            return np.interp(table, *self.knots[0])
        columns = [np.interp(table[:, j], *knots) for j, knots in enumerate(self.knots)]
        return np.stack(columns, axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"knots": [[x.tolist(), y.tolist()] for x, y in self.knots]}


Calibration = Line | Staircase


def calibration_from_dict(values: Mapping[str, Any]) -> Calibration:
    """Rebuild what `to_dict` returned."""
    if "knots" in values:
        return Staircase(tuple((np.array(x), np.array(y)) for x, y in values["knots"]))
    return Line(np.array(values["slope"]), np.array(values["intercept"]))


class _Calibration(Block):
    def fit(self, probabilities: ArrayLike, truth: ArrayLike) -> Calibration:
        """Return the calibration fitted to probabilities and truth, both (N, labels).

        Raises:
            DataError: shapes differ, or values are out of range.
        """
        truth = checked_truth(truth)
        return self._fit(checked_probabilities(probabilities, truth.shape), truth)

    def _fit(self, probabilities: NDArray, truth: NDArray) -> Calibration:
        raise NotImplementedError


class TemperatureBlock(_Calibration):
    """Log-odds divided by one temperature (Guo et al. 2017), or by one per label."""

    name: Literal["temperature"] = "temperature"
    per_label: bool = False
    """One temperature per label."""
    strength: PositiveFloat = 1.0
    """Pull towards no change, as 1 / variance of the slope; it decides for labels without cases."""

    def _fit(self, probabilities: NDArray, truth: NDArray) -> Calibration:
        x, y = log_odds(probabilities), truth
        if not self.per_label:
            x, y = x.reshape(-1, 1), y.reshape(-1, 1)
        return fit_line(x, y, strength=self.strength, intercept=False)


class PlattBlock(_Calibration):
    """A line through the log-odds, slope and intercept, per label or for all alike (Platt 1999).

    Labels are drawn towards the line of all labels, those with few positives the most.
    """

    name: Literal["platt"] = "platt"
    per_label: bool = True
    """A line per label; false: one for all."""
    strength: PositiveFloat = 2.0
    """Pull towards the line of all labels, as 1 / variance of slope and intercept."""

    def _fit(self, probabilities: NDArray, truth: NDArray) -> Calibration:
        x = log_odds(probabilities)
        whole = fit_line(x.reshape(-1, 1), truth.reshape(-1, 1), strength=1.0)
        if not self.per_label:
            return whole
        centre = float(whole.slope[0]), float(whole.intercept[0])
        return fit_line(x, truth, strength=self.strength, centre=centre)


class IsotonicBlock(_Calibration):
    """The best rising staircase (Zadrozny and Elkan 2002), by scikit-learn."""

    name: Literal["isotonic"] = "isotonic"
    per_label: bool = True
    """A staircase per label; false: one for all."""
    min_positives: int = Field(50, ge=1)
    """Labels with fewer positives use the staircase of all labels: theirs would be noise."""

    def _fit(self, probabilities: NDArray, truth: NDArray) -> Calibration:
        whole = _staircase(probabilities.ravel(), truth.ravel())
        if not self.per_label:
            return Staircase((whole,))
        enough = truth.sum(0) >= self.min_positives
        own = (_staircase(probabilities[:, j], truth[:, j]) for j in np.flatnonzero(enough))
        return Staircase(tuple(next(own) if many else whole for many in enough))


CalibrationBlock = Annotated[
    TemperatureBlock | PlattBlock | IsotonicBlock, Field(discriminator="name")
]
"""Any calibration, chosen by `name`."""


def log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(p / (1 - p)), with p kept off 0 and 1."""
    return logit(np.clip(probabilities, LIMIT, 1 - LIMIT))


def fit_line(
    x: NDArray[np.float64],
    y: NDArray[np.bool_],
    *,
    strength: float,
    centre: tuple[float, float] = (1.0, 0.0),
    intercept: bool = True,
) -> Line:
    """Fit y ~ sigmoid(a x + b) for every column at once, with a at least `FLATTEST`.

    Minimises log loss + strength / 2 * |(a, b) - centre|^2, which is convex and has one minimum.

    Args:
        x, y: (N, columns) log-odds and truth.
        strength: of the pull towards `centre`, above 0.
        centre: slope and intercept.
        intercept: False: b stays where the centre has it.
    """
    pull = (strength, centre)
    start = [np.full(x.shape[1], value, np.float64) for value in centre]
    a, b = _newton(x, y, *start, pull, slope=True, intercept=intercept)
    flat = a < FLATTEST
    if flat.any():
        a = np.maximum(a, FLATTEST)
        if intercept:  # the best intercept for the slope that it must have
            columns = x[:, flat], y[:, flat], a[flat], b[flat]
            b[flat] = _newton(*columns, pull, slope=False, intercept=True)[1]
    return Line(a, b)


def _newton(
    x, y, a, b, pull, *, slope: bool, intercept: bool, steps: int = 50
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move slope, intercept or both to the minimum by Newton's method with halved steps."""
    loss = _penalised_loss(x, y, a, b, pull)
    for _ in range(steps):
        move_a, move_b = _newton_step(x, y, a, b, pull, slope, intercept)
        scale = np.ones_like(a)
        for _ in range(30):
            new = _penalised_loss(x, y, a - scale * move_a, b - scale * move_b, pull)
            worse = new > loss + 1e-12 * np.abs(loss)
            if not worse.any():
                break
            scale[worse] /= 2
        scale[worse] = 0
        a, b, loss = a - scale * move_a, b - scale * move_b, np.where(worse, loss, new)
        if max(np.abs(scale * move_a).max(), np.abs(scale * move_b).max()) < 1e-8:
            break
    return a, b


def _newton_step(x, y, a, b, pull, slope, intercept) -> tuple[NDArray, NDArray]:
    strength, centre = pull
    p = expit(a * x + b)
    error, weight = p - y, p * (1 - p)
    gradient_a = (error * x).sum(0) + strength * (a - centre[0])
    gradient_b = error.sum(0) + strength * (b - centre[1])
    curve_a, curve_b = (weight * x * x).sum(0) + strength, weight.sum(0) + strength
    if not intercept:
        return gradient_a / curve_a, np.zeros_like(b)
    if not slope:
        return np.zeros_like(a), gradient_b / curve_b
    cross = (weight * x).sum(0)
    determinant = curve_a * curve_b - cross**2
    return (
        (curve_b * gradient_a - cross * gradient_b) / determinant,
        (curve_a * gradient_b - cross * gradient_a) / determinant,
    )


def _penalised_loss(x, y, a, b, pull) -> NDArray[np.float64]:
    strength, centre = pull
    z = a * x + b
    fit = (np.logaddexp(0, z) - y * z).sum(0)
    return fit + strength / 2 * ((a - centre[0]) ** 2 + (b - centre[1]) ** 2)


def _staircase(
    probabilities: NDArray, truth: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    model.fit(probabilities, truth.astype(np.float64))
    return model.X_thresholds_.astype(np.float64), model.y_thresholds_.astype(np.float64)


def _fitting(probabilities: ArrayLike, columns: int) -> NDArray[np.float64]:
    table = checked_probabilities(probabilities)
    if columns not in (1, table.shape[1]):
        raise DataError(
            f"The calibration was fitted to {columns} labels; the probabilities have "
            f"{table.shape[1]}."
        )
    return table
