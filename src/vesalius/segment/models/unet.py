"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597) in the form that the U-Net 3+ paper compares.

It differs from the paper: convolutions are padded, so the output has the size of the input; the
encoder is normalised and the decoder is not; up-convolutions are 4 x 4 with stride 2; the last
convolution is 3 x 3. With the default widths, three channels and one class it has 39,396,033
parameters (39.39 M in Huang et al. 2020, table 1). Beyond that code: any image size, volumes,
other widths, norms and encoders; a normalised decoder and a head at every level, as nnU-Net has
them (Isensee et al. 2021).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vesalius.segment.models.blocks import (
    CONVOLUTIONS,
    TRANSPOSED_CONVOLUTIONS,
    ZJU_WIDTHS,
    DoubleConv,
    Normalisation,
    build_encoder,
    crop,
    initialise,
    resize,
)


class UpBlock(nn.Module):
    """Double the size by a transposed convolution, join maps of the finer level, convolve twice.

    `skip_channels` counts the channels of all maps that are joined: one in U-Net, more in U-Net++.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        normalisation: Normalisation | None,
        dims: int,
    ):
        super().__init__()
        self.up = TRANSPOSED_CONVOLUTIONS[dims](in_channels, out_channels, 4, stride=2, padding=1)
        self.convolutions = DoubleConv(
            out_channels + skip_channels, out_channels, normalisation=normalisation, dims=dims
        )

    def forward(self, x: Tensor, *skips: Tensor) -> Tensor:
        # Encoders round sizes up, so twice the coarse side is the skips' side or one more.
        x = crop(self.up(x), skips[0].shape[2:])
        return self.convolutions(torch.cat([x, *skips], dim=1))


class UNet(nn.Module):
    """U-Net.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        dims: 2 or 3.
        widths: channels per level, finest first. With `encoder` they are the decoder's alone (the
            last one is then not used) and there must be as many as the encoder has levels.
        normalisation: "batch", "instance" or "group", in the plain encoder.
        decoder_normalisation: normalise the decoder too; the ZJU form does not.
        deep_supervision: a head at every level of the decoder in training.
        dropout: probability of zeroing an element of the deepest feature map in training, as at
            the end of Ronneberger's contracting path.
        encoder: name of an encoder of `vesalius.images.encoders` in place of the plain one. Where
            its finest map is at stride 2 (ResNet, EfficientNet) the logits are computed there and
            interpolated to the size of the images.
        encoder_weights: see `vesalius.images.encoders.build`.

    `forward` maps (B, in_channels, *size) to logits (B, classes, *size); in training with deep
    supervision to a list of such logits, the finest head's first.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        dims: int = 2,
        widths: Sequence[int] = ZJU_WIDTHS,
        normalisation: Normalisation = "batch",
        decoder_normalisation: bool = False,
        deep_supervision: bool = False,
        dropout: float = 0.0,
        encoder: str | None = None,
        encoder_weights: str | None = None,
    ):
        super().__init__()
        self.encoder = build_encoder(
            encoder,
            encoder_weights=encoder_weights,
            in_channels=in_channels,
            widths=widths,
            normalisation=normalisation,
            dims=dims,
        )
        skips, deepest = self.encoder.channels[:-1], self.encoder.channels[-1]
        inputs = (*widths[1:-1], deepest)
        self.dropout = nn.Dropout(dropout)
        norm = normalisation if decoder_normalisation else None
        self.decoder = nn.ModuleList(
            UpBlock(into, skip, out, normalisation=norm, dims=dims)
            for into, skip, out in zip(inputs, skips, widths[:-1], strict=True)
        )
        self.head = CONVOLUTIONS[dims](widths[0], classes, 3, padding=1)
        self.coarse_heads = nn.ModuleList(
            CONVOLUTIONS[dims](width, classes, 3, padding=1)
            for width in (widths[1:-1] if deep_supervision else ())
        )
        for part in (self.decoder, self.head, self.coarse_heads):
            initialise(part)

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        *skips, x = self.encoder(images)
        x = self.dropout(x)
        maps = []
        for block, skip in zip(reversed(self.decoder), reversed(skips), strict=True):
            x = block(x, skip)
            maps.insert(0, x)
        logits = resize(self.head(x), images.shape[2:])
        if not (self.training and self.coarse_heads):
            return logits
        coarse = zip(self.coarse_heads, maps[1:], strict=True)
        return [logits, *(resize(head(x), images.shape[2:]) for head, x in coarse)]
