"""The models as blocks of a recipe. Importing this module imports no torch."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from vesalius.block import Block
from vesalius.images.encoder_names import EncoderName

if TYPE_CHECKING:
    from torch import nn

ResNetName = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
VGGName = Literal["vgg16", "vgg16_bn"]
Share = Annotated[float, Field(ge=0, lt=1)]
Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=5, max_length=5)]
Rates = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
VGG_WIDTHS = (64, 128, 256, 512, 512)


class _Model(Block):
    def build(self, *, in_channels: int, classes: int, dims: int = 2) -> "nn.Module":
        """Return the model with fresh weights, see `vesalius.segment.models.build`."""
        from vesalius.segment import models

        options = {field: getattr(self, field) for field in type(self).model_fields}
        name = options.pop("name")
        return models.build(name, in_channels=in_channels, classes=classes, dims=dims, **options)


class _UNetFamily(_Model):
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


class UNetBlock(_UNetFamily):
    """U-Net (Ronneberger et al. 2015), in the form that the U-Net 3+ paper compares with."""

    name: Literal["unet"] = "unet"
    decoder_normalisation: bool = False
    """Normalise the decoder too; the paper's form does not."""
    deep_supervision: bool = False
    """A head at every level of the decoder in training."""


class UNet3PlusBlock(_UNetFamily):
    """U-Net 3+ (Huang et al. 2020): full-scale skip connections."""

    name: Literal["unet_3_plus"] = "unet_3_plus"
    skip_width: PositiveInt = 64
    """Channels of each source of a decoder node; a node has as many times more as levels."""
    deep_supervision: bool = False
    """A head at every level in training."""
    classification_guided: bool = False
    """Judge per image which classes occur, and blank the others."""


class UNetPlusPlusBlock(_UNetFamily):
    """U-Net++ (Zhou et al. 2018): nested skip connections."""

    name: Literal["unet_plus_plus"] = "unet_plus_plus"
    decoder_normalisation: bool = False
    """Normalise the nests too; the paper's form does not."""
    deep_supervision: bool = True
    """A head on every column; else on the last alone."""


class RefineNetBlock(_Model):
    """RefineNet (Lin et al. 2017): coarse maps refined by finer ones, as released."""

    name: Literal["refinenet"] = "refinenet"
    encoder: EncoderName = "resnet101"
    """The encoder; its four coarsest maps are refined."""
    encoder_weights: str | None = None
    """A weight file, or "imagenet" for the EfficientNet-Lite encoders; null draws weights."""
    width: PositiveInt = 256
    """Channels of the decoder's blocks; the coarsest has twice as many."""
    pooling_stages: Literal[2, 4] = 4
    """Stages of chained residual pooling: 4 as released, 2 in the paper."""
    output_units: int = Field(3, ge=0)
    """Residual units after the three coarser blocks' pooling: 3 as released, 1 in the paper."""
    dropout: Share = 0.5
    """Probability of zeroing an element of the coarse maps and before the classifier."""


class LightWeightRefineNetBlock(_Model):
    """Light-Weight RefineNet (Nekrasov et al. 2018): RefineNet with 1 x 1 convolutions."""

    name: Literal["light_weight_refinenet"] = "light_weight_refinenet"
    encoder: EncoderName = "resnet50"
    """The encoder; its four coarsest maps are refined."""
    encoder_weights: str | None = None
    """A weight file, or "imagenet" for the EfficientNet-Lite encoders; null draws weights."""
    width: PositiveInt = 256
    """Channels of the decoder's blocks; the coarsest has twice as many."""
    pooling_stages: int = Field(4, ge=0)
    """Stages of chained residual pooling."""
    dropout: Share = 0.5
    """Probability of zeroing an element of the two coarsest maps in training."""


class _FCN(_Model):
    encoder: VGGName = "vgg16"
    """VGG-16 as in the paper, or with batch normalisation, which trains from scratch."""
    encoder_weights: str | None = None
    """A weight file with torchvision's names; its classifier becomes fc6 and fc7; null draws."""
    widths: Widths = VGG_WIDTHS
    """Channels of the encoder's five stages; smaller numbers make a smaller model."""
    classifier_width: PositiveInt = 4096
    """Channels of fc6 and fc7, where most of the parameters are."""
    dropout: Share = 0.5
    """Probability of zeroing an element behind fc6 and fc7 in training."""


class FCN32sBlock(_FCN):
    """FCN-32s (Long et al. 2015): VGG-16 as a fully convolutional network."""

    name: Literal["fcn32s"] = "fcn32s"


class FCN16sBlock(_FCN):
    """FCN-16s (Long et al. 2015): with the fourth pooling's scores."""

    name: Literal["fcn16s"] = "fcn16s"


class FCN8sBlock(_FCN):
    """FCN-8s (Long et al. 2015): with the fourth and the third pooling's scores."""

    name: Literal["fcn8s"] = "fcn8s"


