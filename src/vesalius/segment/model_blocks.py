"""The models as blocks of a recipe. Importing this module imports no torch."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from vesalius.block import Block

if TYPE_CHECKING:
    from torch import nn

EncoderName = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg16",
    "vgg16_bn",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
]


class _UNetFamily(Block):
    widths: tuple[PositiveInt, ...] = Field((64, 128, 256, 512, 1024), min_length=2)
    """Channels per level, finest first; fewer or smaller numbers make a smaller model."""
    normalisation: Literal["batch", "instance", "group"] = "batch"
    """Normalisation after convolutions; "instance" or "group" suit batches of one or two."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Probability of zeroing an element of the deepest feature map in training."""
    encoder: EncoderName | None = None
    """A named encoder in place of the plain one."""
    encoder_weights: str | None = None
    """A weight file, or "imagenet" for the EfficientNet-Lite encoders; null draws weights."""

    @model_validator(mode="after")
    def _weights_need_an_encoder(self):
        if self.encoder_weights is not None and self.encoder is None:
            raise ValueError("encoder_weights needs an encoder; name one, or leave both out")
        return self

    def build(self, *, in_channels: int, classes: int, dims: int = 2) -> "nn.Module":
        """Return the model with fresh weights, see `vesalius.segment.models.build`."""
        from vesalius.segment import models

        options = {field: getattr(self, field) for field in type(self).model_fields}
        name = options.pop("name")
        return models.build(name, in_channels=in_channels, classes=classes, dims=dims, **options)


class UNetBlock(_UNetFamily):
    """U-Net (Ronneberger et al. 2015), in the form that the U-Net 3+ paper compares with."""

    name: Literal["unet"] = "unet"


class UNet3PlusBlock(_UNetFamily):
    """U-Net 3+ (Huang et al. 2020): full-scale skip connections."""

    name: Literal["unet_3_plus"] = "unet_3_plus"
    skip_width: PositiveInt = 64
    """Channels of each source of a decoder node; a node has as many times more as levels."""
    deep_supervision: bool = False
    """A head at every level in training."""
    classification_guided: bool = False
    """Judge per image which classes occur, and blank the others."""


ModelBlock = Annotated[UNetBlock | UNet3PlusBlock, Field(discriminator="name")]
"""Any segmentation model, chosen by `name`."""
