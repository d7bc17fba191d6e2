"""Bidirectional LSTM (Hochreiter and Schmidhuber 1997; Schuster and Paliwal 1997) over tokens.

The sequences are packed, so the backward direction begins at a record's last token, not in its
padding.
"""

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from vesalius.diagnose.model_blocks import HeadBlock
from vesalius.diagnose.models.base import Embedding, Inputs, RecordModel
from vesalius.diagnose.models.heads import Head
from vesalius.errors import DataError


class LSTM(RecordModel):
    """Embedding, LSTM layers in both directions, head.

    Args:
        labels: number of labels.
        vocabulary: number of tokens.
        fields: number of the record's fields.
        embedding: width of the embedding.
        hidden: width per direction.
        layers: LSTM layers.
        dropout: on the embedding and between layers.
        head: the head.
    """

    def __init__(
        self,
        *,
        labels: int,
        vocabulary: int,
        fields: int = 1,
        embedding: int = 128,
        hidden: int = 128,
        layers: int = 1,
        dropout: float = 0.2,
        head: HeadBlock = HeadBlock(pooling="max", dropout=0.2),  # noqa: B008 - frozen
    ):
        super().__init__()
        self.embedding = Embedding(vocabulary, embedding, fields=fields)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(
            embedding,
            hidden,
            layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.width = 2 * hidden
        self.head = Head(self.width, labels=labels, block=head)

    def encode(self, inputs: Inputs) -> Tensor:
        """Return (B, T, 2 x hidden).

        Raises:
            DataError: padding stands before or between tokens.
        """
        mask = inputs["mask"]
        if (mask[:, 1:] & ~mask[:, :-1]).any():
            raise DataError("padding stands before a token; the LSTM needs it at the end")
        # Packing wants a length of at least 1; the head passes over an empty record's token.
        lengths = mask.sum(1).clamp_min(1).cpu()
        packed = pack_padded_sequence(
            self.dropout(self.embedding(inputs)), lengths, batch_first=True, enforce_sorted=False
        )
        vectors, _ = pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1]
        )
        return vectors
