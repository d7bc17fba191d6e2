"""U-Net 3+ (Huang et al. 2020, "UNet 3+: A Full-Scale Connected UNet", arXiv:2004.08790).

Every decoder node sees all scales: finer encoder maps pooled, its own, coarser decoder maps
interpolated, each convolved to `skip_width` channels, joined and convolved. With the default
widths, three channels and one class: 26,971,777 parameters; 26,989,637 with deep supervision;
26,991,687 with the classification-guided module (CGM) too.

Differences from the authors' released code: any image size (maps are resized to the size at hand);
logits are returned, not probabilities; the CGM multiplies probabilities, so that an image without
the organ gives exactly 0 (there it multiplied logits, which gives 0.5 everywhere), its answer is
returned in training, so that it can be trained, and there is one per foreground class.

Speed: the paper interpolates a coarser map and then convolves it at the fine size; here products
are formed at the coarse size, which gives the same answer, see `models.resized`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.segment.models.blocks import (
    CONVOLUTIONS,
    ZJU_WIDTHS,
    ConvUnit,
    Normalisation,
    Outputs,
    build_encoder,
    initialise,
    max_pool,
    norm_layer,
    resize,
)
from vesalius.segment.models.resized import RESIZING_CONVOLUTIONS

ABSENT_LOGIT = -1e4
"""Its sigmoid, and its exponential beside any usual background logit, is exactly 0."""


class SkipUnit(nn.Module):
    """A `ConvUnit` whose convolution can take its input at another size."""

    def __init__(
        self, in_channels: int, out_channels: int, *, normalisation: Normalisation, dims: int
    ):
        super().__init__()
        self.convolution = RESIZING_CONVOLUTIONS[dims](in_channels, out_channels, 3, padding=1)
        self.norm = norm_layer(normalisation, out_channels, dims=dims)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.normalised(x, x.shape[2:]))

    def normalised(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Return the answer before the ReLU, at the size of the node."""
        return self.norm(self.convolution(x, size))


