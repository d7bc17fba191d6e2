"""DeepLab v1 (Chen et al. 2015, arXiv:1412.7062) in its best form, DeepLab-LargeFOV, on VGG-16.

The last two poolings of VGG-16 do not stride, and what follows them is dilated: features at stride
8 and a wide field of view by fc6, a 3 x 3 convolution at rate 12. With 21 classes and three
channels: 20,505,429 parameters (20.5 M in the paper's table 2).

As in the released network: poolings over 3 x 3, a mean over 3 x 3 behind the last, dropout behind
fc6 and fc7. The fully connected conditional random field that the paper applies to its answers is
left out: it is a separate post-processing without learned weights.

The paper asks for sides of 8 k + 1 pixels; here any size works, and the last enlargement does not
align corners.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.errors import RecipeError
from vesalius.segment.models.blocks import initialise_classifier, initialise_rectified, resize
from vesalius.segment.models.fcn import VGG_WIDTHS, build_vgg


class DeepLabV1(nn.Module):
    """DeepLab-LargeFOV.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        dims: 2.
        encoder: "vgg16" as in the paper, or "vgg16_bn".
        encoder_weights: None, or the path of a file with torchvision's names.
        widths: channels of the five stages of the encoder.
        classifier_width: channels of fc6 and fc7.
        rate: dilation of fc6.
        dropout: probability of zeroing an element behind fc6 and fc7 in training.

    `forward` maps (B, in_channels, H, W) to logits (B, classes, H, W), in training too.

    Raises:
        RecipeError: volumes, or a bad value.
        DataError: the weight file is missing, damaged or does not fit.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        dims: int = 2,
        encoder: str = "vgg16",
        encoder_weights: str | None = None,
        widths: Sequence[int] = VGG_WIDTHS,
        classifier_width: int = 1024,
        rate: int = 12,
        dropout: float = 0.5,
    ):
        super().__init__()
        if rate < 1:
            raise RecipeError(f"rate is {rate}; it must be at least 1.")
        self.encoder = build_vgg(
            "deeplab_v1",
            encoder,
            in_channels=in_channels,
            weights=encoder_weights,
            dims=dims,
            widths=widths,
            pooling=3,
            output_stride=8,
        )
        self.fc6 = nn.Conv2d(widths[-1], classifier_width, 3, padding=rate, dilation=rate)
        self.fc7 = nn.Conv2d(classifier_width, classifier_width, 1)
        self.fc8 = nn.Conv2d(classifier_width, classes, 1)
        self.dropout = nn.Dropout(dropout)
        initialise_rectified(self.fc6)
        initialise_rectified(self.fc7)
        initialise_classifier(self.fc8)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(self.encoder(images)[-1], 3, stride=1, padding=1)
        x = F.avg_pool2d(x, 3, stride=1, padding=1)
        x = self.dropout(F.relu(self.fc6(x)))
        x = self.dropout(F.relu(self.fc7(x)))
        return resize(self.fc8(x), images.shape[2:])
