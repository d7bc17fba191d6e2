"""What the DeepLabs share: convolutions with holes, side by side, and context from the whole map.

A dilated ("atrous") convolution at rate r looks at every r-th neighbour; it is padded by r, so it
keeps the size. Beyond the border of a map there are zeros: on a map smaller than r only its
central weight counts (Chen et al. 2017, arXiv:1706.05587, section 3.3), which is what the image's
mean makes up for.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vesalius.errors import RecipeError
from vesalius.segment.models.blocks import BATCH_NORMS, CONVOLUTIONS, BatchNormUnit


class SeparableUnit(nn.Sequential):
    """A 3 x 3 convolution of each channel by itself, then a 1 x 1 of all; norm and ReLU after both.

    The norm between the two follows the authors' code (Chen et al. 2018, arXiv:1802.02611).
    """

    def __init__(self, in_channels: int, out_channels: int, *, dilation: int = 1, dims: int):
        super().__init__()
        self.depthwise = CONVOLUTIONS[dims](
            in_channels,
            in_channels,
            3,
            padding=dilation,
            dilation=dilation,
            groups=in_channels,
            bias=False,
        )
        self.norm = BATCH_NORMS[dims](in_channels)
        self.activation = nn.ReLU(inplace=True)
        self.pointwise = BatchNormUnit(in_channels, out_channels, kernel=1, dims=dims)


class ImageContext(nn.Module):
    """The mean of the whole map, by a 1 x 1 convolution, at every position again."""

    def __init__(self, in_channels: int, out_channels: int, *, dims: int):
        super().__init__()
        self.unit = BatchNormUnit(in_channels, out_channels, kernel=1, pooled=True, dims=dims)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)
        return self.unit(mean).expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling of DeepLab v3 (Chen et al. 2017, section 3.3).

    A 1 x 1 convolution, a dilated 3 x 3 one per rate and the image's mean, each with batch
    normalisation, joined and fused by a 1 x 1 convolution; dropout.

    Args:
        rates: dilations of the 3 x 3 convolutions.
        width: channels of every branch and of the answer.
        separable: filter each channel by itself in the dilated branches.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        rates: Sequence[int],
        width: int,
        dropout: float,
        separable: bool = False,
        dims: int,
    ):
        super().__init__()
        unit = SeparableUnit if separable else BatchNormUnit
        self.branches = nn.ModuleList([BatchNormUnit(in_channels, width, kernel=1, dims=dims)])
        self.branches.extend(unit(in_channels, width, dilation=rate, dims=dims) for rate in rates)
        self.branches.append(ImageContext(in_channels, width, dims=dims))
        self.fusion = BatchNormUnit(width * len(self.branches), width, kernel=1, dims=dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([branch(x) for branch in self.branches], dim=1)
        return self.dropout(self.fusion(joined))


def scale_rates(rates: Sequence[int], output_stride: int) -> list[int]:
    """Return rates that are given for an output stride of 16 for another: twice as many at 8.

    Raises:
        RecipeError: a rate that is not positive.
    """
    if min(rates, default=0) < 1:
        raise RecipeError(f"rates is {tuple(rates)}; give at least one, each at least 1.")
    return [max(rate * 16 // output_stride, 1) for rate in rates]
