"""TextCNN (Kim 2014): convolutions of several widths over the embedded tokens, the maximum of each.

Deviations: each convolution keeps the length (zeros beyond the ends), so that a one-token record
works and any head fits; with `head.pooling=label_attention` and one size this is CAML.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vesalius.diagnose.model_blocks import HeadBlock
from vesalius.diagnose.models.base import Embedding, Inputs, RecordModel
from vesalius.diagnose.models.heads import Head


class TextCNN(RecordModel):
    """Embedding, one convolution with ReLU per size, head.

    Args:
        labels: number of labels.
        vocabulary: number of tokens.
        fields: number of the record's fields.
        embedding: width of the embedding.
        filters: channels per size.
        sizes: widths of the convolutions, in tokens.
        dropout: on the embedding.
        head: the head; Kim's is "max".
    """

    def __init__(
        self,
        *,
        labels: int,
        vocabulary: int,
        fields: int = 1,
        embedding: int = 128,
        filters: int = 128,
        sizes: Sequence[int] = (2, 3, 4, 5),
        dropout: float = 0.1,
        head: HeadBlock = HeadBlock(pooling="max", dropout=0.5),  # noqa: B008 - frozen
    ):
        super().__init__()
        self.embedding = Embedding(vocabulary, embedding, fields=fields)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, filters, size) for size in sizes)
        self.dropout = nn.Dropout(dropout)
        self.width = filters * len(sizes)
        self.head = Head(self.width, labels=labels, block=head)

    def encode(self, inputs: Inputs) -> Tensor:
        """Return (B, T, filters x sizes)."""
        channels_BCT = self.dropout(self.embedding(inputs)).transpose(1, 2)
        found = []
        for convolution in self.convolutions:
            (size,) = convolution.kernel_size
            # An even size looks one further to the right than to the left.
            padded = F.pad(channels_BCT, ((size - 1) // 2, size // 2))
            found.append(convolution(padded).relu())
        return torch.cat(found, 1).transpose(1, 2)
