"""ResNet (He et al. 2016, "Deep Residual Learning for Image Recognition") as an encoder.

Layers and names are torchvision's, so official weight files load; like there, and unlike the
paper, a bottleneck strides in its 3 x 3 convolution ("v1.5"). The classifier is left out. With
`dims=3` every layer is its three-dimensional counterpart under the same name.
"""

import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOLS = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, *, stride: int, dims: int):
        super().__init__()
        self.conv1 = _convolution(in_channels, width, 3, stride=stride, dims=dims)
        self.bn1 = BATCH_NORMS[dims](width)
        self.conv2 = _convolution(width, width, 3, dims=dims)
        self.bn2 = BATCH_NORMS[dims](width)
        self.downsample = _shortcut(in_channels, width, stride=stride, dims=dims)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    """A 1 x 1, a 3 x 3 and a widening 1 x 1 convolution, and a shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, *, stride: int, dims: int):
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = _convolution(in_channels, width, 1, dims=dims)
        self.bn1 = BATCH_NORMS[dims](width)
        self.conv2 = _convolution(width, width, 3, stride=stride, dims=dims)
        self.bn2 = BATCH_NORMS[dims](width)
        self.conv3 = _convolution(width, out_channels, 1, dims=dims)
        self.bn3 = BATCH_NORMS[dims](out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride=stride, dims=dims)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """Feature maps of the stem (stride 2) and of the four stages (strides 4, 8, 16, 32).

    Args:
        depths: number of blocks of each stage.
        bottleneck: bottleneck blocks (ResNet-50 and deeper) instead of basic ones.
    """

    strides = (2, 4, 8, 16, 32)
    first_convolution = "conv1.weight"
    head_prefixes = ("fc.",)
    package = None

    def __init__(
        self,
        *,
        depths: tuple[int, int, int, int],
        bottleneck: bool = False,
        in_channels: int = 3,
        dims: int = 2,
    ):
        super().__init__()
        block = Bottleneck if bottleneck else BasicBlock
        widths = (64, 128, 256, 512)
        self.in_channels = in_channels
        self.channels = (64, *(width * block.expansion for width in widths))
        self.conv1 = _convolution(in_channels, 64, 7, stride=2, dims=dims)
        self.bn1 = BATCH_NORMS[dims](64)
        self.maxpool = MAX_POOLS[dims](3, stride=2, padding=1)
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = _stage(
                block, self.channels[stage], width, depth, stride=1 if stage == 0 else 2, dims=dims
            )
            self.add_module(f"layer{stage + 1}", blocks)
        _initialise(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = [F.relu(self.bn1(self.conv1(images)))]
        x = self.maxpool(features[0])
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features


def _convolution(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, dims: int
) -> nn.Module:
    return CONVOLUTIONS[dims](
        in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False
    )


def _shortcut(
    in_channels: int, out_channels: int, *, stride: int, dims: int
) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    convolution = _convolution(in_channels, out_channels, 1, stride=stride, dims=dims)
    return nn.Sequential(convolution, BATCH_NORMS[dims](out_channels))


def _stage(
    block: type[BasicBlock | Bottleneck],
    in_channels: int,
    width: int,
    depth: int,
    *,
    stride: int,
    dims: int,
) -> nn.Sequential:
    first = block(in_channels, width, stride=stride, dims=dims)
    out_channels = width * block.expansion
    others = (block(out_channels, width, stride=1, dims=dims) for _ in range(depth - 1))
    return nn.Sequential(first, *others)


def _initialise(encoder: nn.Module) -> None:
    """He et al. 2015 with fan-out, as torchvision; norms keep torch's ones and zeros."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
