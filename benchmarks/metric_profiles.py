"""Compare every metric profile with the library that it reproduces, on random masks.

    python benchmarks/metric_profiles.py [--cases 240] [--seed 0] [--write FILE]

Needs the libraries (`pip install "vesalius[bench]"`; surface-distance and MetricsReloaded come from
their repositories); one that is not installed is named and skipped. Prints the largest difference
for each profile and metric, relative to the value where it is above 1, and exits 1 where one is
above 1e-6 or one side is NaN or infinite and the other is not, or where no library is installed.
`--write` stores masks and the libraries' values for the tests
(tests/acceptance/metric_profiles.json).

Left out, because the profiles deviate on purpose and say so: HD of torchmetrics on images that are
not square, and values for empty masks (see `accepted`).
"""

import argparse
import importlib.util
import json
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from vesalius.segment.metrics import compare_profiles

LIMIT = 1e-6
NAN = math.nan
Values = dict[str, Callable[[], float]]


@dataclass
class Case:
    """Two masks, the size of a voxel and the tolerance of NSD."""

    truth: np.ndarray
    prediction: np.ndarray
    spacing: tuple[float, ...]
    tolerance: float


def draw_case(rng: np.random.Generator, number: int) -> Case:
    """Return a random pair: blobs or noise, shifted, flipped, with islands, empty, at the edge."""
    dims = 2 + number % 2
    shape = rng.integers(5, 24 if dims == 2 else 12, dims)
    if rng.random() < 0.5:
        shape[:] = shape[0]
    field = ndimage.gaussian_filter(rng.random(shape), rng.choice([0.0, 0.8, 1.5]))
    truth = field > np.quantile(field, rng.choice([0.3, 0.6, 0.9]))
    prediction = np.roll(truth, rng.integers(-2, 3, dims), tuple(range(dims)))
    prediction ^= rng.random(shape) < rng.choice([0.0, 0.02, 0.2])
    if number % 12 == 3:
        prediction[:] = False
    if number % 12 in (4, 5):
        truth[:] = False
    if number % 24 == 5:
        prediction[:] = False
    if number % 24 == 6:
        truth[:] = True
    if number % 24 == 7:
        prediction = truth.copy()
    spacing = rng.choice([1.0, 0.8, 1.5, 3.0], dims) if rng.random() < 0.7 else np.ones(dims)
    tolerance = float(rng.choice([0.5, 0.8, 1.0, 2.0, 2.4]))
    return Case(truth, prediction, tuple(map(float, spacing)), tolerance)


def monai(case: Case) -> Values:
    """Return MONAI's metrics as calls."""
    from monai import metrics as m

    predicted, true = (torch.from_numpy(x)[None, None] for x in (case.prediction, case.truth))
    both = {"y_pred": predicted.float(), "y": true.float(), "include_background": True}
    spaced = {**both, "spacing": list(case.spacing)}
    table = m.get_confusion_matrix(**both)

    def derived(name: str) -> Callable[[], float]:
        return lambda: m.compute_confusion_matrix_metric(name, table)

    names = ("precision", "sensitivity", "specificity", "accuracy", "f1 score")
    ours = ("precision", "recall", "specificity", "accuracy", "f_beta")
    return {
        "dice": lambda: m.compute_dice(**both),
        "iou": lambda: m.compute_iou(**both),
        **{our: derived(name) for our, name in zip(ours, names, strict=True)},
        "mcc": derived("matthews correlation coefficient"),
        "hd": lambda: m.compute_hausdorff_distance(**spaced),
        "hd95": lambda: m.compute_hausdorff_distance(**spaced, percentile=95),
        "assd": lambda: m.compute_average_surface_distance(**spaced, symmetric=True),
        "nsd": lambda: m.compute_surface_dice(**spaced, class_thresholds=[case.tolerance]),
    }


def medpy(case: Case) -> Values:
    """Return MedPy's metrics as calls."""
    from medpy.metric import binary as m

    both, spaced = (case.prediction, case.truth), {"voxelspacing": case.spacing}
    return {
        "dice": lambda: m.dc(*both),
        "iou": lambda: m.jc(*both),
        "precision": lambda: m.precision(*both),
        "recall": lambda: m.recall(*both),
        "specificity": lambda: m.specificity(*both),
        "hd": lambda: m.hd(*both, **spaced),
        "hd95": lambda: m.hd95(*both, **spaced),
        "assd": lambda: m.assd(*both, **spaced),
    }


