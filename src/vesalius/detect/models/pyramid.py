"""Feature pyramid networks (Lin et al. 2017, arXiv:1612.03144), for images and volumes.

Every encoder map gets a 1 x 1 convolution (`inner_blocks`); the coarser level, enlarged to the
nearest neighbour, is added; a 3 x 3 convolution (`layer_blocks`) follows. One more level is every
second element of the coarsest. Names and layers are torchvision's, so that its weights load; the
addition works for any sizes, because enlarging aims at the finer map's own size.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.detect.models.blocks import conv_unit

MAX_POOLS = {2: F.max_pool2d, 3: F.max_pool3d}


class FeaturePyramid(nn.Module):
    """A pyramid over the maps of an encoder.

    Args:
        channels: channels of the encoder's maps, finest first.
        width: channels of every level.
        norm: None (convolutions have biases), "batch" or "group".
        dims: 2 or 3.

    `forward` maps [(B, channels[i], *shape_i), ...] to as many levels (B, width, *shape_i) and one
    more with half the elements of the last.
    """

    def __init__(
        self, channels: Sequence[int], *, width: int = 256, norm: str | None = None, dims: int = 2
    ):
        super().__init__()
        options = {"norm": norm, "activation": False, "dims": dims}
        self.inner_blocks = nn.ModuleList(
            conv_unit(inputs, width, kernel=1, **options) for inputs in channels
        )
        self.layer_blocks = nn.ModuleList(conv_unit(width, width, **options) for _ in channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        inner = self.inner_blocks[-1](maps[-1])
        levels = [self.layer_blocks[-1](inner)]
        for index in range(len(maps) - 2, -1, -1):
            lateral = self.inner_blocks[index](maps[index])
            inner = lateral + F.interpolate(inner, size=lateral.shape[2:], mode="nearest")
            levels.insert(0, self.layer_blocks[index](inner))
        coarsest = MAX_POOLS[maps[-1].ndim - 2](levels[-1], 1, stride=2)
        return [*levels, coarsest]
