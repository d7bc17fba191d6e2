"""What the segmentation models share: convolutions, the plain encoder, resizing, the answer.

Sizes: every encoder's map at stride s has the side ceil(n / s), also the plain one's (pooling
rounds up), so decoders resize or crop to the size of the map that they meet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.errors import RecipeError
from vesalius.images import encoders

Normalisation = Literal["batch", "instance", "group"]
NORMALISATIONS = ("batch", "instance", "group")
ZJU_WIDTHS = (64, 128, 256, 512, 1024)

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED_CONVOLUTIONS = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOLINGS = {2: F.max_pool2d, 3: F.max_pool3d}
INTERPOLATIONS = {2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Outputs:
    """What a model may return in training beside its logits.

    Attributes:
        logits: (B, classes, *size) each, at the size of the images, the finest head's first.
        presence: (B, foreground classes) logits that a class occurs in the image, or None.
        weights: factors of the heads' losses that belong to the model, one per head; None leaves
            them to the recipe.
    """

    logits: list[Tensor]
    presence: Tensor | None = None
    weights: tuple[float, ...] | None = None

    @classmethod
    def of(cls, answer: "Tensor | list[Tensor] | Outputs") -> "Outputs":
        """Return any model's answer as `Outputs`."""
        if isinstance(answer, Outputs):
            return answer
        return cls([answer] if isinstance(answer, Tensor) else list(answer))


class ConvUnit(nn.Sequential):
    """A 3 x 3 convolution with bias, a normalisation (or none) and a ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, *, normalisation: str | None, dims: int
    ):
        super().__init__()
        self.convolution = CONVOLUTIONS[dims](in_channels, out_channels, 3, padding=1)
        if normalisation is not None:
            self.norm = norm_layer(normalisation, out_channels, dims=dims)
        self.activation = nn.ReLU(inplace=True)


class DoubleConv(nn.Sequential):
    """Two `ConvUnit`s, the block of the U-Nets."""

    def __init__(
        self, in_channels: int, out_channels: int, *, normalisation: str | None, dims: int
    ):
        options = {"normalisation": normalisation, "dims": dims}
        super().__init__(
            ConvUnit(in_channels, out_channels, **options),
            ConvUnit(out_channels, out_channels, **options),
        )


class InstanceNorm(nn.Module):
    """Instance normalisation with scale and shift that accepts maps of a single element.

    There the deviation from the mean is zero, so the answer is the shift alone; torch's own layer
    refuses such maps, which tiny images produce at the deepest level.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if x[0, 0].numel() > 1:
            return F.instance_norm(x, weight=self.weight, bias=self.bias)
        shape = (1, -1, *[1] * (x.ndim - 2))
        return (x - x) * self.weight.view(shape) + self.bias.view(shape)


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch normalisation of pooled maps, in 2D and 3D, that also trains on one value per channel.

    The global mean of a batch of one has no variance over the batch, and torch's layer refuses it.
    Here such a batch is normalised by the running statistics, as in evaluation, and leaves them as
    they are. Where all batches are so, they stay 0 and 1 and the layer is its scale and shift.
    """

    def forward(self, x: Tensor) -> Tensor:
        values = x.flatten(2).unsqueeze(-1)
        if self.training and values.shape[0] * values.shape[2] == 1:
            mean, variance = self.running_mean, self.running_var
            y = F.batch_norm(values, mean, variance, self.weight, self.bias, eps=self.eps)
        else:
            y = super().forward(values)
        return y.reshape(x.shape)


class BatchNormUnit(nn.Sequential):
    """A convolution without bias that keeps the size, batch normalisation and a ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        dilation: int = 1,
        pooled: bool = False,
        dims: int,
    ):
        super().__init__()
        self.convolution = CONVOLUTIONS[dims](
            in_channels,
            out_channels,
            kernel,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            bias=False,
        )
        self.norm = (PooledBatchNorm if pooled else BATCH_NORMS[dims])(out_channels)
        self.activation = nn.ReLU(inplace=True)


