"""PSPNet (Zhao et al. 2017, "Pyramid Scene Parsing Network", arXiv:1612.01105) on a ResNet.

A ResNet at output stride 8; pyramid pooling, which divides its map into 1, 2 x 2, 3 x 3 and 6 x 6
regions, averages each, and joins the enlarged means to the map; a 3 x 3 convolution and a
classifier. In training a second head on the stage before the last helps the encoder. With
ResNet-101, 21 classes and three channels: 65,584,725 parameters, 67,949,930 with that head.

The stem of the ResNet is torchvision's 7 x 7 convolution, not the three 3 x 3 of the authors'
models. Any size works; enlargements do not align corners. A single mean in a batch of one is
normalised by running statistics (see `PooledBatchNorm`). Volumes too.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vesalius.errors import RecipeError
from vesalius.images import encoders
from vesalius.segment.models.blocks import (
    CONVOLUTIONS,
    BatchNormUnit,
    Outputs,
    initialise_classifier,
    initialise_rectified,
    resize,
)

AUXILIARY_WEIGHT = 0.4
"""Of the second head's loss beside the first's (section 3.3)."""


class PyramidPooling(nn.Module):
    """The map, and its means over ever more regions, joined (section 3.2).

    Args:
        bins: regions per axis of every level; each level's means are reduced by a 1 x 1
            convolution to `in_channels` divided by the number of levels, and enlarged again.
    """

    def __init__(self, in_channels: int, *, bins: Sequence[int], dims: int):
        super().__init__()
        self.bins = tuple(bins)
        width = in_channels // len(bins)
        self.out_channels = in_channels + width * len(bins)
        self.units = nn.ModuleList(
            BatchNormUnit(in_channels, width, kernel=1, pooled=True, dims=dims) for _ in bins
        )

    def forward(self, x: Tensor) -> Tensor:
        levels = (
            unit(region_means(x, bins)) for unit, bins in zip(self.units, self.bins, strict=True)
        )
        return torch.cat([x, *(resize(level, x.shape[2:]) for level in levels)], dim=1)


class PSPNet(nn.Module):
    """PSPNet.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        dims: 2 or 3.
        encoder: name of an encoder of `vesalius.images.encoders`; EfficientNet-Lite has the output
            stride 32 alone, VGG-16 16.
        encoder_weights: see `vesalius.images.encoders.build`.
        output_stride: 8, 16 or 32: pixels per element of the deepest map.
        bins: regions per axis of the levels of the pyramid.
        width: channels of the convolution before the classifier.
        dropout: probability of zeroing an element before the classifiers in training.
        auxiliary: a second head in training, on the stage before the last.

    `forward` returns logits (B, classes, *size) in evaluation. In training with the second head it
    returns `Outputs` with both heads' logits at the size of the images and their weights, 1 and
    0.4, which sum its losses as in the paper.

    Raises:
        RecipeError: a bad value, or an encoder that does not exist so.
        DataError: the weight file is missing, damaged or does not fit.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        dims: int = 2,
        encoder: str = "resnet101",
        encoder_weights: str | None = None,
        output_stride: int = 8,
        bins: Sequence[int] = (1, 2, 3, 6),
        width: int = 512,
        dropout: float = 0.1,
        auxiliary: bool = True,
    ):
        super().__init__()
        if min(bins, default=0) < 1:
            raise RecipeError(f"bins is {tuple(bins)}; give at least one, each at least 1.")
        self.encoder = encoders.build(
            encoder,
            in_channels=in_channels,
            weights=encoder_weights,
            dims=dims,
            output_stride=output_stride,
        )
        before, deepest = self.encoder.channels[-2:]
        self.pyramid = PyramidPooling(deepest, bins=bins, dims=dims)
        options = {"dropout": dropout, "dims": dims}
        self.head = _head(self.pyramid.out_channels, width, classes, **options)
        self.auxiliary = (
            _head(before, max(before // 4, 1), classes, **options) if auxiliary else None
        )
        initialise_rectified(self.pyramid)

    def forward(self, images: Tensor) -> Tensor | Outputs:
        features = self.encoder(images)
        logits = resize(self.head(self.pyramid(features[-1])), images.shape[2:])
        if not self.training or self.auxiliary is None:
            return logits
        second = resize(self.auxiliary(features[-2]), images.shape[2:])
        return Outputs([logits, second], weights=(1.0, AUXILIARY_WEIGHT))


def region_means(x: Tensor, bins: int) -> Tensor:
    """Average a map (B, C, *size) over `bins` regions per axis: (B, C, bins, ...).

    Region i of an axis of n elements goes from floor(i n / bins) to ceil((i + 1) n / bins), as in
    torch's adaptive pooling. That has no deterministic gradient on GPUs, and in an ONNX file it
    fails for other sizes than the example's; products with averaging matrices do neither.
    """
    for axis in range(2, x.ndim):
        averaging = _averaging(x.shape[axis], bins, like=x)
        x = (x.movedim(axis, -1) @ averaging).movedim(-1, axis)
    return x


def _averaging(side: int, bins: int, *, like: Tensor) -> Tensor:
    """Return the matrix (side, bins) whose columns average over the regions."""
    order = torch.arange(bins, device=like.device)
    starts, stops = order * side // bins, ((order + 1) * side + bins - 1) // bins
    places = torch.arange(side, device=like.device)[:, None]
    inside = (places >= starts) & (places < stops)
    return inside.to(like.dtype) / (stops - starts).to(like.dtype)


def _head(
    in_channels: int, width: int, classes: int, *, dropout: float, dims: int
) -> nn.Sequential:
    """Return a 3 x 3 convolution with norm and ReLU, dropout and a 1 x 1 classifier."""
    unit = BatchNormUnit(in_channels, width, dims=dims)
    classifier = CONVOLUTIONS[dims](width, classes, 1)
    initialise_rectified(unit)
    initialise_classifier(classifier)
    return nn.Sequential(unit, nn.Dropout(dropout), classifier)
