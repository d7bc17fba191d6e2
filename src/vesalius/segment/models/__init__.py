"""Segmentation models by name: one paper, one file.

In evaluation `model(images)` returns logits (B, classes, *size) at the size of the images, for any
size. In training a model with auxiliary heads returns more; `Outputs.of` makes all answers alike.
With `classes=1` a model is binary (take the sigmoid), else its classes exclude one another (take
the softmax; class 0 is the background).
"""

import inspect

from torch import nn

from vesalius.errors import RecipeError
from vesalius.images.encoders import unknown_name
from vesalius.segment.models.blocks import Outputs
from vesalius.segment.models.deeplab_v1 import DeepLabV1
from vesalius.segment.models.deeplab_v2 import DeepLabV2
from vesalius.segment.models.deeplab_v3 import DeepLabV3
from vesalius.segment.models.deeplab_v3_plus import DeepLabV3Plus
from vesalius.segment.models.fcn import FCN8s, FCN16s, FCN32s
from vesalius.segment.models.light_weight_refinenet import LightWeightRefineNet
from vesalius.segment.models.pspnet import PSPNet
from vesalius.segment.models.refinenet import RefineNet
from vesalius.segment.models.segnet import SegNet
from vesalius.segment.models.unet import UNet
from vesalius.segment.models.unet_3_plus import UNet3Plus
from vesalius.segment.models.unet_plus_plus import UNetPlusPlus

__all__ = [
    "MODELS",
    "DeepLabV1",
    "DeepLabV2",
    "DeepLabV3",
    "DeepLabV3Plus",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "LightWeightRefineNet",
    "Outputs",
    "PSPNet",
    "RefineNet",
    "SegNet",
    "UNet",
    "UNet3Plus",
    "UNetPlusPlus",
    "build",
]

MODELS: dict[str, type[nn.Module]] = {
    "unet": UNet,
    "unet_plus_plus": UNetPlusPlus,
    "unet_3_plus": UNet3Plus,
    "refinenet": RefineNet,
    "light_weight_refinenet": LightWeightRefineNet,
    "fcn32s": FCN32s,
    "fcn16s": FCN16s,
    "fcn8s": FCN8s,
    "segnet": SegNet,
    "deeplab_v1": DeepLabV1,
    "deeplab_v2": DeepLabV2,
    "deeplab_v3": DeepLabV3,
    "deeplab_v3_plus": DeepLabV3Plus,
    "pspnet": PSPNet,
}

WIDTHS = ("width", "skip_width", "classifier_width", "low_level_width")
COUNTS = ("pooling_stages", "output_units")
SHARES = ("dropout",)
"""Options that mean the same in every model that has them, and are checked for all."""


def build(name: str, *, in_channels: int, classes: int, dims: int = 2, **options) -> nn.Module:
    """Return a model with fresh weights.

    Args:
        name: one of `MODELS`.
        in_channels: channels of the images.
        classes: channels of the logits: 1 for a binary model, else the classes with background.
        dims: 2 for images (B, C, H, W), 3 for volumes (B, C, D, H, W).
        options: the model's own, see its class.

    Raises:
        RecipeError: unknown model or option (the message lists the known ones), or a bad value.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    known = options_of(name)
    for option in options:
        if option not in known:
            raise unknown_name(f"option of the model '{name}'", option, known)
    numbers = {"in_channels": in_channels, "classes": classes, **options}
    problems = [
        f"{label} is {numbers[label]}; it must be at least {least}."
        for least, labels in ((1, ("in_channels", "classes", *WIDTHS)), (0, COUNTS))
        for label in labels
        if numbers.get(label, least) < least
    ]
    problems += [
        f"{label} is {options[label]}; it must be at least 0 and less than 1."
        for label in SHARES
        if not 0 <= options.get(label, 0) < 1
    ]
    if dims not in (2, 3):
        problems.append(f"dims is {dims}; use 2 for images or 3 for volumes.")
    if problems:
        raise RecipeError(f"The model '{name}' cannot be built:", problems)
    return MODELS[name](in_channels=in_channels, classes=classes, dims=dims, **options)


def options_of(name: str) -> list[str]:
    """Return the names of a model's own options."""
    parameters = inspect.signature(MODELS[name]).parameters
    return [key for key in parameters if key not in ("in_channels", "classes", "dims")]
