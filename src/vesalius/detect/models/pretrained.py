"""torchvision's networks with its weights, fed as torchvision feeds them.

Resizing (short side 800 pixels, long side at most 1,333), normalisation and padding to multiples of
32 belong to those weights and happen here; the networks themselves never resize.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.detect.models import PRESETS, build
from vesalius.detect.models.detector import Detector
from vesalius.detect.models.outputs import Detections
from vesalius.detect.models.state_dicts import COUNTER, load, migrate
from vesalius.errors import DataError
from vesalius.images.encoders import unknown_name
from vesalius.images.encoders.weights import read_state

MEAN = (0.485, 0.456, 0.406)
SPREAD = (0.229, 0.224, 0.225)
SHORT_SIDE, LONG_SIDE = 800, 1333
MULTIPLE = 32


class TorchvisionDetector(nn.Module):
    """A network of torchvision with its preparation of images.

    Args:
        network: one of the presets, with weights.
        short_side: images are resized so that their short side has so many pixels,
        long_side: or, if the long one would have more than this, to this long side.

    `forward` maps a list of images (3, h, w), RGB in [0, 1], to one `Detections` for each, with
    boxes in the pixels of the image that was given.
    """

    def __init__(
        self, network: Detector, *, short_side: int = SHORT_SIDE, long_side: int = LONG_SIDE
    ):
        super().__init__()
        self.network = network
        self.short_side, self.long_side = short_side, long_side

    def forward(self, images: Sequence[Tensor]) -> list[Detections]:
        prepared = [
            resize(normalise(image), short_side=self.short_side, long_side=self.long_side)
            for image in images
        ]
        sizes = [tuple(image.shape[1:]) for image in prepared]
        outputs = self.network(pad(prepared), sizes=sizes, detect=True)
        return [
            _rescaled(found, size, tuple(image.shape[1:]))
            for found, size, image in zip(outputs.detections, sizes, images, strict=True)
        ]


def open_torchvision(
    weights: str | Path,
    *,
    preset: str,
    frozen_eps: float | None = None,
    short_side: int = SHORT_SIDE,
    long_side: int = LONG_SIDE,
) -> TorchvisionDetector:
    """Return a detector with the weights of a torchvision file, in evaluation mode.

    Args:
        weights: a `.pth` or `.safetensors` state dict, torchvision's own or one trained with it.
        preset: one of `vesalius.detect.models.PRESETS`.
        frozen_eps: see `vesalius.detect.models.state_dicts.load`. None decides: 0 for the first
            versions, whose official weights need it, but 1e-5 where the file counts batches, that
            is, where its normalisations were not frozen.
        short_side, long_side: see `TorchvisionDetector`.

    Raises:
        RecipeError: unknown preset.
        DataError: the file is missing or damaged or holds weights of another network.
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    path = Path(weights)
    state = migrate(read_state(path))
    classifier = state.get("roi_heads.box_predictor.cls_score.bias")
    if classifier is None or len(classifier) < 2:
        raise DataError(f"{path} holds no Faster or Mask R-CNN of torchvision.")
    if frozen_eps is None and not any(key.endswith(COUNTER) for key in state):
        frozen_eps = PRESETS[preset].frozen_eps
    network = build(preset, in_channels=3, classes=len(classifier) - 1)
    load(network, path, frozen_eps=frozen_eps)
    return TorchvisionDetector(network, short_side=short_side, long_side=long_side).eval()


def normalise(image: Tensor) -> Tensor:
    """Return an RGB image (3, h, w) in [0, 1] less ImageNet's mean, divided by its spread."""
    mean = image.new_tensor(MEAN)[:, None, None]
    return (image - mean) / image.new_tensor(SPREAD)[:, None, None]


def resize(image: Tensor, *, short_side: int = SHORT_SIDE, long_side: int = LONG_SIDE) -> Tensor:
    """Return an image (C, h, w) resized linearly to a short side, or to a long one if shorter."""
    sides = image.shape[1:]
    scale = min(short_side / min(sides), long_side / max(sides))
    size = [max(math.floor(side * scale), 1) for side in sides]
    return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]


def pad(images: Sequence[Tensor]) -> Tensor:
    """Return images (C, h, w) as one batch, padded with zeros to a multiple of 32."""
    largest = [max(sides) for sides in zip(*(image.shape[1:] for image in images), strict=True)]
    height, width = (math.ceil(side / MULTIPLE) * MULTIPLE for side in largest)
    return torch.stack(
        [F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images]
    )


def _rescaled(found: Detections, size: Sequence[int], original: Sequence[int]) -> Detections:
    """Return detections of a resized image in the pixels of the original."""
    ratios = [after / before for after, before in zip(original, size, strict=True)]
    factors = found.boxes.new_tensor([*reversed(ratios), *reversed(ratios)])
    return Detections(found.boxes * factors, found.scores, found.labels, found.masks)
