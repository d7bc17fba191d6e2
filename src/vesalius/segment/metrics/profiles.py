"""How Vesalius and seven libraries define the same metrics, as data.

The libraries agree where two masks overlap and are simple; they disagree about empty masks, about
what a surface is and about what "95th percentile" means, so that HD95 of one pair can be 3 or 27.
Each profile reproduces one library's values; `describe` says its rules in sentences, and
`benchmarks/metric_profiles.py` compares them with the libraries themselves.

A metric that a library does not have, and one for which it raises an error, is NaN.
"""

import numpy as np

from vesalius.errors import RecipeError
from vesalius.segment.metrics import overlap
from vesalius.segment.metrics.overlap import NAN
from vesalius.segment.metrics.rules import (
    INF,
    METRICS,
    OVERLAP,
    Profile,
    Rule,
    border_rules,
    measurable,
    overlap_rules,
    pooled_hd95,
    single_kappa,
    single_mcc,
    thick_boundary,
    thin_boundary,
)
from vesalius.segment.metrics.skeleton import centreline_dice, plain_centreline_dice

ONE_EMPTY = {"missed": INF, "invented": INF}
NOTHING = {"missed": NAN, "invented": NAN}

VESALIUS = Profile(
    name="vesalius",
    library="Vesalius: area-weighted surfaces, a missed label is infinitely far",
    keeps_ignored=True,
    rules={
        **overlap_rules(*OVERLAP, absent=NAN),
        "hd": Rule(
            measurable(lambda pair: pair.surfels.hausdorff()),
            "largest distance between surface elements, either way",
            **ONE_EMPTY,
        ),
        "hd95": Rule(
            measurable(lambda pair: pair.surfels.area_percentile()),
            "larger of the two directed distances within which 95% of the surface area lies",
            **ONE_EMPTY,
        ),
        "assd": Rule(
            measurable(lambda pair: pair.surfels.area_average()),
            "mean distance over the area of both surfaces together",
            **ONE_EMPTY,
        ),
        "nsd": Rule(
            measurable(lambda pair: pair.surfels.within(pair.tolerance)),
            "share of the area of both surfaces within the tolerance",
            missed=0.0,
            invented=0.0,
        ),
        "boundary_iou": Rule(
            thick_boundary, "IoU of the voxels within 2% of the diagonal of an edge"
        ),
        "cldice": Rule(
            lambda pair: centreline_dice(*pair.masked),
            "harmonic mean of the shares of each centre line inside the other mask",
            missed=0.0,
            invented=0.0,
        ),
    },
    notes=(
        "Ignored voxels count for nothing; surface elements that touch them are left out after "
        "the surface is found, so their border is no surface.",
        "HD, HD95, ASSD and NSD are NaN where both masks have voxels and ignored voxels hide the "
        "whole surface of one.",
    ),
)

MONAI = Profile(
    name="monai",
    library="MONAI 1.6.1: compute_dice, compute_iou, compute_confusion_matrix_metric, "
    "compute_hausdorff_distance, compute_average_surface_distance(symmetric=True), "
    "compute_surface_dice",
    rules={
        **overlap_rules("dice", "iou", absent=NAN, invented=NAN),
        **overlap_rules("precision", "recall", "specificity", "accuracy", "f_beta"),
        "mcc": Rule(single_mcc, "Matthews' correlation; NaN where the formula is 0 / 0", None),
        **border_rules("single_border", **ONE_EMPTY),
        "hd95": Rule(
            lambda pair: pair.single_border.single_percentile(),
            "larger of the two directed 95th percentiles (linear) over border voxels",
            **NOTHING,
        ),
        "nsd": Rule(
            lambda pair: pair.single_border.within(float(np.float32(pair.tolerance)), slack=0.0),
            "share of the border voxels of both masks within the tolerance",
            missed=0.0,
            invented=0.0,
        ),
    },
    notes=(
        "HD95 of a missed or invented label is NaN although HD is infinite (interpolating between "
        "infinities), so MONAI's means drop it (MONAI issue 9095).",
        "Distances are in single precision, also where they meet the tolerance.",
    ),
)