class SegNetBlock(_Model):
    """SegNet (Badrinarayanan et al. 2017): unpooling by the places of the maxima."""

    name: Literal["segnet"] = "segnet"
    encoder_weights: str | None = None
    """A weight file with torchvision's names for vgg16_bn; null draws weights."""
    widths: Widths = VGG_WIDTHS
    """Channels of the encoder's five stages, mirrored by the decoder."""


class DeepLabV1Block(_Model):
    """DeepLab v1 (Chen et al. 2015), LargeFOV, without the random field."""

    name: Literal["deeplab_v1"] = "deeplab_v1"
    encoder: VGGName = "vgg16"
    """VGG-16 as in the paper, or with batch normalisation, which trains from scratch."""
    encoder_weights: str | None = None
    """A weight file with torchvision's names; null draws weights."""
    widths: Widths = VGG_WIDTHS
    """Channels of the encoder's five stages; smaller numbers make a smaller model."""
    classifier_width: PositiveInt = 1024
    """Channels of fc6 and fc7."""
    rate: PositiveInt = 12
    """Dilation of fc6: the field of view."""
    dropout: Share = 0.5
    """Probability of zeroing an element behind fc6 and fc7 in training."""


class DeepLabV2Block(_Model):
    """DeepLab v2 (Chen et al. 2018): classifiers at several rates, added."""

    name: Literal["deeplab_v2"] = "deeplab_v2"
    encoder: ResNetName = "resnet101"
    """The encoder, at output stride 8."""
    encoder_weights: str | None = None
    """A weight file with torchvision's names; null draws weights."""
    rates: Rates = (6, 12, 18, 24)
    """Dilations of the classifiers."""


class _Dilated(_Model):
    encoder: EncoderName = "resnet101"
    """The encoder; EfficientNet-Lite needs output_stride 32, VGG-16 16, and no multi_grid."""
    encoder_weights: str | None = None
    """A weight file, or "imagenet" for the EfficientNet-Lite encoders; null draws weights."""
    output_stride: Literal[8, 16, 32] = 16
    """Pixels per element of the deepest map; smaller is finer and slower."""
    rates: Rates = (6, 12, 18)
    """Dilations of the pyramid at an output stride of 16; doubled at 8."""
    multi_grid: tuple[PositiveInt, ...] | None = None
    """Factors of the dilation in the last stage's blocks, as (1, 2, 4); ResNets alone."""
    width: PositiveInt = 256
    """Channels of the pyramid (and of the decoder)."""
    dropout: Share = 0.1
    """Probability of zeroing an element behind the pyramid in training."""


class DeepLabV3Block(_Dilated):
    """DeepLab v3 (Chen et al. 2017): atrous spatial pyramid pooling with the image's mean."""

    name: Literal["deeplab_v3"] = "deeplab_v3"
    extra_convolution: bool = False
    """Another 3 x 3 convolution before the classifier, as torchvision's model has."""


class DeepLabV3PlusBlock(_Dilated):
    """DeepLab v3+ (Chen et al. 2018): DeepLab v3 with a decoder at stride 4."""

    name: Literal["deeplab_v3_plus"] = "deeplab_v3_plus"
    low_level_width: PositiveInt = 48
    """Channels that the encoder's map at stride 4 is reduced to."""
    separable: bool = False
    """Filter each channel by itself in the 3 x 3 convolutions: fewer parameters."""


class PSPNetBlock(_Model):
    """PSPNet (Zhao et al. 2017): means over ever more regions of the map."""

    name: Literal["pspnet"] = "pspnet"
    encoder: EncoderName = "resnet101"
    """The encoder; EfficientNet-Lite needs output_stride 32, VGG-16 16."""
    encoder_weights: str | None = None
    """A weight file, or "imagenet" for the EfficientNet-Lite encoders; null draws weights."""
    output_stride: Literal[8, 16, 32] = 8
    """Pixels per element of the deepest map; smaller is finer and slower."""
    bins: Rates = (1, 2, 3, 6)
    """Regions per axis of the levels of the pyramid."""
    width: PositiveInt = 512
    """Channels of the convolution before the classifier."""
    dropout: Share = 0.1
    """Probability of zeroing an element before the classifiers in training."""
    auxiliary: bool = True
    """A second head on the stage before the last in training."""


ModelBlock = Annotated[
    FCN32sBlock
    | FCN16sBlock
    | FCN8sBlock
    | SegNetBlock
    | UNetBlock
    | UNetPlusPlusBlock
    | UNet3PlusBlock
    | RefineNetBlock
    | LightWeightRefineNetBlock
    | DeepLabV1Block
    | DeepLabV2Block
    | DeepLabV3Block
    | DeepLabV3PlusBlock
    | PSPNetBlock,
    Field(discriminator="name"),
]
"""Any segmentation model, chosen by `name`."""
