"""VGG-16 (Simonyan and Zisserman 2015, configuration D) as an encoder.

The convolutions carry torchvision's names (`features.N`), so official files of `vgg16` and
`vgg16_bn` load. Two differences: the classifier and the fifth pooling are left out, and pooling
rounds sizes up, so that images smaller than 16 pixels and odd sides work; for sides that are
multiples of 16 the results are the original's.

Widths, larger pooling windows and an output stride of 8 (DeepLab's form: the fourth pooling does
not stride, and the convolutions behind it are dilated) are options that keep the names.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from vesalius.errors import RecipeError

WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = (2, 2, 3, 3, 3)


class VGG16(nn.Module):
    """Feature maps after the last activation of each stage (strides 1, 2, 4, 8, 16).

    Args:
        in_channels: channels of the images.
        dims: 2; there is no form for volumes.
        batch_norm: normalise after every convolution (`vgg16_bn`).
        widths: channels of the five stages.
        pooling: side of the pooling windows: 2 as in the paper; 3, padded, as in DeepLab's nets.
        output_stride: 16, or 8 with `pooling=3`: a pooling that does not stride has to be centred.

    Raises:
        RecipeError: volumes, or one of the options out of its range.
    """

    options = ("output_stride", "pooling", "widths")
    first_convolution = "features.0.weight"
    head_prefixes = ("classifier.",)
    package = None

    def __init__(
        self,
        *,
        in_channels: int = 3,
        dims: int = 2,
        batch_norm: bool = False,
        widths: Sequence[int] = WIDTHS,
        pooling: int = 2,
        output_stride: int = 16,
    ):
        super().__init__()
        _check(dims=dims, widths=widths, pooling=pooling, output_stride=output_stride)
        self.in_channels = in_channels
        self.channels = tuple(widths)
        self.strides = (1, 2, 4, 8, output_stride)
        self.features = nn.Sequential()
        self._starts = [0]
        for stage, (width, depth) in enumerate(zip(widths, DEPTHS, strict=True)):
            dilation = 2 if stage == 4 and output_stride == 8 else 1
            for _ in range(depth):
                layers = _layers(in_channels, width, dilation=dilation, batch_norm=batch_norm)
                self.features.extend(layers)
                in_channels = width
            self._starts.append(len(self.features))
            # A stage's pooling stands at its end, under the number that it has in torchvision.
            stride = 1 if stage == 3 and output_stride == 8 else 2
            self.features.append(_pool(pooling, stride=stride))
        del self.features[-1]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        features, x = [], images
        for start, stop in zip(self._starts, self._starts[1:], strict=False):
            for layer in self.features[start:stop]:
                x = layer(x)
            features.append(x)
        return features

    def stages(self) -> list[list[nn.Module]]:
        """Return the layers of each stage without the pooling between them."""
        bounds = zip(self._starts, self._starts[1:], strict=False)
        inside = [list(self.features[start:stop]) for start, stop in bounds]
        return [inside[0], *(layers[1:] for layers in inside[1:])]


def _check(*, dims: int, widths: Sequence[int], pooling: int, output_stride: int) -> None:
    if dims != 2:
        raise RecipeError("VGG-16 exists for dims=2 only. For volumes use a resnet encoder.")
    if len(widths) != len(DEPTHS) or min(widths) < 1:
        raise RecipeError(f"widths is {tuple(widths)}; VGG-16 needs five positive numbers.")
    if pooling not in (2, 3):
        raise RecipeError(f"pooling is {pooling}; VGG-16 pools over windows of 2 or 3.")
    if output_stride != 16 and (output_stride, pooling) != (8, 3):
        raise RecipeError(
            f"output_stride is {output_stride}; VGG-16 has 16, or 8 together with pooling=3. "
            "For 32 use a resnet or efficientnet_lite encoder."
        )


def _pool(side: int, *, stride: int) -> nn.MaxPool2d:
    if side == 3:
        return nn.MaxPool2d(3, stride=stride, padding=1)
    return nn.MaxPool2d(2, stride=stride, ceil_mode=True)


def _layers(in_channels: int, width: int, *, dilation: int, batch_norm: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, width, 3, padding=dilation, dilation=dilation)
    # In place is safe for the taps: the next layer is a pooling, which does not write to them.
    activation = nn.ReLU(inplace=True)
    if batch_norm:
        return [convolution, nn.BatchNorm2d(width), activation]
    return [convolution, activation]