MEDPY = Profile(
    name="medpy",
    library="MedPy 0.5.2: medpy.metric.binary",
    rules={
        **overlap_rules("dice", "iou", absent=1.0),
        "precision": Rule(*OVERLAP["precision"], absent=0.0, missed=0.0),
        "recall": Rule(*OVERLAP["recall"], absent=0.0, invented=0.0),
        "specificity": Rule(
            lambda pair: (
                0.0 if pair.counts.truth == pair.counts.total else overlap.specificity(pair.counts)
            ),
            "TN / (TN + FP); 0 where the truth is everywhere",
            absent=None,
        ),
        **{m: rule for m, rule in border_rules(**NOTHING).items() if m in ("hd", "assd")},
        "hd95": pooled_hd95(**NOTHING),
    },
    notes=(
        "HD, HD95 and ASSD raise RuntimeError where a mask is empty; they are NaN here.",
        "Empty masks have the values of MedPy's own fallback for 0 / 0; beside some versions of "
        "numpy the fallback is not reached and MedPy gives NaN.",
    ),
)

SURFACE_DISTANCE = Profile(
    name="surface-distance",
    library="surface-distance (google-deepmind, git): compute_surface_distances and what uses it",
    rules={
        **overlap_rules("dice"),
        "hd": Rule(
            lambda pair: pair.surfels.hausdorff(),
            "compute_robust_hausdorff at 100: largest distance between surface elements",
            absent=INF,
            **ONE_EMPTY,
        ),
        "hd95": Rule(
            lambda pair: pair.surfels.area_percentile(),
            "compute_robust_hausdorff at 95: larger directed distance within which 95% of the "
            "area lies",
            absent=INF,
            **ONE_EMPTY,
        ),
        "assd": Rule(
            lambda pair: pair.surfels.mean_of_averages(),
            "mean of the two values of compute_average_surface_distance, each over its area",
            **NOTHING,
        ),
        "nsd": Rule(
            lambda pair: pair.surfels.within(pair.tolerance, slack=0.0),
            "share of the area of both surfaces within the tolerance",
            missed=0.0,
            invented=0.0,
        ),
    },
    notes=(
        "Where one mask is empty the library's two averages are infinite and NaN; their mean is "
        "NaN.",
        "HD and HD95 are infinite also where neither mask has voxels.",
    ),
)

NNUNET = Profile(
    name="nnunet",
    library="nnU-Net 2.8.1: nnUNetv2_evaluate_folder",
    rules=overlap_rules("dice", "iou"),
    notes=("Without surfaces. Voxels to ignore are left out of all counts.",),
)

TORCHMETRICS = Profile(
    name="torchmetrics",
    library="torchmetrics 1.9.0: segmentation.dice_score, mean_iou(per_class=True), "
    "hausdorff_distance; classification.binary_*",
    rules={
        **overlap_rules("dice"),
        **overlap_rules("iou", absent=-1.0),
        "precision": Rule(*OVERLAP["precision"], absent=0.0, missed=0.0),
        "recall": Rule(*OVERLAP["recall"], absent=0.0, invented=0.0),
        "specificity": MEDPY.rules["specificity"],
        "accuracy": Rule(*OVERLAP["accuracy"], absent=None),
        "f_beta": Rule(*OVERLAP["f_beta"], absent=0.0),
        "hd": Rule(
            lambda pair: pair.border.hausdorff() if len(pair.shape) == 2 else NAN,
            "largest distance between border pixels, either way; in 3D NaN",
            **ONE_EMPTY,
        ),
    },
    notes=(
        "HD where neither mask has pixels raises RuntimeError, and where both have voxels in 3D "
        "ValueError; both are NaN here.",
        "HD is reproduced except for an error of indexing: where an image is not square, "
        "torchmetrics gives a wrong distance or raises IndexError (torchmetrics issue 3300); the "
        "value here is the right one.",
        "IoU of a label in neither mask is -1.",
        "MCC and kappa of torchmetrics.classification are not reproduced.",
    ),
)

