"""DeepLab v3+ (Chen et al. 2018, arXiv:1802.02611) on a ResNet or any other encoder.

DeepLab v3 without its classifier, and a decoder: the ASPP's answer is enlarged to stride 4, joined
with the encoder's map there (reduced to 48 channels), convolved twice by 3 x 3 and classified. With
ResNet-101, 21 classes and three channels: 59,344,309 parameters; 45,688,261 with separable
convolutions in ASPP and decoder, which the paper has on Xception and the authors' code by default.

Any size works; enlargements do not align corners. In a batch of one the image's mean is normalised
by running statistics (see `PooledBatchNorm`). Volumes too. The paper's Xception encoder is not
among ours.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vesalius.segment.models.atrous import ASPP, SeparableUnit, scale_rates
from vesalius.segment.models.blocks import (
    CONVOLUTIONS,
    BatchNormUnit,
    initialise_classifier,
    initialise_rectified,
    resize,
)
from vesalius.segment.models.deeplab_v3 import build_dilated

DECODER_STRIDE = 4


class DeepLabV3Plus(nn.Module):
    """DeepLab v3+.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        dims: 2 or 3.
        encoder: name of an encoder of `vesalius.images.encoders`; EfficientNet-Lite has the output
            stride 32 alone, VGG-16 16.
        encoder_weights: see `vesalius.images.encoders.build`.
        output_stride: 8, 16 or 32: pixels per element of the deepest map.
        rates: dilations of the ASPP at an output stride of 16; at 8 they are doubled.
        multi_grid: dilations of the last stage's blocks in units of the stage's own; ResNets
            alone, None for neither.
        width: channels of the ASPP and of the decoder.
        low_level_width: channels that the encoder's map at stride 4 is reduced to.
        dropout: probability of zeroing an element behind the ASPP in training.
        separable: filter each channel by itself in the 3 x 3 convolutions of ASPP and decoder.

    `forward` maps (B, in_channels, *size) to logits (B, classes, *size), in training too.

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
        output_stride: int = 16,
        rates: Sequence[int] = (6, 12, 18),
        multi_grid: Sequence[int] | None = None,
        width: int = 256,
        low_level_width: int = 48,
        dropout: float = 0.1,
        separable: bool = False,
    ):
        super().__init__()
        self.encoder = build_dilated(
            encoder,
            in_channels=in_channels,
            weights=encoder_weights,
            dims=dims,
            output_stride=output_stride,
            multi_grid=multi_grid,
        )
        self._level = self.encoder.strides.index(DECODER_STRIDE)
        self.aspp = ASPP(
            self.encoder.channels[-1],
            rates=scale_rates(rates, output_stride),
            width=width,
            dropout=dropout,
            separable=separable,
            dims=dims,
        )
        self.low_level = BatchNormUnit(
            self.encoder.channels[self._level], low_level_width, kernel=1, dims=dims
        )
        unit = SeparableUnit if separable else BatchNormUnit
        self.decoder = nn.Sequential(
            unit(width + low_level_width, width, dims=dims), unit(width, width, dims=dims)
        )
        self.head = CONVOLUTIONS[dims](width, classes, 1)
        for part in (self.aspp, self.low_level, self.decoder):
            initialise_rectified(part)
        initialise_classifier(self.head)

    def forward(self, images: Tensor) -> Tensor:
        features = self.encoder(images)
        fine = self.low_level(features[self._level])
        coarse = resize(self.aspp(features[-1]), fine.shape[2:])
        x = self.decoder(torch.cat([coarse, fine], dim=1))
        return resize(self.head(x), images.shape[2:])