class FullScaleNode(nn.Module):
    """One decoder node: gather all levels at the size of one, then fuse them.

    Args:
        level: index of the node's level, 0 is the finest.
        channels: channels of the sources, finest first: encoder maps up to this level, then the
            coarser decoder maps, then the deepest encoder map.
        strides: strides of the levels.
        skip_width: channels that each source is reduced to.
    """

    def __init__(
        self,
        level: int,
        *,
        channels: Sequence[int],
        strides: Sequence[int],
        skip_width: int,
        normalisation: Normalisation,
        dims: int,
    ):
        super().__init__()
        self.level = level
        self.factors = [strides[level] // stride for stride in strides[:level]]
        options = {"normalisation": normalisation, "dims": dims}
        self.skips = nn.ModuleList(SkipUnit(into, skip_width, **options) for into in channels)
        width = skip_width * len(channels)
        self.fusion = ConvUnit(width, width, **options)

    def forward(self, sources: Sequence[Tensor]) -> Tensor:
        size = sources[self.level].shape[2:]
        pooled = [
            max_pool(x, factor=factor) for x, factor in zip(sources, self.factors, strict=False)
        ]
        gathered = [*pooled, *sources[self.level :]]
        skips = [skip.normalised(x, size) for skip, x in zip(self.skips, gathered, strict=True)]
        # One ReLU, in place and after joining: backward then keeps one copy of the maps, not two.
        return self.fusion(F.relu_(torch.cat(skips, dim=1)))


class PresenceClassifier(nn.Module):
    """The classification-guided module: does a class occur in the image at all?

    Dropout, a 1 x 1 convolution to (absent, present) per class, a global maximum. The difference
    of the two is one logit per class, positive where the pair's argmax is "present".
    """

    def __init__(self, in_channels: int, classes: int, *, dims: int):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.convolution = CONVOLUTIONS[dims](in_channels, 2 * classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        pairs = self.convolution(self.dropout(x)).flatten(2).amax(dim=2).unflatten(1, (-1, 2))
        return pairs[..., 1] - pairs[..., 0]


class UNet3Plus(nn.Module):
    """U-Net 3+.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        dims: 2 or 3.
        widths: channels of the plain encoder per level, finest first; with `encoder` not used.
        normalisation: "batch", "instance" or "group", in the plain encoder and in the decoder.
        dropout: probability of zeroing an element of the deepest feature map in training.
        skip_width: channels of each of a node's sources; a node has levels x skip_width.
        deep_supervision: a head at every level in training.
        classification_guided: judge per image which classes occur, and blank the others.
        encoder: name of an encoder of `vesalius.images.encoders` in place of the plain one. Where
            its finest map is at stride 2 (ResNet, EfficientNet) the finest node works there and
            its logits are interpolated to the size of the images.
        encoder_weights: see `vesalius.images.encoders.build`.

    `forward` returns logits (B, classes, *size) in evaluation. Foreground classes that the
    classification-guided module finds absent have the logit -1e4 there, so that their sigmoid or
    softmax is exactly 0. In training nothing is blanked, and it returns:

    - the logits alone, without the two options;
    - with deep supervision a list of logits at the size of the images, finest head first;
    - with the classification-guided module `Outputs(logits, presence)`: that list (of one without
      deep supervision) and presence logits (B, foreground classes) for a binary cross-entropy,
      see `vesalius.segment.losses.PresenceLoss`.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        dims: int = 2,
        widths: Sequence[int] = ZJU_WIDTHS,
        normalisation: Normalisation = "batch",
        dropout: float = 0.0,
        skip_width: int = 64,
        deep_supervision: bool = False,
        classification_guided: bool = False,
        encoder: str | None = None,
        encoder_weights: str | None = None,
    ):
        super().__init__()
        self.encoder = build_encoder(
            encoder,
            encoder_weights=encoder_weights,
            in_channels=in_channels,
            widths=widths if encoder is None else ZJU_WIDTHS,
            normalisation=normalisation,
            dims=dims,
        )
        channels, strides = self.encoder.channels, self.encoder.strides
        node_width = skip_width * len(channels)
        self.dropout = nn.Dropout(dropout)
        self.nodes = nn.ModuleList(
            FullScaleNode(
                level,
                channels=_source_channels(channels, level, node_width),
                strides=strides,
                skip_width=skip_width,
                normalisation=normalisation,
                dims=dims,
            )
            for level in range(len(channels) - 1)
        )
        head_inputs = [node_width] * (len(channels) - 1) + [channels[-1]]
        self.heads = nn.ModuleList(
            CONVOLUTIONS[dims](into, classes, 3, padding=1)
            for into in (head_inputs if deep_supervision else head_inputs[:1])
        )
        foreground = max(classes - 1, 1)
        self.presence = (
            PresenceClassifier(channels[-1], foreground, dims=dims)
            if classification_guided
            else None
        )
        for part in (self.nodes, self.heads, self.presence):
            if part is not None:
                initialise(part)

    def forward(self, images: Tensor) -> Tensor | list[Tensor] | Outputs:
        *features, deepest = self.encoder(images)
        maps = self._decode(features, self.dropout(deepest))
        heads = self.heads if self.training else self.heads[:1]
        logits = [resize(head(x), images.shape[2:]) for head, x in zip(heads, maps, strict=False)]
        presence = None if self.presence is None else self.presence(deepest)
        if not self.training:
            return logits[0] if presence is None else _blank_absent(logits[0], presence)
        if presence is not None:
            return Outputs(logits, presence)
        return logits if len(logits) > 1 else logits[0]

    def _decode(self, features: list[Tensor], deepest: Tensor) -> list[Tensor]:
        """Return the maps of all levels, finest first; the last is the encoder's deepest."""
        coarser = [deepest]
        for level in reversed(range(len(features))):
            coarser.insert(0, self.nodes[level]([*features[: level + 1], *coarser]))
        return coarser


def _source_channels(channels: Sequence[int], level: int, node_width: int) -> list[int]:
    nodes_below = len(channels) - 2 - level
    return [*channels[: level + 1], *[node_width] * nodes_below, channels[-1]]


def _blank_absent(logits: Tensor, presence: Tensor) -> Tensor:
    """Give the foreground logits of absent classes a value whose probability is exactly 0."""
    present = presence > 0
    if logits.shape[1] > 1:
        background = torch.ones_like(present[:, :1])
        present = torch.cat([background, present], dim=1)
    return logits.masked_fill(~present.view(*present.shape, *[1] * (logits.ndim - 2)), ABSENT_LOGIT)