def surface_distance(case: Case) -> Values:
    """Return surface-distance's metrics as calls."""
    import surface_distance as m

    # Names that its code uses and scipy has moved.
    ndimage.filters, ndimage.morphology = ndimage, ndimage
    found = m.compute_surface_distances(case.truth, case.prediction, case.spacing)
    return {
        "dice": lambda: m.compute_dice_coefficient(case.truth, case.prediction),
        "hd": lambda: m.compute_robust_hausdorff(found, 100),
        "hd95": lambda: m.compute_robust_hausdorff(found, 95),
        "assd": lambda: np.mean(m.compute_average_surface_distance(found)),
        "nsd": lambda: m.compute_surface_dice_at_tolerance(found, case.tolerance),
    }


def torchmetrics(case: Case) -> Values:
    """Return torchmetrics' metrics as calls."""
    from torchmetrics.functional import classification as c
    from torchmetrics.functional import segmentation as s

    both = [torch.from_numpy(x.astype(int))[None] for x in (case.prediction, case.truth)]
    index = {"num_classes": 2, "input_format": "index"}
    return {
        "dice": lambda: s.dice_score(*both, **index, average="none")[0, 1],
        "iou": lambda: s.mean_iou(*both, **index, per_class=True)[0, 1],
        "precision": lambda: c.binary_precision(*both),
        "recall": lambda: c.binary_recall(*both),
        "specificity": lambda: c.binary_specificity(*both),
        "accuracy": lambda: c.binary_accuracy(*both),
        "f_beta": lambda: c.binary_f1_score(*both),
        "hd": lambda: s.hausdorff_distance(*both, **index, spacing=list(case.spacing)),
    }


def panoptica(case: Case) -> Values:
    """Return panoptica's metrics as calls."""
    from panoptica.metrics import assd, cldice, dice, iou
    from panoptica.metrics import hausdorff_distance as hd
    from panoptica.metrics import normalized_surface_dice as nsd

    both, spaced = (case.truth, case.prediction), {"voxelspacing": case.spacing}
    limit = {"threshold": case.tolerance}
    return {
        "dice": lambda: dice._compute_dice_coefficient(*both),
        "iou": lambda: iou._compute_iou(*both),
        "hd": lambda: hd._compute_hausdorff_distance(*both, **spaced),
        "hd95": lambda: hd._compute_hausdorff_distance95(*both, **spaced),
        "assd": lambda: assd._average_symmetric_surface_distance(*both, **spaced),
        "nsd": lambda: nsd._compute_normalized_surface_dice(*both, **spaced, **limit),
        "cldice": lambda: cldice._compute_centerline_dice_coefficient(*both),
    }


def metrics_reloaded(case: Case) -> Values:
    """Return MetricsReloaded's metrics as calls."""
    from MetricsReloaded.metrics.pairwise_measures import BinaryPairwiseMeasures

    options = {"nsd": case.tolerance, "hd_perc": 95, "boundary_dist": 1, "beta": 1}
    m = BinaryPairwiseMeasures(
        case.prediction.astype(int),
        case.truth.astype(int),
        connectivity_type=1,
        pixdim=list(case.spacing),
        dict_args=options,
    )
    return {
        "dice": m.dsc,
        "iou": m.intersection_over_union,
        "precision": m.positive_predictive_value,
        "recall": m.recall,
        "specificity": m.specificity,
        "accuracy": m.accuracy,
        "f_beta": m.fbeta,
        "mcc": m.matthews_correlation_coefficient,
        "kappa": m.cohens_kappa,
        "hd": m.measured_hausdorff_distance,
        "hd95": m.measured_hausdorff_distance_perc,
        "assd": m.measured_average_distance,
        "nsd": m.normalised_surface_distance,
        "boundary_iou": m.boundary_iou,
        "cldice": m.centreline_dsc,
    }


class Reader:
    """Stands in for nnU-Net's file reader: the file name says which mask."""

    def __init__(self, case: Case):
        self.case = case

    def read_seg(self, name: str) -> tuple[np.ndarray, dict]:
        """Return a mask as a label map, and no properties."""
        return getattr(self.case, name).astype(int), {}


