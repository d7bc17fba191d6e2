"""DeepLab v2 (Chen et al. 2018, arXiv:1606.00915) on a ResNet.

A ResNet-101 at output stride 8 and atrous spatial pyramid pooling in its first form (ASPP-L): four
classifiers, 3 x 3 convolutions at the rates 6, 12, 18, 24, whose scores are added. With 21 classes
and three channels: 44,048,532 parameters.

The ResNet is torchvision's (see `vesalius.images.encoders.resnet`), not Caffe's, which strides in
the 1 x 1 convolutions. Left out: the maximum over three scales of the input, which triples the
work, and the conditional random field, a separate post-processing. Any size works; the last
enlargement does not align corners. Volumes too.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from vesalius.errors import RecipeError
from vesalius.images import encoders
from vesalius.segment.models.blocks import CONVOLUTIONS, initialise_classifier, resize


class DeepLabV2(nn.Module):
    """DeepLab v2.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        dims: 2 or 3.
        encoder: name of a ResNet of `vesalius.images.encoders`.
        encoder_weights: see `vesalius.images.encoders.build`.
        rates: dilations of the classifiers, in elements of the map at stride 8; (6, 12, 18, 24) is
            the paper's ASPP-L, (2, 4, 8, 12) its ASPP-S.

    `forward` maps (B, in_channels, *size) to logits (B, classes, *size), in training too.

    Raises:
        RecipeError: a bad value, or an encoder without dilation.
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
        rates: Sequence[int] = (6, 12, 18, 24),
    ):
        super().__init__()
        if min(rates, default=0) < 1:
            raise RecipeError(f"rates is {tuple(rates)}; give at least one, each at least 1.")
        self.encoder = encoders.build(
            encoder, in_channels=in_channels, weights=encoder_weights, dims=dims, output_stride=8
        )
        self.classifiers = nn.ModuleList(
            CONVOLUTIONS[dims](self.encoder.channels[-1], classes, 3, padding=rate, dilation=rate)
            for rate in rates
        )
        initialise_classifier(*self.classifiers)

    def forward(self, images: Tensor) -> Tensor:
        x = self.encoder(images)[-1]
        logits = sum(classifier(x) for classifier in self.classifiers)
        return resize(logits, images.shape[2:])
