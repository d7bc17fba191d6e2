"""Whether probabilities mean what they say: tables, errors and the reliability plot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.engine.arrays import checked_probabilities, checked_truth, divide
from vesalius.engine.calibration import log_odds
from vesalius.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Reliability:
    """Probabilities beside frequencies, bin by bin; empty bins are left out.

    Attributes:
        predicted: mean probability of each bin.
        observed: share of positives.
        number: how many answers the bin holds.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    number: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: the mean |predicted - observed| over answers."""
        gaps = np.abs(self.predicted - self.observed) * self.number
        return float(divide(gaps.sum(), self.number.sum(), otherwise=np.nan))


def reliability(
    probabilities: ArrayLike,
    truth: ArrayLike,
    *,
    bins: int = 15,
    spacing: Literal["width", "mass"] = "mass",
) -> Reliability:
    """Return the reliability table of one label, (N,), or of all pooled, (N, labels).

    Args:
        probabilities, truth: of one shape.
        bins: at least 1.
        spacing: bins of equal "width", or of equal "mass" (number of answers): with rare labels
            nearly all answers would fall into the lowest bin of equal width.
    """
    truth = checked_truth(np.asarray(truth).reshape(-1, 1))
    table = checked_probabilities(np.asarray(probabilities).reshape(-1, 1), truth.shape)[:, 0]
    if bins < 1:
        raise DataError(f"bins is {bins}; give at least 1")
    edges = np.linspace(0, 1, bins + 1)
    if spacing == "mass":
        edges = np.quantile(table, edges)
    # Equal probabilities share a bin, so with ties there may be fewer bins.
    place = np.searchsorted(np.unique(edges[1:-1]), table, side="left")
    number = np.bincount(place, minlength=bins)
    kept = number > 0
    sums = [np.bincount(place, values, bins)[kept] for values in (table, truth[:, 0])]
    return Reliability(sums[0] / number[kept], sums[1] / number[kept], number[kept])


def calibration_errors(
    probabilities: ArrayLike,
    truth: ArrayLike,
    *,
    labels: Sequence[str] | None = None,
    bins: int = 15,
    spacing: Literal["width", "mass"] = "mass",
) -> dict[str, Any]:
    """Return expected calibration errors and proper scores.

    Returns:
        `pooled_ece` over all answers, `macro_ece` the mean over labels, `brier` and `log_loss`
        (means over records and labels, the latter with p kept off 0 and 1), `labels` the ECE of
        each label.
    """
    truth = checked_truth(truth)
    table = checked_probabilities(probabilities, truth.shape)
    own = [
        reliability(table[:, j], truth[:, j], bins=bins, spacing=spacing).error
        for j in range(truth.shape[1])
    ]
    names = [str(j) for j in range(truth.shape[1])] if labels is None else list(labels)
    z = log_odds(table)
    return {
        "pooled_ece": reliability(table, truth, bins=bins, spacing=spacing).error,
        "macro_ece": float(np.mean(own)),
        "brier": float(((table - truth) ** 2).mean()),
        "log_loss": float((np.logaddexp(0, z) - truth * z).mean()),
        "labels": dict(zip(names, own, strict=True)),
    }


def draw_reliability(tables: Mapping[str, Reliability], *, title: str | None = None) -> "Figure":
    """Return a matplotlib figure of reliability tables by name ("before", "after", a label).

    Points are bins, with 95 % Wilson intervals of their frequency; the diagonal is perfection.
    """
    from matplotlib.figure import Figure

    from vesalius.images.figures import cjk_font, heading

    fonts = {"fontfamily": ["DejaVu Sans", *filter(None, [cjk_font()])]}
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#9ca3af", linestyle="--", linewidth=1)
    for name, table in tables.items():
        low, high = _wilson(table)
        spans = np.maximum([table.observed - low, high - table.observed], 0)
        text = f"{name} (ECE {table.error:.3f})"
        axes.errorbar(
            table.predicted, table.observed, spans, marker="o", markersize=4, capsize=2, label=text
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel(heading("predicted probability", "预测概率"), **fonts)
    axes.set_ylabel(heading("observed frequency", "实际频率"), **fonts)
    if title:
        axes.set_title(title, **fonts)
    if tables:
        axes.legend(prop={"family": fonts["fontfamily"]}, loc="upper left", frameon=False)
    return figure


def _wilson(table: Reliability, z: float = 1.96) -> tuple[NDArray, NDArray]:
    n, p = table.number, table.observed
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return middle - half, middle + half
