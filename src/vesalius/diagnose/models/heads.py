"""From a vector per token to a logit per label: pooling, and attention for each label.

- mean, max, first; attention: one learned query for all labels (Yang et al. 2016, without its
  hidden layer).
- label_attention: a query per label over the tokens, and a classifier per label (CAML, Mullenbach
  et al. 2018, equations 2-4).
- laat: the queries look at tanh(W h) (LAAT, Vu et al. 2020, equations 5-8).

Deviation from both releases: scores are computed in float32 and padding gets weight 0, so neither
half precision nor padding can disturb them. A record without a token has the vector 0.
"""

import torch
from torch import Tensor, nn

from vesalius.diagnose.model_blocks import HeadBlock
from vesalius.errors import RecipeError


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the softmax over the last dimension in float32, 0 where `mask` is false.

    Args:
        scores: (B, ..., T).
        mask: bool, broadcastable to the scores; a row without a true gives zeros.
    """
    scores = scores.float().masked_fill(~mask, float("-inf"))
    highest = scores.amax(-1, keepdim=True).detach()
    weights = (scores - highest.clamp_min(torch.finfo(torch.float32).min)).exp()
    return weights / weights.sum(-1, keepdim=True).clamp_min(1.0e-12)


class Head(nn.Module):
    """Pooling and classifier: `head(vectors (B, T, width), mask (B, T))` -> logits (B, labels).

    Args:
        width: width of the vectors.
        labels: number of labels.
        block: pooling, dropout and the width of LAAT's projection.

    Attributes:
        pooled: passes the pooled vectors (B, 1 or labels, width) on, so that a hook can mix them.
    """

    def __init__(self, width: int, *, labels: int, block: HeadBlock):
        super().__init__()
        self.pooling, self.labels = block.pooling, labels
        self.dropout = nn.Dropout(block.dropout)
        self.pooled = nn.Identity()
        self.classifier = nn.Linear(width, labels)
        if self.pooling == "laat":
            self.projection = nn.Linear(width, block.width, bias=False)
            self.query = nn.Linear(block.width, labels, bias=False)
        elif self.pooling == "label_attention":
            self.query = nn.Linear(width, labels, bias=False)
        elif self.pooling == "attention":
            self.query = nn.Linear(width, 1, bias=False)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return logits (B, labels)."""
        pooled = self.pooled(self.pool(self.dropout(vectors), mask))
        if pooled.shape[1] == 1:
            return self.classifier(pooled[:, 0])
        return (pooled * self.classifier.weight).sum(-1) + self.classifier.bias

    def pool(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return one vector per record (B, 1, width), or one per label (B, labels, width)."""
        vectors = torch.where(mask[..., None], vectors, 0.0)
        if self.pooling == "max":
            return _highest(vectors, mask)[:, None]
        return self._weights(vectors, mask).to(vectors.dtype) @ vectors

    def attention(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return the weights of the tokens for each label (B, labels, T), float32.

        Raises:
            RecipeError: the pooling is "max", which weighs each dimension by itself.
        """
        if self.pooling == "max":
            raise RecipeError("head.pooling=max has no weights of tokens; use another pooling")
        vectors = torch.where(mask[..., None], vectors, 0.0)
        return self._weights(vectors, mask).expand(-1, self.labels, -1)

    def _weights(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return (B, 1 or labels, T)."""
        if self.pooling == "mean":
            return (mask / mask.sum(1, keepdim=True).clamp_min(1)).float()[:, None]
        if self.pooling == "first":
            first = torch.zeros_like(mask)
            first[:, :1] = mask[:, :1]
            return first.float()[:, None]
        seen = self.projection(vectors).tanh() if self.pooling == "laat" else vectors
        return masked_softmax(self.query(seen).transpose(1, 2), mask[:, None])


def _highest(vectors: Tensor, mask: Tensor) -> Tensor:
    """Return the highest value of each dimension over the real tokens (B, D); 0 without any."""
    highest = vectors.masked_fill(~mask[..., None], float("-inf")).amax(1)
    return torch.where(mask.any(1)[:, None], highest, 0.0)
