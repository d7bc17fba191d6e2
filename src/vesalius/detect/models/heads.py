"""The heads that look at pooled RoIs: box heads, box predictor, mask head, mask predictor.

Girshick 2015 (two linear layers), torchvision's second versions after Wu and He 2018 (four
convolutions, one linear layer), He et al. 2017 (the mask head of figure 4, right). Names are
torchvision's.
"""

import math
from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.detect.models.blocks import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS, conv_unit

HEADS = ("linear", "convolutions")
CONVOLUTION_COUNT = 4


class LinearHead(nn.Module):
    """Two linear layers with ReLU: (N, C, *bins) to (N, width)."""

    def __init__(self, in_channels: int, *, bins: int, width: int):
        super().__init__()
        self.fc6 = nn.Linear(in_channels * bins, width)
        self.fc7 = nn.Linear(width, width)

    def forward(self, pooled: Tensor) -> Tensor:
        return F.relu(self.fc7(F.relu(self.fc6(pooled.flatten(1)))))


class ConvolutionHead(nn.Sequential):
    """Four 3 x 3 convolutions and a linear layer: (N, C, *bins) to (N, width)."""

    def __init__(self, in_channels: int, *, bins: int, width: int, norm: str | None, dims: int):
        units = [
            conv_unit(in_channels, in_channels, norm=norm, dims=dims)
            for _ in range(CONVOLUTION_COUNT)
        ]
        linear = nn.Linear(in_channels * bins, width)
        super().__init__(*units, nn.Flatten(), linear, nn.ReLU(inplace=True))
        _initialise_rectified(self)


class BoxPredictor(nn.Module):
    """Class logits, background first, and box deltas, per class or for all classes at once.

    `forward` maps (N, width) to logits (N, 1 + classes) and deltas (N, 1 + classes, 2 * dims), or
    (N, 1, 2 * dims) where boxes are agnostic. As in torchvision the background has deltas, too;
    nothing reads them.
    """

    def __init__(self, width: int, *, classes: int, agnostic: bool, dims: int):
        super().__init__()
        self.box_size = 2 * dims
        self.cls_score = nn.Linear(width, 1 + classes)
        self.bbox_pred = nn.Linear(width, (1 if agnostic else 1 + classes) * self.box_size)
        # Fast R-CNN, section 2.3.
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        deltas = self.bbox_pred(features)
        return self.cls_score(features), deltas.unflatten(1, (-1, self.box_size))


class MaskHead(nn.Sequential):
    """Four 3 x 3 convolutions that keep the size: (N, C, *bins) to (N, width, *bins)."""

    def __init__(self, in_channels: int, *, width: int, norm: str | None, dims: int):
        inputs = (in_channels, *[width] * (CONVOLUTION_COUNT - 1))
        super().__init__(*(conv_unit(into, width, norm=norm, dims=dims) for into in inputs))
        _initialise_rectified(self)


class MaskPredictor(nn.Sequential):
    """A deconvolution that doubles the size and one mask for each class.

    `forward` maps (N, width, *bins) to logits (N, 1 + classes, *2 * bins). As in torchvision the
    background has a mask, too; nothing reads it.
    """

    def __init__(self, width: int, *, classes: int, dims: int):
        super().__init__(
            OrderedDict(
                conv5_mask=TRANSPOSED_CONVOLUTIONS[dims](width, width, 2, stride=2),
                relu=nn.ReLU(inplace=True),
                mask_fcn_logits=CONVOLUTIONS[dims](width, 1 + classes, 1),
            )
        )
        _initialise_rectified(self)


def box_head(
    kind: str, in_channels: int, *, side: int, width: int, norm: str | None, dims: int
) -> nn.Module:
    """Return a box head of one of `HEADS` for RoIs of `side` bins along each axis."""
    bins = math.prod([side] * dims)
    if kind == "linear":
        return LinearHead(in_channels, bins=bins, width=width)
    return ConvolutionHead(in_channels, bins=bins, width=width, norm=norm, dims=dims)


def _initialise_rectified(module: nn.Module) -> None:
    layers = (*CONVOLUTIONS.values(), *TRANSPOSED_CONVOLUTIONS.values(), nn.Linear)
    for part in module.modules():
        if isinstance(part, layers):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
