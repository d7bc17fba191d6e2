"""What a metric profile is made of: rules, one for each metric, and values for empty masks."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vesalius.segment.metrics import overlap
from vesalius.segment.metrics.boundary import boundary_iou, boundary_widths
from vesalius.segment.metrics.overlap import NAN, ratio
from vesalius.segment.metrics.pair import LabelPair

INF = math.inf
SURFACES = ("hd", "hd95", "assd", "nsd")
METRICS = (
    *("dice", "iou", "precision", "recall", "specificity", "accuracy", "f_beta", "mcc", "kappa"),
    *SURFACES,
    *("boundary_iou", "cldice"),
)


@dataclass(frozen=True)
class Rule:
    """One metric of one library.

    Attributes:
        value: from a pair in which both masks have voxels (and from others where no value is
            given for them below).
        says: the definition, in words.
        absent: where neither mask has voxels.
        missed: where the prediction alone is empty; None: what `value` gives.
        invented: where the truth alone is empty; None: what `value` gives.
    """

    value: Callable[[LabelPair], float]
    says: str
    absent: float | None = NAN
    missed: float | None = None
    invented: float | None = None

    def __call__(self, pair: LabelPair) -> float:
        counts, stated = pair.counts, None
        if counts.absent:
            stated = self.absent
        elif not counts.prediction:
            stated = self.missed
        elif not counts.truth:
            stated = self.invented
        return float(self.value(pair)) if stated is None else float(stated)

    def sentence(self) -> str:
        """Return the definition with the values for empty masks."""
        cases = (
            ("neither mask has voxels", self.absent),
            ("the prediction is empty", self.missed),
            ("the truth is empty", self.invented),
        )
        stated = [f"{value} where {when}" for when, value in cases if value is not None]
        return "; ".join([self.says, *stated]) + "."


@dataclass(frozen=True)
class Profile:
    """The conventions of one library.

    Attributes:
        name: as `evaluate(profile=)` takes it.
        library: the library and version whose values are reproduced.
        rules: metric -> rule; what is missing here is NaN.
        notes: what else is to be known, a sentence each.
        keeps_ignored: whether surfaces know of ignored voxels; otherwise these are set to
            background in both maps, which makes a surface along their border.
    """

    name: str
    library: str
    rules: Mapping[str, Rule]
    notes: tuple[str, ...] = ()
    keeps_ignored: bool = False

    def __call__(self, metric: str, pair: LabelPair) -> float:
        """Return one metric of one label, NaN where the library has none."""
        if metric not in self.rules:
            return NAN
        return self.rules[metric](pair if self.keeps_ignored else pair.without_ignored())


def _counted(function: Callable[[overlap.Counts], float]) -> Callable[[LabelPair], float]:
    return lambda pair: function(pair.counts)


def overlap_rules(*names: str, **empty: float | None) -> dict[str, Rule]:
    """Return rules for overlap scores, all with the same values for empty masks."""
    return {name: Rule(*OVERLAP[name], **{"absent": None, **empty}) for name in names}


def border_rules(attribute: str = "border", **empty: float) -> dict[str, Rule]:
    """Return the surface rules that most libraries share; `empty` is of the distances."""
    return {
        "hd": Rule(
            lambda pair: getattr(pair, attribute).hausdorff(),
            "largest distance between border voxels, either way",
            **empty,
        ),
        "hd95": Rule(
            lambda pair: getattr(pair, attribute).largest_percentile(),
            "larger of the two directed 95th percentiles (linear) over border voxels",
            **empty,
        ),
        "assd": Rule(
            lambda pair: getattr(pair, attribute).pooled_average(),
            "mean distance over the border voxels of both masks together",
            **empty,
        ),
        "nsd": Rule(
            lambda pair: getattr(pair, attribute).within(pair.tolerance, slack=0.0),
            "share of the border voxels of both masks within the tolerance",
            missed=0.0,
            invented=0.0,
        ),
    }


def pooled_hd95(**empty: float) -> Rule:
    """Return the HD95 of libraries that take both directions together."""
    return Rule(
        lambda pair: pair.border.pooled_percentile(),
        "95th percentile (linear) of both directions' distances together, over border voxels",
        **empty,
    )


OVERLAP: dict[str, tuple[Callable[[LabelPair], float], str]] = {
    "dice": (_counted(overlap.dice), "2 TP / (2 TP + FP + FN)"),
    "iou": (_counted(overlap.iou), "TP / (TP + FP + FN)"),
    "precision": (_counted(overlap.precision), "TP / (TP + FP)"),
    "recall": (_counted(overlap.recall), "TP / (TP + FN)"),
    "specificity": (_counted(overlap.specificity), "TN / (TN + FP)"),
    "accuracy": (_counted(overlap.accuracy), "(TP + TN) / all voxels"),
    "f_beta": (
        lambda pair: overlap.f_beta(pair.counts, pair.beta),
        "(1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP)",
    ),
    "mcc": (
        _counted(overlap.mcc),
        "Matthews' correlation; where the formula is 0 / 0, 1 for a perfect answer and 0 otherwise",
    ),
    "kappa": (_counted(overlap.kappa), "Cohen's kappa; 1 for a perfect answer"),
}


def single_mcc(pair: LabelPair) -> float:
    """Return MCC in single precision, as torch and MetricsReloaded count."""
    tp, tn, fp, fn = (np.float32(getattr(pair.counts, n)) for n in ("tp", "tn", "fp", "fn"))
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return ratio(float(tp * tn - fp * fn), float(np.sqrt(product)))


def single_kappa(pair: LabelPair) -> float:
    """Return kappa with the agreement in single precision, as MetricsReloaded counts."""
    c = pair.counts
    if not c.total:
        return NAN
    agreement = float(np.float32(c.tp + c.tn) / np.float32(c.total))
    share = [(c.truth / c.total, c.prediction / c.total)]
    share += [(1 - true, 1 - predicted) for true, predicted in share]
    chance = sum(true * predicted for true, predicted in share)
    return ratio(agreement - chance, 1 - chance)


def thick_boundary(pair: LabelPair) -> float:
    """Return boundary IoU at the pair's share of the image's diagonal."""
    widths = boundary_widths(pair.shape, pair.spacing, pair.boundary)
    return boundary_iou(pair.truth, pair.prediction, widths, valid=pair.valid)


def thin_boundary(pair: LabelPair) -> float:
    """Return the IoU of the border voxels."""
    distances = pair.border
    hits = np.count_nonzero(distances.truth == 0)
    return ratio(hits, distances.truth.size + distances.prediction.size - hits)


def measurable(value: Callable[[LabelPair], float]) -> Callable[[LabelPair], float]:
    """NaN where masks have voxels but ignored voxels hide a whole surface."""
    return lambda pair: value(pair) if pair.surfels.comparable else NAN
