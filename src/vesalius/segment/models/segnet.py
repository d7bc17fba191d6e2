"""SegNet (Badrinarayanan et al. 2017, arXiv:1511.00561).

The 13 convolutions of VGG-16 with batch normalisation, whose poolings remember where their maxima
stood, and a decoder that is their mirror: every stage puts its values back to these places, zeros
elsewhere, and convolves. The last layer is a plain convolution to the classes, without the
normalisation and the ReLU that would forbid negative logits. With 21 classes and three channels:
29,455,125 parameters.

Poolings round sizes up, so any size works. Weights are He normal, as in the paper.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.images import encoders
from vesalius.images.encoders.vgg import DEPTHS, WIDTHS
from vesalius.segment.models.blocks import ConvUnit, initialise_rectified, refuse_volumes


class SegNet(nn.Module):
    """SegNet.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        dims: 2.
        encoder_weights: None, or the path of a file with torchvision's names for `vgg16_bn`.
        widths: channels of the five stages of the encoder; the decoder mirrors them.

    `forward` maps (B, in_channels, H, W) to logits (B, classes, H, W), in training too.

    Raises:
        RecipeError: volumes, or bad widths.
        DataError: the weight file is missing, damaged or does not fit.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        dims: int = 2,
        encoder_weights: str | None = None,
        widths: Sequence[int] = WIDTHS,
    ):
        super().__init__()
        refuse_volumes("segnet", dims)
        self.encoder = encoders.build(
            "vgg16_bn", in_channels=in_channels, weights=encoder_weights, widths=widths
        )
        self.decoder = nn.ModuleList(
            _mirrored_stage(width, widths[max(stage - 1, 0)], depth if stage else depth - 1)
            for stage, (width, depth) in enumerate(zip(widths, DEPTHS, strict=True))
        )
        self.head = nn.Conv2d(widths[0], classes, 3, padding=1)
        initialise_rectified(self.decoder)
        initialise_rectified(self.head)

    def forward(self, images: Tensor) -> Tensor:
        x, places = images, []
        for layers in self.encoder.stages():
            for layer in layers:
                x = layer(x)
            size = x.shape[2:]
            x, indices = F.max_pool2d(x, 2, stride=2, ceil_mode=True, return_indices=True)
            places.append((indices, size))
        for stage, (indices, size) in zip(reversed(self.decoder), reversed(places), strict=True):
            x = stage(unpool(x, indices, size))
        return self.head(x)


def unpool(x: Tensor, indices: Tensor, size: Sequence[int]) -> Tensor:
    """Put pooled values back to the places that they came from, zeros elsewhere.

    Args:
        x: pooled maps (B, C, h, w).
        indices: their places in the flattened H x W, as `max_pool2d` returns them.
        size: (H, W).
    """
    # Not F.max_unpool2d: on GPUs it has no deterministic form; windows do not overlap, so this has.
    flat = x.new_zeros(*x.shape[:2], size[0] * size[1])
    return flat.scatter(2, indices.flatten(2), x.flatten(2)).view(*x.shape[:2], *size)


def _mirrored_stage(width: int, out_width: int, depth: int) -> nn.Sequential:
    """Return convolutions of which the last changes the width, as the first of the encoder's."""
    outs = [*[width] * (depth - 1), out_width]
    return nn.Sequential(*(ConvUnit(width, out, normalisation="batch", dims=2) for out in outs))