PANOPTICA = Profile(
    name="panoptica",
    library="panoptica 2.1.7: the functions of panoptica.metrics on whole masks",
    rules={
        **overlap_rules("dice", "iou", absent=0.0),
        "hd": border_rules(**NOTHING)["hd"],
        "hd95": pooled_hd95(**NOTHING),
        "assd": Rule(
            lambda pair: pair.border.mean_of_averages(),
            "mean of the two directed means over border voxels",
            **NOTHING,
        ),
        "nsd": Rule(
            lambda pair: pair.border.mean_of_shares(pair.tolerance),
            "mean of the two directed shares of border voxels within the tolerance",
            **NOTHING,
        ),
        "cldice": Rule(
            lambda pair: plain_centreline_dice(*pair.masked),
            "clDice; NaN where neither centre line meets the other mask",
            **NOTHING,
        ),
    },
    notes=(
        "HD and HD95 raise ValueError or IndexError where a mask is empty, or HD95 is a distance "
        "to a corner of the image; they are NaN here.",
    ),
)

METRICS_RELOADED = Profile(
    name="metrics-reloaded",
    library="MetricsReloaded (Project-MONAI, git): BinaryPairwiseMeasures, boundary_dist=1",
    rules={
        **overlap_rules("dice", "f_beta", absent=1.0),
        **overlap_rules("iou", "specificity", "accuracy"),
        "precision": Rule(*OVERLAP["precision"], missed=0.0),
        "recall": Rule(*OVERLAP["recall"], invented=NAN),
        "mcc": Rule(single_mcc, "Matthews' correlation; NaN where the formula is 0 / 0", None),
        "kappa": Rule(single_kappa, "Cohen's kappa; NaN where the formula is 0 / 0", None),
        **border_rules(absent=0.0, **NOTHING),
        "nsd": Rule(
            lambda pair: pair.border.within(pair.tolerance, slack=0.0),
            "share of the border voxels of both masks within the tolerance",
            absent=1.0,
            missed=0.0,
            invented=0.0,
        ),
        "boundary_iou": Rule(thin_boundary, "IoU of the border voxels", absent=1.0),
        "cldice": PANOPTICA.rules["cldice"],
    },
    notes=(
        "NSD of a missed or invented label is 0 here; the library's distance map of an empty mask "
        "also counts voxels that lie within the tolerance of the image's first corner.",
        "IoU is NaN where neither mask has voxels although Dice is 1.",
    ),
)

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        VESALIUS,
        MONAI,
        MEDPY,
        SURFACE_DISTANCE,
        NNUNET,
        TORCHMETRICS,
        PANOPTICA,
        METRICS_RELOADED,
    )
}


def find(name: str) -> Profile:
    """Return a profile by its name.

    Raises:
        RecipeError: there is none of this name.
    """
    if name not in PROFILES:
        raise RecipeError(f"No metric profile {name!r}. There are: {', '.join(PROFILES)}.")
    return PROFILES[name]


def describe(name: str) -> str:
    """Say a profile's rules, one line for each metric and note."""
    profile = find(name)
    lines = [f"{name}: {profile.library}", "  0 / 0 is NaN where nothing else is said."]
    lines += [f"  {m}: {profile.rules[m].sentence()}" for m in METRICS if m in profile.rules]
    missing = [metric for metric in METRICS if metric not in profile.rules]
    if missing:
        lines.append(f"  NaN because the library has none: {', '.join(missing)}.")
    return "\n".join([*lines, *(f"  {note}" for note in profile.notes)])
