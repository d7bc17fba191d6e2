"""RefineNet (Lin et al. 2017, "RefineNet: Multi-Path Refinement Networks for High-Resolution
Semantic Segmentation", arXiv:1611.06612).

Four blocks climb from the encoder's coarsest map (stride 32 of a ResNet) to its map at stride 4.
Each adapts its map by residual convolution units, fuses it with the coarser block's answer, and
gathers context by chained residual pooling. There is no normalisation outside the encoder. With 21
classes and three channels: 99,060,309 parameters (ResNet-50), 118,052,437 (101), 133,696,085 (152).

This is the released network (the authors' MATLAB graph, and its PyTorch port by V. Nekrasov, whose
weights `state_dicts` loads), which differs from the text of the paper: four pooling stages for the
paper's two, and three output units in every block for one (and two more before the classifier).
`pooling_stages=2, output_units=1` is the paper's form.

The decoder's weights are drawn as torch draws them, as in the port; the authors draw 0.01 N(0, 1).
Beyond that code: any encoder, any number of channels and, with ResNets, volumes; logits are
returned at the size of the images. Two interpolations are at work, on purpose. Between blocks
corners are aligned, as in the port: its weights were trained so, and it puts the elements of padded
strided convolutions, the first of which lies on the first pixel, where they belong (exactly so for
odd sides). At the end they are not aligned, as in the port's training code and everywhere else in
this package. `coarse_logits` stops before that, where the original network stops.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.images import encoders
from vesalius.segment.models.blocks import CONVOLUTIONS, INTERPOLATIONS, MAX_POOLINGS, resize

LEVELS = 4


class ResidualConvUnit(nn.Module):
    """Two 3 x 3 convolutions, each behind a ReLU, around an identity; the second has no bias."""

    def __init__(self, channels: int, *, dims: int):
        super().__init__()
        self.first = CONVOLUTIONS[dims](channels, channels, 3, padding=1)
        self.second = CONVOLUTIONS[dims](channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class MultiResolutionFusion(nn.Module):
    """Convolve both maps to the same channels, enlarge the coarser one, add."""

    def __init__(self, channels: int, coarse_channels: int, *, kernel: int, dims: int):
        super().__init__()
        self.fine = _convolution(channels, channels, kernel=kernel, dims=dims)
        self.coarse = _convolution(coarse_channels, channels, kernel=kernel, dims=dims)

    def forward(self, x: Tensor, coarse: Tensor) -> Tensor:
        return self.fine(x) + _enlarge(self.coarse(coarse), x.shape[2:])


class ChainedResidualPooling(nn.Module):
    """Add to a map what stages of pooling (5 x 5, stride 1) and convolving make of it.

    The stages are chained: each pools the answer of the one before, not the map itself, so that
    the windows grow from stage to stage.
    """

    def __init__(self, channels: int, *, stages: int, kernel: int, dims: int):
        super().__init__()
        self.convolutions = nn.ModuleList(
            _convolution(channels, channels, kernel=kernel, dims=dims) for _ in range(stages)
        )

    def forward(self, x: Tensor) -> Tensor:
        context = x
        for convolution in self.convolutions:
            context = MAX_POOLINGS[x.ndim - 2](context, 5, stride=1, padding=2)
            context = convolution(context)
            x = x + context
        return x


class RefineBlock(nn.Module):
    """Reduce and adapt an encoder's map, fuse it with a coarser block's answer, pool, refine.

    Args:
        in_channels: channels of the encoder's map.
        width: channels of the block.
        coarse_width: channels of the coarser block, None for the coarsest.
        adapt_units: residual convolution units before the fusion.
        output_units: residual convolution units after the pooling.
        pooling_stages: stages of the chained residual pooling.
        kernel: side of the convolutions outside the units.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        coarse_width: int | None,
        adapt_units: int,
        output_units: int,
        pooling_stages: int,
        kernel: int,
        dims: int,
    ):
        super().__init__()
        options = {"kernel": kernel, "dims": dims}
        self.reduce = _convolution(in_channels, width, **options)
        self.adapt = nn.Sequential(
            *(ResidualConvUnit(width, dims=dims) for _ in range(adapt_units))
        )
        self.fusion = (
            None if coarse_width is None else MultiResolutionFusion(width, coarse_width, **options)
        )
        self.pooling = ChainedResidualPooling(width, stages=pooling_stages, **options)
        self.output = nn.Sequential(
            *(ResidualConvUnit(width, dims=dims) for _ in range(output_units))
        )

    def forward(self, x: Tensor, coarse: Tensor | None) -> Tensor:
        x = self.adapt(self.reduce(x))
        if self.fusion is not None:
            x = self.fusion(x, coarse)
        return self.output(self.pooling(F.relu(x)))


