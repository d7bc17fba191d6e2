"""U-Net++ (Zhou et al. 2018, "UNet++: A Nested U-Net Architecture for Medical Image Segmentation",
arXiv:1807.10165) in the form that the U-Net 3+ paper compares.

The skips of a U-Net become nests of nodes: node (level i, column j) joins the upsampled node
(i + 1, j - 1) with all nodes of its own level to its left; column 0 is the encoder. Every column
ends in a head at the finest level. With the default widths, three channels and one class it has
47,176,132 parameters (47.18 M in Huang et al. 2020, table 1).

That form differs from the paper: widths are twice as large (the paper's are 32 to 512), the encoder
is batch-normalised and the nests are not, up-convolutions are 4 x 4 with stride 2. Differences from
its code: any image size, volumes, other widths, norms and encoders; logits, not probabilities; the
heads are returned one by one in training, so that each has its loss as in the paper, while that
code averages them there too.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from vesalius.segment.models.blocks import (
    CONVOLUTIONS,
    ZJU_WIDTHS,
    Normalisation,
    build_encoder,
    initialise,
    resize,
)
from vesalius.segment.models.unet import UpBlock


class UNetPlusPlus(nn.Module):
    """U-Net++.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        dims: 2 or 3.
        widths: channels per level, finest first. With `encoder` they are the nests' alone (the
            last one is then not used) and there must be as many as the encoder has levels.
        normalisation: "batch", "instance" or "group", in the plain encoder.
        decoder_normalisation: normalise the nests too; the ZJU form does not.
        deep_supervision: a head on every column; else on the last alone.
        dropout: probability of zeroing an element of the deepest feature map in training.
        encoder: name of an encoder of `vesalius.images.encoders` in place of the plain one. Where
            its finest map is at stride 2 (ResNet, EfficientNet) the logits are computed there and
            interpolated to the size of the images.
        encoder_weights: see `vesalius.images.encoders.build`.

    `forward` returns logits (B, classes, *size) in evaluation: the mean over the heads (the
    paper's accurate mode). In training with deep supervision it returns the list of the heads'
    logits at the size of the images, the last column's (which sees all other nodes) first.
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
        deep_supervision: bool = True,
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
        channels = self.encoder.channels
        self.dropout = nn.Dropout(dropout)
        self.columns = nn.ModuleList(
            nn.ModuleList(
                UpBlock(
                    channels[level + 1] if column == 1 else widths[level + 1],
                    channels[level] + (column - 1) * widths[level],
                    widths[level],
                    normalisation=normalisation if decoder_normalisation else None,
                    dims=dims,
                )
                for level in range(len(widths) - column)
            )
            for column in range(1, len(widths))
        )
        self.heads = nn.ModuleList(
            CONVOLUTIONS[dims](widths[0], classes, 1)
            for _ in range(len(self.columns) if deep_supervision else 1)
        )
        initialise(self.columns)
        initialise(self.heads)

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        *features, deepest = self.encoder(images)
        finest = self._nest([*features, self.dropout(deepest)])
        logits = [head(x) for head, x in zip(self.heads, reversed(finest), strict=False)]
        if self.training and len(logits) > 1:
            return [resize(x, images.shape[2:]) for x in logits]
        return resize(sum(logits) / len(logits), images.shape[2:])

    def _nest(self, features: list[Tensor]) -> list[Tensor]:
        """Return the finest node of every column, left to right."""
        levels = [[x] for x in features]
        for column in self.columns:
            # All nodes of a column read the columns to its left, so its own are added at the end.
            nodes = [node(levels[i + 1][-1], *levels[i]) for i, node in enumerate(column)]
            for level, node in zip(levels, nodes, strict=False):
                level.append(node)
        return levels[0][1:]
