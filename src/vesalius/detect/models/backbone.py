"""Backbones: an encoder, and a feature pyramid on it or none.

The parts are called `body` and `fpn`, as torchvision calls them, so that its weights load.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from vesalius.detect.models.blocks import BATCH_NORMS, conv_unit, replace_batch_norms
from vesalius.detect.models.pyramid import MAX_POOLS, FeaturePyramid
from vesalius.errors import RecipeError
from vesalius.images import encoders
from vesalius.images.encoders.efficientnet import EfficientNetLite
from vesalius.images.encoders.resnet import ResNet
from vesalius.images.encoders.vgg import VGG16

NORMS = ("batch", "frozen", "group")
PLAIN_WIDTHS = (16, 32, 64, 96, 128)
SINGLE_STRIDE = 16


class PlainEncoder(nn.Module):
    """A small encoder without pretrained weights: two convolutions a stage, max pooling between.

    Strides 1, 2, 4, ...; images and volumes; any size (pooling rounds up).
    """

    def __init__(self, *, in_channels: int, widths: Sequence[int], norm: str, dims: int):
        super().__init__()
        self.channels = tuple(widths)
        self.strides = tuple(2**stage for stage in range(len(widths)))
        inputs = (in_channels, *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(
                conv_unit(into, out, norm=norm, dims=dims),
                conv_unit(out, out, norm=norm, dims=dims),
            )
            for into, out in zip(inputs, widths, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [self.stages[0](images)]
        for stage in self.stages[1:]:
            pooled = MAX_POOLS[images.ndim - 2](maps[-1], 2, stride=2, ceil_mode=True)
            maps.append(stage(pooled))
        return maps


class Backbone(nn.Module):
    """Images to feature maps.

    Attributes:
        strides: pixels per element of every map that `forward` returns.
        roi_levels: how many of them, from the finest on, RoIs are pooled from; the pyramid's
            coarsest level is for anchors alone.
        width: channels of the maps.
    """

    def __init__(self, body: nn.Module, *, levels: Sequence[int], fpn: FeaturePyramid | None):
        super().__init__()
        self.body = body
        self.levels = tuple(levels)
        if fpn is not None:
            self.fpn = fpn
        self.has_pyramid = fpn is not None
        strides = tuple(body.strides[level] for level in levels)
        self.roi_levels = len(strides)
        self.strides = (*strides, 2 * strides[-1]) if fpn is not None else strides
        self.width = (
            fpn.layer_blocks[0][0].out_channels
            if fpn is not None
            else body.channels[self.levels[-1]]
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, C, *size) to feature maps, finest first; side i is ceil(side / strides[i])."""
        maps = self.body(images)
        maps = [maps[level] for level in self.levels]
        return self.fpn(maps) if self.has_pyramid else maps


def build_backbone(
    encoder: str | None,
    *,
    encoder_weights: str | None,
    encoder_options: Mapping[str, Any] | None,
    in_channels: int,
    dims: int,
    pyramid: bool,
    pyramid_width: int,
    finest_stride: int,
    norm: str,
    head_norm: str | None,
    trainable_stages: int | None,
) -> Backbone:
    """Return a backbone; the arguments are those of the models (see `FasterRCNN`).

    Raises:
        RecipeError: a bad value, or an encoder that does not exist so.
        DataError: the weight file is missing, damaged or does not fit.
        MissingDependencyError: the package that carries the weights is not installed.
    """
    if norm not in NORMS:
        raise encoders.unknown_name("normalisation", str(norm), NORMS)
    if norm == "group" and encoder_weights is not None:
        raise RecipeError(
            "norm=group and encoder_weights exclude each other: the weights were trained with "
            "batch normalisation. Use norm=frozen or norm=batch, or no weights."
        )
    body = _encoder(
        encoder,
        weights=encoder_weights,
        options=dict(encoder_options or {}),
        in_channels=in_channels,
        dims=dims,
        norm=norm,
        single=not pyramid,
    )
    _freeze(body, trainable_stages)
    if not pyramid:
        return Backbone(body, levels=[_single_level(body)], fpn=None)
    levels = [index for index, stride in enumerate(body.strides) if stride >= finest_stride]
    if finest_stride not in body.strides or len(levels) < 2:
        raise RecipeError(
            f"finest_stride is {finest_stride}; this encoder has maps at the strides "
            f"{', '.join(map(str, body.strides))}, and a pyramid needs two of them at least."
        )
    channels = [body.channels[level] for level in levels]
    fpn = FeaturePyramid(channels, width=pyramid_width, norm=head_norm, dims=dims)
    return Backbone(body, levels=levels, fpn=fpn)