def nnunet(case: Case) -> Values:
    """Return nnU-Net's metrics as calls."""
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics

    values = compute_metrics("truth", "prediction", Reader(case), [1])["metrics"][1]
    return {"dice": lambda: values["Dice"], "iou": lambda: values["IoU"]}


LIBRARIES: dict[str, tuple[str, Callable[[Case], Values]]] = {
    "monai": ("monai", monai),
    "medpy": ("medpy", medpy),
    "surface-distance": ("surface_distance", surface_distance),
    "nnunet": ("nnunetv2", nnunet),
    "torchmetrics": ("torchmetrics", torchmetrics),
    "panoptica": ("panoptica", panoptica),
    "metrics-reloaded": ("MetricsReloaded", metrics_reloaded),
}


def value_of(call: Callable[[], float]) -> float:
    """Return a library's value; NaN for the errors that libraries raise for what they cannot."""
    try:
        return float(np.asarray(call()).reshape(()))
    except (RuntimeError, ValueError, IndexError, ZeroDivisionError):
        return NAN


def accepted(profile: str, metric: str, case: Case) -> bool:
    """Say whether the profile deviates from the library on purpose."""
    empty = [not mask.any() for mask in (case.truth, case.prediction)]
    shape = case.truth.shape
    if profile == "torchmetrics":
        return metric == "hd" and len(shape) == 2 and shape[0] != shape[1]
    if profile == "medpy":
        undefined = {"dice": all(empty), "precision": empty[1], "recall": empty[0]}
        return undefined.get(metric, metric == "specificity" and case.truth.all())
    if profile == "panoptica":
        return metric == "hd95" and any(empty)
    return profile == "metrics-reloaded" and metric == "nsd" and empty[0] != empty[1]


def difference(ours: float, theirs: float) -> float:
    """Return the distance of two values, infinite where only one is finite."""
    if ours == theirs or (math.isnan(ours) and math.isnan(theirs)):
        return 0.0
    if not (math.isfinite(ours) and math.isfinite(theirs)):
        return math.inf
    return abs(ours - theirs) / max(1.0, abs(theirs))


def packed(case: Case, theirs: dict[str, dict[str, float]]) -> dict:
    """Return a case and its values, JSON-ready."""
    return {
        "shape": case.truth.shape,
        "spacing": case.spacing,
        "tolerance": case.tolerance,
        "truth": np.packbits(case.truth).tobytes().hex(),
        "prediction": np.packbits(case.prediction).tobytes().hex(),
        "values": {
            profile: {metric: repr(value) for metric, value in row.items()}
            for profile, row in theirs.items()
        },
    }


def main() -> int:
    """Compare, print, and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    present = {n: lib for n, lib in LIBRARIES.items() if importlib.util.find_spec(lib[0])}
    for name in sorted(set(LIBRARIES) - set(present)):
        print(f"{name}: {LIBRARIES[name][0]} is not installed, skipped")
    rng = np.random.default_rng(options.seed)
    worst: dict[tuple[str, str], list[float]] = {}
    stored = []
    for number in range(options.cases):
        case = draw_case(rng, number)
        ours = compare_profiles(
            case.truth,
            case.prediction,
            labels=[1],
            spacing=case.spacing,
            tolerance=case.tolerance,
            metrics="all",
        )
        kept: dict[str, dict[str, float]] = {}
        for name, (_, library) in present.items():
            for metric, call in library(case).items():
                if accepted(name, metric, case):
                    continue
                theirs = kept.setdefault(name, {})[metric] = value_of(call)
                gap = difference(ours[name][1][metric], theirs)
                worst.setdefault((name, metric), []).append(gap)
        stored.append(packed(case, kept))
    for (name, metric), gaps in worst.items():
        wrong = f"   {sum(gap > LIMIT for gap in gaps)} WRONG" if max(gaps) > LIMIT else ""
        print(f"{name:18s} {metric:14s} {len(gaps):4d} cases, largest {max(gaps):.1e}{wrong}")
    if options.write:
        made = f"python benchmarks/metric_profiles.py --cases {options.cases} --seed {options.seed}"
        lines = ",\n".join(json.dumps(case) for case in stored)
        options.write.write_text(f'{{"made": "{made}", "cases": [\n{lines}\n]}}\n')
    if not worst:
        print("nothing was compared")
        return 1
    return int(max(max(gaps) for gaps in worst.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
