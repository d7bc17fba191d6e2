"""Detection networks by name: one paper, one file.

`model(images, targets=None, proposals=None)` returns `Outputs`: named losses where targets are
given, in training and in evaluation, and detections in evaluation or where they are asked for. Its
arguments are described at `Detector.forward`. Labels run from 0 to classes - 1; the background is
the networks' own affair.
"""

import inspect
import itertools
from typing import Any

from torch import nn

from vesalius.detect.models.detector import Detector
from vesalius.detect.models.fast_rcnn import FastRCNN
from vesalius.detect.models.faster_rcnn import FasterRCNN
from vesalius.detect.models.mask_rcnn import MaskRCNN
from vesalius.detect.models.outputs import Detections, Outputs
from vesalius.detect.models.presets import PRESETS
from vesalius.detect.models.rcnn import RCNN
from vesalius.errors import RecipeError
from vesalius.images.encoders import unknown_name

__all__ = [
    "MODELS",
    "PRESETS",
    "RCNN",
    "Detections",
    "Detector",
    "FastRCNN",
    "FasterRCNN",
    "MaskRCNN",
    "Outputs",
    "build",
    "options_of",
]

MODELS: dict[str, type[Detector | RCNN]] = {
    "rcnn": RCNN,
    "fast_rcnn": FastRCNN,
    "faster_rcnn": FasterRCNN,
    "mask_rcnn": MaskRCNN,
}

COUNTS = (
    *("pyramid_width", "pooled_size", "head_width", "rois_per_image", "anchors_per_image"),
    *("mask_width", "mask_pooled_size", "proposal_convolutions", "detections_per_image"),
    *("crop_size", "crops_at_once"),
)
PAIRS = ("before_nms", "after_nms")
SHARES = ("foreground_share", "score_threshold", "nms_threshold")
POSITIVE = ("canonical_size",)


def build(
    name: str, *, in_channels: int, classes: int, dims: int = 2, **options: Any
) -> "Detector | RCNN":
    """Return a network with fresh weights, but for its encoder's where the options name some.

    Args:
        name: one of `MODELS`, or of `PRESETS`: torchvision's networks, whose options can still be
            overridden.
        in_channels: channels of the images.
        classes: classes without the background.
        dims: 2 for images (C, H, W), 3 for volumes (C, D, H, W).
        options: the network's own, see its class.

    Raises:
        RecipeError: unknown network or option (the message lists the known ones), or a bad value.
        DataError: the encoder's weight file is missing, damaged or does not fit.
    """
    if name not in MODELS and name not in PRESETS:
        raise unknown_name("model", name, (*MODELS, *PRESETS))
    if name in PRESETS:
        name, preset = PRESETS[name].model, PRESETS[name].options
        options = {**preset, **options}
    known = options_of(name)
    for option in options:
        if option not in known:
            raise unknown_name(f"option of the model '{name}'", option, known)
    problems = _problems({"in_channels": in_channels, "classes": classes, "dims": dims, **options})
    if problems:
        raise RecipeError(f"The model '{name}' cannot be built:", problems)
    return MODELS[name](in_channels=in_channels, classes=classes, dims=dims, **options)


def options_of(name: str) -> list[str]:
    """Return the names of a network's own options, those of the class it extends included."""
    found = {}
    own = itertools.takewhile(lambda base: base not in (Detector, nn.Module), MODELS[name].__mro__)
    for base in reversed(list(own)):
        for key, parameter in inspect.signature(base.__init__).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY:
                found[key] = None
    return [key for key in found if key not in ("in_channels", "classes", "dims")]


def _problems(options: dict[str, Any]) -> list[str]:
    problems = []
    if options["dims"] not in (2, 3):
        problems.append(f"dims is {options['dims']}; use 2 for images or 3 for volumes.")
    counts = [key for key in ("in_channels", "classes", *COUNTS) if options.get(key) is not None]
    problems += [
        f"{key} is {options[key]}; it must be at least 1." for key in counts if options[key] < 1
    ]
    problems += [
        f"{key} is {options[key]}; it must be between 0 and 1."
        for key in SHARES
        if key in options and not 0 <= options[key] <= 1
    ]
    problems += [
        f"{key} is {options[key]}; it must be more than 0."
        for key in POSITIVE
        if key in options and not options[key] > 0
    ]
    for key in PAIRS:
        if key in options and (len(options[key]) != 2 or min(options[key]) < 1):
            problems.append(f"{key} is {options[key]}; give two numbers, training and evaluation.")
    if "background" in options:
        low, high = options["background"]
        if not 0 <= low < high <= 1:
            problems.append(f"background is {low} to {high}; use 0 <= low < high <= 1.")
    return problems
