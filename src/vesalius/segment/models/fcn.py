"""FCN-32s, FCN-16s, FCN-8s (Long et al. 2015; Shelhamer et al. 2017, arXiv:1605.06211) on VGG-16.

The classifier of VGG-16 becomes convolutions (fc6: 7 x 7, fc7: 1 x 1) that score every position at
stride 32; FCN-16s and FCN-8s add scores of the fourth and third pooling, and learn to enlarge by 2
from bilinear interpolation; the last enlargement is bilinear and fixed, as in the paper. With 21
classes and three channels: 134,346,581 parameters (32s; 134 M in table 1), 134,364,410 (16s),
134,376,863 (8s).

Any size works without the original's 100 pixels of padding: fc6 is padded to keep the size and
poolings round up, so that cell i of a map at stride s covers the pixels from s i to s i + s - 1.
Maps are enlarged by exactly 2 (or the stride) about these cells and cropped at the far edge; the
original's crops from the middle of a padded map are thus not needed. A map is extended by its
border before it is enlarged, which at the start makes the answer interpolation up to the edge,
where the original's fades to zero behind its padding.

Trained at once, all skips together (section 4.3 of 2017); its factors for the pooled features
(0.01 and 0.0001), which suit plain gradient descent on Caffe's features, are left out.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.errors import DataError, RecipeError
from vesalius.images import encoders
from vesalius.images.encoders.weights import read_state
from vesalius.segment.models.blocks import (
    crop,
    initialise_rectified,
    max_pool,
    refuse_volumes,
    resize,
)

VGG_WIDTHS = (64, 128, 256, 512, 512)
VGG_CLASSIFIER_WIDTH = 4096
VGG_ENCODERS = ("vgg16", "vgg16_bn")


class Doubling(nn.Module):
    """Double the size by a learned transposed convolution that starts as bilinear interpolation.

    Args:
        channels: of the input and of the output; every output sees all inputs, and only its own
            at the start.
    """

    def __init__(self, channels: int):
        super().__init__()
        # The border added in front shifts the answer by two; with the usual padding of one: three.
        self.convolution = nn.ConvTranspose2d(
            channels, channels, 4, stride=2, padding=3, bias=False
        )
        with torch.no_grad():
            weight = torch.eye(channels)[:, :, None, None] * bilinear_kernel(2)
            self.convolution.weight.copy_(weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(F.pad(x, (1, 1, 1, 1), mode="replicate"))


class FCN(nn.Module):
    """A fully convolutional network; the subclasses say how fine it looks.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        dims: 2.
        encoder: "vgg16" as in the paper, or "vgg16_bn".
        encoder_weights: None, or the path of a file with torchvision's names. Where it holds the
            classifier too and `classifier_width` is 4096, fc6 and fc7 are taken from there.
        widths: channels of the five stages of the encoder.
        classifier_width: channels of fc6 and fc7.
        dropout: probability of zeroing an element behind fc6 and fc7 in training.

    `forward` maps (B, in_channels, H, W) to logits (B, classes, H, W), in training too.

    Raises:
        RecipeError: volumes, or a bad value.
        DataError: the weight file is missing, damaged or does not fit.
    """

    name: str
    stride: int

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        dims: int = 2,
        encoder: str = "vgg16",
        encoder_weights: str | None = None,
        widths: Sequence[int] = VGG_WIDTHS,
        classifier_width: int = VGG_CLASSIFIER_WIDTH,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.encoder = build_vgg(
            self.name,
            encoder,
            in_channels=in_channels,
            weights=encoder_weights,
            dims=dims,
            widths=widths,
        )
        self.fc6 = nn.Conv2d(widths[-1], classifier_width, 7, padding=3)
        self.fc7 = nn.Conv2d(classifier_width, classifier_width, 1)
        self.dropout = nn.Dropout(dropout)
        initialise_rectified(self.fc6)
        initialise_rectified(self.fc7)
        if encoder_weights is not None and classifier_width == VGG_CLASSIFIER_WIDTH:
            self._load_classifier(Path(encoder_weights))
        self.score = _score(classifier_width, classes)
        skips = {32: (), 16: (widths[3],), 8: (widths[3], widths[2])}[self.stride]
        self.skip_scores = nn.ModuleList(_score(width, classes) for width in skips)
        self.doublings = nn.ModuleList(Doubling(classes) for _ in skips)

    def forward(self, images: Tensor) -> Tensor:
        *_, third, fourth, fifth = (max_pool(x, factor=2) for x in self.encoder(images))
        x = self.dropout(F.relu(self.fc6(fifth)))
        x = self.dropout(F.relu(self.fc7(x)))
        x = self.score(x)
        for pooled, score, double in zip(
            (fourth, third), self.skip_scores, self.doublings, strict=False
        ):
            x = crop(double(x), pooled.shape[2:]) + score(pooled)
        return crop(resize(x, [self.stride * side for side in x.shape[2:]]), images.shape[2:])

    def _load_classifier(self, path: Path) -> None:
        state = read_state(path)
        for layer, number in ((self.fc6, 0), (self.fc7, 3)):
            for part in ("weight", "bias"):
                key, own = f"classifier.{number}.{part}", getattr(layer, part)
                if key not in state:
                    continue
                if state[key].numel() != own.numel():
                    raise DataError(
                        f"{path}: {key} has the shape {tuple(state[key].shape)}, which is not "
                        "that of VGG-16. Use torchvision's file, or one without the classifier."
                    )
                with torch.no_grad():
                    own.copy_(state[key].view_as(own))


class FCN32s(FCN):
    """FCN-32s: the scores at stride 32, enlarged 32 times."""

    name = "fcn32s"
    stride = 32


class FCN16s(FCN):
    """FCN-16s: with the scores of the fourth pooling, enlarged 16 times."""

    name = "fcn16s"
    stride = 16


class FCN8s(FCN):
    """FCN-8s: with the scores of the fourth and the third pooling, enlarged 8 times."""

    name = "fcn8s"
    stride = 8


def bilinear_kernel(factor: int) -> Tensor:
    """Return the kernel (2 factor, 2 factor) by which a transposed convolution interpolates.

    For even factors: with that stride and a padding of half of it the answer is `factor` times as
    large and equals bilinear interpolation whose corners are not aligned, away from the border.
    """
    offsets = torch.arange(2 * factor) - (factor - 0.5)
    line = 1 - offsets.abs() / factor
    return line[:, None] * line


def build_vgg(model: str, encoder: str, *, dims: int, **options) -> nn.Module:
    """Return a VGG-16 encoder, or say that a model has no other one.

    Raises:
        RecipeError: volumes, another encoder, or a bad option.
    """
    refuse_volumes(model, dims)
    if encoder not in VGG_ENCODERS:
        raise RecipeError(
            f"The model '{model}' stands on {' or '.join(VGG_ENCODERS)}, not on '{encoder}'. "
            "With another encoder use unet, deeplab_v3_plus or pspnet."
        )
    return encoders.build(encoder, **options)


def _score(in_channels: int, classes: int) -> nn.Conv2d:
    """Return a 1 x 1 convolution that starts at zero, as the paper's."""
    score = nn.Conv2d(in_channels, classes, 1)
    nn.init.zeros_(score.weight)
    nn.init.zeros_(score.bias)
    return score