class PlainEncoder(nn.Module):
    """The U-Net's own contracting path: double convolutions and 2 x 2 max pooling.

    Like the encoders of `vesalius.images.encoders` it has `channels` and `strides` and returns its
    feature maps, finest first.
    """

    def __init__(
        self, *, in_channels: int, widths: Sequence[int], normalisation: Normalisation, dims: int
    ):
        super().__init__()
        self.channels = tuple(widths)
        self.strides = tuple(2**level for level in range(len(widths)))
        inputs = (in_channels, *widths[:-1])
        self.stages = nn.ModuleList(
            DoubleConv(into, out, normalisation=normalisation, dims=dims)
            for into, out in zip(inputs, widths, strict=True)
        )
        initialise(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = [self.stages[0](images)]
        for stage in self.stages[1:]:
            features.append(stage(max_pool(features[-1], factor=2)))
        return features


def build_encoder(
    encoder: str | None,
    *,
    encoder_weights: str | None,
    in_channels: int,
    widths: Sequence[int],
    normalisation: Normalisation,
    dims: int,
) -> nn.Module:
    """Return the plain encoder (`encoder=None`) or a named one, and check that they fit.

    Raises:
        RecipeError: bad widths or normalisation, weights without an encoder, or widths whose
            number differs from the named encoder's levels.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise RecipeError(f"widths is {tuple(widths)}; give at least two positive numbers.")
    if normalisation not in NORMALISATIONS:
        raise encoders.unknown_name("normalisation", str(normalisation), NORMALISATIONS)
    if encoder is None:
        if encoder_weights is not None:
            raise RecipeError("encoder_weights needs an encoder; name one, or leave both out.")
        return PlainEncoder(
            in_channels=in_channels, widths=widths, normalisation=normalisation, dims=dims
        )
    built = encoders.build(encoder, in_channels=in_channels, weights=encoder_weights, dims=dims)
    if len(widths) != len(built.channels):
        raise RecipeError(
            f"The encoder '{encoder}' has {len(built.channels)} levels; widths has {len(widths)} "
            "numbers. Give one per level."
        )
    return built


def norm_layer(normalisation: str, channels: int, *, dims: int) -> nn.Module:
    """Return a normalisation layer; groups have 16 channels (Wu and He 2018), else all in one."""
    if normalisation == "batch":
        return BATCH_NORMS[dims](channels)
    if normalisation == "instance":
        return InstanceNorm(channels)
    return nn.GroupNorm(channels // 16 if channels % 16 == 0 else 1, channels)


def max_pool(x: Tensor, *, factor: int) -> Tensor:
    """Pool over windows of `factor`; a window at the far edge may hang over it."""
    return MAX_POOLINGS[x.ndim - 2](x, factor, stride=factor, ceil_mode=True)


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate linearly to a size, corners not aligned."""
    if _same_size(x.shape[2:], size):
        return x
    return F.interpolate(x, size=tuple(size), mode=INTERPOLATIONS[x.ndim - 2], align_corners=False)


def _same_size(size: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether two sizes are equal; in a captured graph, whether they are for every image.

    There a map may have the size at hand by chance, for the image that happens to be traced.
    """
    if not torch.compiler.is_compiling():
        return tuple(size) == tuple(other)
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return all(statically_known_true(a == b) for a, b in zip(size, other, strict=True))


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """Cut the far edges off, down to a size."""
    return x[(slice(None), slice(None), *(slice(side) for side in size))]


def refuse_volumes(model: str, dims: int) -> None:
    """Refuse `dims=3` for a model whose encoder has no form for volumes."""
    if dims != 2:
        raise RecipeError(
            f"The model '{model}' exists for dims=2 only. For volumes use unet, unet_plus_plus, "
            "unet_3_plus, refinenet, deeplab_v2, deeplab_v3, deeplab_v3_plus or pspnet."
        )


def initialise(module: nn.Module) -> None:
    """Draw weights as the ZJU code: He normal (fan-in); batch norm scales N(1, 0.02), shifts 0.

    Convolution biases keep torch's default; other norms keep ones and zeros.
    """
    for part in module.modules():
        if isinstance(part, (*CONVOLUTIONS.values(), *TRANSPOSED_CONVOLUTIONS.values())):
            nn.init.kaiming_normal_(part.weight, a=0, mode="fan_in")
        elif isinstance(part, tuple(BATCH_NORMS.values())):
            nn.init.normal_(part.weight, 1.0, 0.02)
            nn.init.zeros_(part.bias)


def initialise_rectified(module: nn.Module) -> None:
    """Draw convolutions as the named encoders do: He normal (fan-out); biases 0."""
    for part in module.modules():
        if isinstance(part, tuple(CONVOLUTIONS.values())):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def initialise_classifier(*convolutions: nn.Module) -> None:
    """Draw last convolutions as the DeepLabs: N(0, 0.01), biases 0, so that logits start small."""
    for convolution in convolutions:
        nn.init.normal_(convolution.weight, 0.0, 0.01)
        nn.init.zeros_(convolution.bias)