def _encoder(name, *, weights, options, in_channels, dims, norm, single) -> nn.Module:
    if name is None:
        if weights is not None:
            raise RecipeError("encoder_weights needs an encoder; name one, or leave both out.")
        if set(options) - {"widths"}:
            raise RecipeError(
                f"encoder_options has {', '.join(sorted(options))}; the plain encoder "
                "(encoder=null) has the option widths alone."
            )
        widths = options.get("widths", PLAIN_WIDTHS)
        if not widths or min(widths) < 1:
            raise RecipeError(f"widths is {tuple(widths)}; give positive numbers, one a stage.")
        return PlainEncoder(in_channels=in_channels, widths=widths, norm=norm, dims=dims)
    if single and name.startswith("resnet"):
        # The deepest stage at stride 16 too, dilated: every weight of the encoder is in use.
        options.setdefault("output_stride", SINGLE_STRIDE)
    body = encoders.build(name, in_channels=in_channels, weights=weights, dims=dims, **options)
    if single and isinstance(body, EfficientNetLite):
        _cut(body, SINGLE_STRIDE)
    if norm != "batch":
        replace_batch_norms(body, norm)
    return body


def _cut(body: EfficientNetLite, stride: int) -> None:
    """Remove the stages behind the map at a stride, which nothing would use."""
    level = body.strides.index(stride)
    del body._blocks[body._taps[level] + 1 :]
    body._taps = body._taps[: level + 1]
    body.channels = body.channels[: level + 1]
    body.strides = body.strides[: level + 1]


def _single_level(body: nn.Module) -> int:
    return len(body.strides) - 1


def stages_of(body: nn.Module) -> list[list[nn.Module]]:
    """Return the modules of an encoder's stages, one stage for each of its maps."""
    if isinstance(body, ResNet):
        stem = [body.conv1, body.bn1]
        return [stem, [body.layer1], [body.layer2], [body.layer3], [body.layer4]]
    if isinstance(body, VGG16):
        return body.stages()
    if isinstance(body, EfficientNetLite):
        ends = [tap + 1 for tap in body._taps]
        starts = [0, *ends[:-1]]
        blocks = [list(body._blocks[i:j]) for i, j in zip(starts, ends, strict=True)]
        return [[body._conv_stem, body._bn0, *blocks[0]], *blocks[1:]]
    return [[stage] for stage in body.stages]


def _freeze(body: nn.Module, trainable_stages: int | None) -> None:
    """Freeze all stages but the last ones, their batch statistics too."""
    stages = stages_of(body)
    if trainable_stages is None:
        return
    if not 0 <= trainable_stages <= len(stages):
        raise RecipeError(
            f"trainable_stages is {trainable_stages}; the encoder has {len(stages)} stages. Give "
            f"0 (train none) to {len(stages)} (train all)."
        )
    for stage in stages[: len(stages) - trainable_stages]:
        for module in stage:
            module.requires_grad_(False)
            _freeze_norms(body, module)


def _freeze_norms(body: nn.Module, module: nn.Module) -> None:
    if not isinstance(module, tuple(BATCH_NORMS.values())):
        replace_batch_norms(module, "frozen")
        return
    # A stage that is itself a normalisation (a stem's) is replaced where its owner holds it.
    from vesalius.detect.models.blocks import FrozenBatchNorm

    for owner in body.modules():
        for name, child in owner.named_children():
            if child is module:
                setattr(owner, name, FrozenBatchNorm.of(module))
