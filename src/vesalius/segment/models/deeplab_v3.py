"""DeepLab v3 (Chen et al. 2017, "Rethinking Atrous Convolution", arXiv:1706.05587) on a ResNet.

A ResNet at output stride 16 (or 8, with doubled rates) and ASPP with batch normalisation and the
image's mean, then a 1 x 1 classifier. With ResNet-101, 21 classes and three channels: 58,040,661
parameters. `extra_convolution` adds the 3 x 3 convolution that torchvision's model has before its
classifier: 58,630,997, torchvision's 60,996,202 less its auxiliary classifier.

Dropout behind the ASPP is 0.1 as in the authors' code (torchvision: 0.5). Any size works; the last
enlargement does not align corners. In a batch of one the image's mean is normalised by running
statistics (see `PooledBatchNorm`). Volumes too.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from vesalius.images import encoders
from vesalius.segment.models.atrous import ASPP, scale_rates
from vesalius.segment.models.blocks import (
    CONVOLUTIONS,
    BatchNormUnit,
    initialise_classifier,
    initialise_rectified,
    resize,
)


class DeepLabV3(nn.Module):
    """DeepLab v3.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        dims: 2 or 3.
        encoder: name of an encoder of `vesalius.images.encoders`; EfficientNet-Lite has the output
            stride 32 alone, VGG-16 16.
        encoder_weights: see `vesalius.images.encoders.build`.
        output_stride: 8, 16 or 32: pixels per element of the deepest map.
        rates: dilations of the ASPP at an output stride of 16; at 8 they are doubled.
        multi_grid: dilations of the last stage's blocks in units of the stage's own, (1, 2, 4) in
            the paper's best models; ResNets alone, None for neither.
        width: channels of the ASPP.
        dropout: probability of zeroing an element behind the ASPP in training.
        extra_convolution: another 3 x 3 convolution before the classifier, as torchvision's.

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
        dropout: float = 0.1,
        extra_convolution: bool = False,
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
        self.aspp = ASPP(
            self.encoder.channels[-1],
            rates=scale_rates(rates, output_stride),
            width=width,
            dropout=dropout,
            dims=dims,
        )
        self.extra = BatchNormUnit(width, width, dims=dims) if extra_convolution else nn.Identity()
        self.head = CONVOLUTIONS[dims](width, classes, 1)
        initialise_rectified(self.aspp)
        initialise_rectified(self.extra)
        initialise_classifier(self.head)

    def forward(self, images: Tensor) -> Tensor:
        x = self.extra(self.aspp(self.encoder(images)[-1]))
        return resize(self.head(x), images.shape[2:])


def build_dilated(encoder: str, *, multi_grid: Sequence[int] | None, **options) -> nn.Module:
    """Return an encoder with an output stride, and with a multi-grid where one is given."""
    if multi_grid is not None:
        options["multi_grid"] = multi_grid
    return encoders.build(encoder, **options)
