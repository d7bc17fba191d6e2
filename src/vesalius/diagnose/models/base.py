"""What all models of records share: tokens to vectors, vectors to logits.

`inputs` is a mapping of tensors: "tokens" int64 (B, T), "mask" bool (B, T), true on real tokens,
which stand before the padding, and "fields" int64 (B, T), the number of the record's field that a
token came from. Padding never matters: neither how much of it there is nor what it holds.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vesalius.diagnose.models.heads import Head

Inputs = Mapping[str, Tensor]


class RecordModel(nn.Module):
    """A sequence encoder with a multi-label head: `model(inputs)` -> logits (B, labels).

    Attributes:
        embedding: what embeds tokens and fields.
        head: the pooling and the classifier.
        width: width of `encode`'s vectors.
    """

    embedding: "Embedding"
    head: Head
    width: int

    def encode(self, inputs: Inputs) -> Tensor:
        """Return a vector per token (B, T, width); those of padding mean nothing."""
        raise NotImplementedError

    def forward(self, inputs: Inputs) -> Tensor:
        """Return logits (B, labels)."""
        return self.head(self.encode(inputs), inputs["mask"])

    def attention(self, inputs: Inputs) -> Tensor:
        """Return what each label looks at (B, labels, T), rows of sum 1; the head's weights.

        Raises:
            RecipeError: the head's pooling has no weights ("max").
        """
        return self.head.attention(self.encode(inputs), inputs["mask"])

    def get_input_embeddings(self) -> nn.Module:
        """Return the module whose output adversarial training perturbs."""
        return self.embedding.tokens

    def layer_of(self, parameter: str) -> int:
        """Return a parameter's depth: 0 embeddings, 1 the encoder, 2 the head."""
        if parameter.startswith(("embedding.", "field_embedding.")):
            return 0
        return self.depth + 1 if parameter.startswith("head.") else 1

    @property
    def depth(self) -> int:
        """Number of layers between the embeddings and the head, for `layer_of` and `unfreeze`."""
        return 1

    def unfreeze(self, depth: int) -> None:
        """Train the head and the `depth` layers below it, and freeze what is deeper.

        0 trains the head alone, `self.depth` all layers, `self.depth + 1` the embeddings too: the
        gradual unfreezing of Howard and Ruder 2018, one more layer per stage. Make the optimiser
        before freezing (over all parameters), so that it knows what is unfrozen later.
        """
        lowest = self.depth + 1 - depth
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(self.layer_of(name) >= lowest)


def zero_padding(vectors: Tensor, mask: Tensor) -> Tensor:
    """Return vectors (B, T, D) with zeros where `mask` (B, T) is false, whatever was there."""
    return torch.where(mask[..., None], vectors, 0.0)


class Embedding(nn.Module):
    """Token embedding plus field-type embedding; the latter starts at zero.

    Attributes:
        tokens: the table of tokens.
        fields: the table of fields, or None where there is one field.
    """

    def __init__(self, vocabulary: int, width: int, *, fields: int = 1):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        self.fields = field_embedding(fields, width)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return (B, T, width), zero on padding."""
        mask = inputs["mask"]
        # Padding may hold anything, even numbers outside the table.
        vectors = self.tokens(inputs["tokens"].masked_fill(~mask, 0))
        if self.fields is not None:
            vectors = vectors + self.fields(inputs["fields"].masked_fill(~mask, 0))
        return zero_padding(vectors, mask)


def field_embedding(fields: int, width: int) -> nn.Embedding | None:
    """Return a table of zeros for the record's fields; None where there is only one."""
    if fields < 2:
        return None
    table = nn.Embedding(fields, width)
    nn.init.zeros_(table.weight)
    return table