class RefineDecoder(nn.Module):
    """The four blocks, coarsest first, and the classifier: a 3 x 3 convolution with bias.

    Args:
        channels: channels of the encoder's maps, finest first; the last four are used.
        output_units: residual convolution units after the pooling of each block, coarsest first.
        dropout: probability of zeroing an element of the two coarsest maps in training.
        final_dropout: the same before the classifier.

    The coarsest block has twice the width of the others.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        *,
        width: int,
        adapt_units: int,
        output_units: Sequence[int],
        pooling_stages: int,
        kernel: int,
        dropout: float,
        final_dropout: float,
        dims: int,
    ):
        super().__init__()
        widths = (2 * width, *[width] * (LEVELS - 1))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            RefineBlock(
                into,
                out,
                coarse_width=coarse,
                adapt_units=adapt_units,
                output_units=units,
                pooling_stages=pooling_stages,
                kernel=kernel,
                dims=dims,
            )
            for into, out, coarse, units in zip(
                reversed(channels[-LEVELS:]),
                widths,
                (None, *widths[:-1]),
                output_units,
                strict=True,
            )
        )
        self.final_dropout = nn.Dropout(final_dropout)
        self.head = CONVOLUTIONS[dims](width, classes, 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return logits at the size of the finest of the four maps."""
        x = None
        for index, block in enumerate(self.blocks):
            tap = features[-1 - index]
            x = block(self.dropout(tap) if index < 2 else tap, x)
        return self.head(self.final_dropout(x))


class Refined(nn.Module):
    """An encoder and a `RefineDecoder`: what RefineNet and its light-weight form share."""

    def forward(self, images: Tensor) -> Tensor:
        return resize(self.coarse_logits(images), images.shape[2:])

    def coarse_logits(self, images: Tensor) -> Tensor:
        """Return logits as the original network does, at the stride of the finest block."""
        return self.decoder(self.encoder(images))


class RefineNet(Refined):
    """RefineNet.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        dims: 2, or 3 with a ResNet encoder.
        encoder: name of an encoder of `vesalius.images.encoders`. Its four coarsest maps are used:
            strides 4 to 32, with VGG-16 2 to 16.
        encoder_weights: see `vesalius.images.encoders.build`.
        width: channels of the decoder's blocks; the coarsest has twice as many.
        pooling_stages: stages of chained residual pooling; 4 as released, 2 in the paper.
        output_units: residual convolution units after the pooling in the three coarser blocks; 3
            as released, 1 in the paper. The finest block has 3 in both.
        dropout: probability of zeroing an element, in training, of the two coarsest maps and of
            what the classifier sees.

    `forward` maps (B, in_channels, *size) to logits (B, classes, *size), in training too.

    Raises:
        RecipeError: a bad value, or an encoder that does not exist for these dimensions.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        dims: int = 2,
        encoder: str = "resnet101",
        encoder_weights: str | None = None,
        width: int = 256,
        pooling_stages: int = 4,
        output_units: int = 3,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.encoder = encoders.build(
            str(encoder), in_channels=in_channels, weights=encoder_weights, dims=dims
        )
        self.decoder = RefineDecoder(
            self.encoder.channels,
            classes,
            width=width,
            adapt_units=2,
            output_units=(*[output_units] * (LEVELS - 1), 3),
            pooling_stages=pooling_stages,
            kernel=3,
            dropout=dropout,
            final_dropout=dropout,
            dims=dims,
        )


def _convolution(in_channels: int, out_channels: int, *, kernel: int, dims: int) -> nn.Module:
    return CONVOLUTIONS[dims](in_channels, out_channels, kernel, padding=kernel // 2, bias=False)


def _enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate linearly to a size, corners aligned (see the top of this file)."""
    return F.interpolate(x, size=tuple(size), mode=INTERPOLATIONS[x.ndim - 2], align_corners=True)
