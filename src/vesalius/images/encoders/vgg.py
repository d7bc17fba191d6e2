"""VGG-16 (Simonyan and Zisserman 2015, configuration D) as an encoder.

The convolutions carry torchvision's names (`features.N`), so official files of `vgg16` and
`vgg16_bn` load. Two differences: the classifier and the fifth pooling are left out, and pooling
rounds sizes up, so that images smaller than 16 pixels and odd sides work; for sides that are
multiples of 16 the results are the original's.
"""

from torch import Tensor, nn

from vesalius.errors import RecipeError

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """Feature maps after the last activation of each stage (strides 1, 2, 4, 8, 16)."""

    channels = (64, 128, 256, 512, 512)
    strides = (1, 2, 4, 8, 16)
    first_convolution = "features.0.weight"
    head_prefixes = ("classifier.",)
    package = None

    def __init__(self, *, in_channels: int = 3, dims: int = 2, batch_norm: bool = False):
        super().__init__()
        if dims != 2:
            raise RecipeError("VGG-16 exists for dims=2 only. For volumes use a resnet encoder.")
        self.in_channels = in_channels
        self.features = nn.Sequential()
        self._starts = [0]
        for widths in STAGES:
            for width in widths:
                self.features.extend(_layers(in_channels, width, batch_norm=batch_norm))
                in_channels = width
            self._starts.append(len(self.features))
            # A stage's pooling stands at its end, under the number that it has in torchvision.
            self.features.append(nn.MaxPool2d(2, stride=2, ceil_mode=True))
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


def _layers(in_channels: int, width: int, *, batch_norm: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, width, 3, padding=1)
    # In place is safe for the taps: the next layer is a pooling, which does not write to them.
    activation = nn.ReLU(inplace=True)
    if batch_norm:
        return [convolution, nn.BatchNorm2d(width), activation]
    return [convolution, activation]
