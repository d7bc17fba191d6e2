"""ResNet (He et al. 2016, "Deep Residual Learning for Image Recognition") as an encoder.

Layers and names are torchvision's, so official weight files load; like there, and unlike the
paper, a bottleneck strides in its 3 x 3 convolution ("v1.5"). The classifier is left out. With
`dims=3` every layer is its three-dimensional counterpart under the same name.

With an output stride of 8 or 16 the last stages do not stride: their convolutions are dilated
instead (the "algorithme a trous", Chen et al. 2015, arXiv:1412.7062). In evaluation every s-th
element of such a map is exactly the element of the strided network's map.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.errors import RecipeError

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOLS = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, *, stride: int, dilations: tuple[int, int], dims: int
    ):
        super().__init__()
        first, second = dilations
        self.conv1 = _convolution(in_channels, width, 3, stride=stride, dilation=first, dims=dims)
        self.bn1 = BATCH_NORMS[dims](width)
        self.conv2 = _convolution(width, width, 3, dilation=second, dims=dims)
        self.bn2 = BATCH_NORMS[dims](width)
        self.downsample = _shortcut(in_channels, width, stride=stride, dims=dims)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    """A 1 x 1, a 3 x 3 and a widening 1 x 1 convolution, and a shortcut."""

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, *, stride: int, dilations: tuple[int, int], dims: int
    ):
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = _convolution(in_channels, width, 1, dims=dims)
        self.bn1 = BATCH_NORMS[dims](width)
        self.conv2 = _convolution(width, width, 3, stride=stride, dilation=dilations[0], dims=dims)
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
        output_stride: 8, 16 or 32; stages beyond it keep the size and dilate their convolutions.
        multi_grid: factors of the dilation per block of the last stage, as (1, 2, 4) in DeepLab v3
            (Chen et al. 2017, arXiv:1706.05587, section 3.3); None dilates so that the features
            of the strided network are kept.

    Raises:
        RecipeError: another output stride, or a multi-grid that does not fit the last stage.
    """

    options = ("output_stride", "multi_grid")
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
        output_stride: int = 32,
        multi_grid: Sequence[int] | None = None,
    ):
        super().__init__()
        _check_dilation(depths[-1], output_stride=output_stride, multi_grid=multi_grid)
        block = Bottleneck if bottleneck else BasicBlock
        widths = (64, 128, 256, 512)
        self.in_channels = in_channels
        self.strides = tuple(min(stride, output_stride) for stride in (2, 4, 8, 16, 32))
        self.channels = (64, *(width * block.expansion for width in widths))
        self.conv1 = _convolution(in_channels, 64, 7, stride=2, dims=dims)
        self.bn1 = BATCH_NORMS[dims](64)
        self.maxpool = MAX_POOLS[dims](3, stride=2, padding=1)
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = _stage(
                block,
                self.channels[stage],
                width,
                stride=self.strides[stage + 1] // self.strides[stage] if stage else 1,
                dilations=_dilations(stage, depth, output_stride, multi_grid),
                dims=dims,
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


def _check_dilation(depth: int, *, output_stride: int, multi_grid: Sequence[int] | None) -> None:
    if output_stride not in (8, 16, 32):
        raise RecipeError(f"output_stride is {output_stride}; a ResNet has 8, 16 or 32.")
    if multi_grid is not None and (len(multi_grid) != depth or min(multi_grid) < 1):
        raise RecipeError(
            f"multi_grid is {tuple(multi_grid)}; give {depth} positive numbers, one per block of "
            "the last stage, or none."
        )


def _dilations(
    stage: int, depth: int, output_stride: int, multi_grid: Sequence[int] | None
) -> list[tuple[int, int]]:
    """Return for each block of a stage the dilations of its first and second 3 x 3 convolution."""
    before, dilation = (max(2 ** (stage + power) // output_stride, 1) for power in (1, 2))
    if stage == 3 and multi_grid is not None:
        return [(dilation * factor, dilation * factor) for factor in multi_grid]
    # A convolution that no longer strides still stands on the grid of the stage before.
    return [(before, dilation), *[(dilation, dilation)] * (depth - 1)]


def _convolution(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    dims: int,
) -> nn.Module:
    return CONVOLUTIONS[dims](
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        bias=False,
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
    *,
    stride: int,
    dilations: Sequence[tuple[int, int]],
    dims: int,
) -> nn.Sequential:
    out_channels = width * block.expansion
    first = block(in_channels, width, stride=stride, dilations=dilations[0], dims=dims)
    others = (
        block(out_channels, width, stride=1, dilations=pair, dims=dims) for pair in dilations[1:]
    )
    return nn.Sequential(first, *others)


def _initialise(encoder: nn.Module) -> None:
    """He et al. 2015 with fan-out, as torchvision; norms keep torch's ones and zeros."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
