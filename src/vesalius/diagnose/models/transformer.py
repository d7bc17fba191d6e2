"""A small pre-norm Transformer for training from scratch (Vaswani et al. 2017; Xiong et al. 2020).

Positions are rotations of queries and keys (RoPE, Su et al. 2021), so texts may be longer than
those of training; fields of the record have embeddings of their own. Attention is softmax, or
FAVOR+ ("performer"), whose cost is linear in the number of tokens.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vesalius.diagnose.model_blocks import HeadBlock
from vesalius.diagnose.models.base import Embedding, Inputs, RecordModel
from vesalius.diagnose.models.favor import FeatureDraws, favor_attention
from vesalius.diagnose.models.heads import Head
from vesalius.errors import RecipeError


def rotations(length: int, width: int, *, device: torch.device, base: float = 10_000.0) -> Tensor:
    """Return cosines and sines (2, length, width / 2) of RoPE's angles: position x base^(-2i/d)."""
    rates = base ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()])


def rotate(vectors: Tensor, turns: Tensor) -> Tensor:
    """Turn vectors (B, H, T, D) by their positions; halves of D are the pairs' two parts."""
    cosines, sines = turns.to(vectors.dtype)
    left, right = vectors.chunk(2, -1)
    return torch.cat([left * cosines - right * sines, right * cosines + left * sines], -1)


class Layer(nn.Module):
    """Attention and feed-forward network, each normalised before and added after."""

    def __init__(self, width: int, *, heads: int, feed_forward: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.network_norm = nn.LayerNorm(width)
        self.network = nn.Sequential(
            nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width)
        )

    def forward(
        self,
        vectors: Tensor,
        mask: Tensor,
        turns: Tensor,
        directions: Tensor | None,
        epsilon: float,
    ) -> Tensor:
        """Return the vectors (B, T, D) after this layer; `directions` chooses FAVOR+."""
        split = self.projections(self.attention_norm(vectors)).chunk(3, -1)
        queries, keys, values = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in split)
        queries, keys = rotate(queries, turns), rotate(keys, turns)
        if directions is None:
            mixed = self._softmax(queries, keys, values, mask)
        else:
            mixed = favor_attention(queries, keys, values, mask, directions, epsilon=epsilon)
        vectors = vectors + self._dropped(self.attended(mixed.transpose(1, 2).flatten(2)))
        return vectors + self._dropped(self.network(self.network_norm(vectors)))

    def _softmax(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        # A record without a token looks at its padding: a softmax over nothing is not a number.
        seen = mask | ~mask.any(1, keepdim=True)
        share = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=seen[:, None, None], dropout_p=share
        )

    def _dropped(self, vectors: Tensor) -> Tensor:
        return F.dropout(vectors, self.dropout, self.training)


class Transformer(RecordModel):
    """Embedding, layers, a last normalisation, head.

    Args:
        labels: number of labels.
        vocabulary: number of tokens.
        fields: number of the record's fields.
        hidden: width of the vectors.
        layers: number of layers.
        heads: attention heads; hidden / heads must be even.
        feed_forward: width of the feed-forward network; None: four times `hidden`.
        dropout: after the embedding, in the attention and after each part of a layer.
        attention: "softmax" or "performer".
        features: FAVOR+'s random features per head; None: d ln d of the heads' width d.
        redraw: training passes between draws of the features; 0 keeps the first.
        epsilon: FAVOR+'s floor, see `favor_attention`.
        seed: of the features.
        head: the head.
    """

    def __init__(
        self,
        *,
        labels: int,
        vocabulary: int,
        fields: int = 1,
        hidden: int = 128,
        layers: int = 4,
        heads: int = 4,
        feed_forward: int | None = None,
        dropout: float = 0.1,
        attention: Literal["softmax", "performer"] = "softmax",
        features: int | None = None,
        redraw: int = 1000,
        epsilon: float = 1e-4,
        seed: int = 0,
        head: HeadBlock = HeadBlock(),  # noqa: B008 - frozen
    ):
        super().__init__()
        if hidden % (2 * heads):
            raise RecipeError(
                f"hidden is {hidden}; it must be a multiple of 2 x heads = {2 * heads}"
            )
        self.width, self.epsilon = hidden, epsilon
        self.turning = hidden // heads
        self.embedding = Embedding(vocabulary, hidden, fields=fields)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(hidden, heads=heads, feed_forward=feed_forward or 4 * hidden, dropout=dropout)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden)
        self.draws = None
        if attention == "performer":
            self.draws = FeatureDraws(
                layers, self.turning, features=features, every=redraw, seed=seed
            )
        self.head = Head(hidden, labels=labels, block=head)

    def encode(self, inputs: Inputs) -> Tensor:
        """Return (B, T, hidden)."""
        mask = inputs["mask"]
        vectors = self.dropout(self.embedding(inputs))
        turns = rotations(mask.shape[1], self.turning, device=vectors.device)
        draws = self.draws(vectors.device) if self.draws else [None] * len(self.layers)
        for layer, directions in zip(self.layers, draws, strict=True):
            vectors = layer(vectors, mask, turns, directions, self.epsilon)
        return self.norm(vectors)

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layers)

    def layer_of(self, parameter: str) -> int:
        """Return a parameter's depth: 0 embeddings, 1 to `depth` the layers, then the head."""
        if parameter.startswith("embedding."):
            return 0
        parts = parameter.split(".")
        return int(parts[1]) + 1 if parts[0] == "layers" else self.depth + 1
