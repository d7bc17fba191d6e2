"""Masked-language-model pre-training (Devlin et al. 2019) for any sequence model of records.

15 % of the tokens are to be predicted; of these 80 % are replaced by the mask token, 10 % by a
random one, 10 % stay. With whole words (Cui et al. 2021 for Chinese) all pieces of a chosen word
are chosen together.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vesalius.diagnose.models.base import Inputs, RecordModel
from vesalius.errors import RecipeError

IGNORED = -100
"""Target of a token that is not to be predicted."""


def mask_tokens(
    tokens: Tensor,
    mask: Tensor,
    *,
    rng: torch.Generator,
    mask_token: int,
    vocabulary: int,
    share: float = 0.15,
    special: Sequence[int] = (),
    words: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the tokens with some replaced, and the targets: those tokens, elsewhere `IGNORED`.

    Args:
        tokens: int64 (B, T).
        mask: bool (B, T), true on real tokens.
        rng: generator on the CPU; the same state gives the same masks on every device.
        mask_token: number of the mask token.
        vocabulary: number of tokens that random replacements come from.
        share: probability that a token (or word) is to be predicted.
        special: numbers that are neither chosen nor drawn as replacements ([CLS], [SEP] ...).
        words: int64 (B, T), the number of the word that a token belongs to; negative: never
            chosen. None: each token by itself.

    Raises:
        RecipeError: the share is not between 0 and 1, or all of the vocabulary is special.
    """
    if not 0 < share < 1:
        raise RecipeError(f"share is {share}; it must lie between 0 and 1")
    ordinary = _ordinary(vocabulary, (*special, mask_token), tokens.device)
    allowed = mask & ~torch.isin(tokens, torch.tensor([*special], device=tokens.device))
    draw = torch.rand(tokens.shape, generator=rng).to(tokens.device)
    if words is not None:
        allowed &= words >= 0
        draw = _per_word(draw, words)
    chosen = allowed & (draw < share)
    how = torch.rand(tokens.shape, generator=rng).to(tokens.device)
    which = torch.randint(len(ordinary), tokens.shape, generator=rng).to(tokens.device)
    changed = torch.where(chosen & (how < 0.8), mask_token, tokens)
    changed = torch.where(chosen & (how >= 0.9), ordinary[which], changed)
    return changed, torch.where(chosen, tokens, IGNORED)


def _ordinary(vocabulary: int, special: Sequence[int], device: torch.device) -> Tensor:
    """Return the numbers that are not special."""
    numbers = torch.arange(vocabulary)
    numbers = numbers[~torch.isin(numbers, torch.tensor(special))]
    if not len(numbers):
        raise RecipeError(f"all {vocabulary} tokens of the vocabulary are special")
    return numbers.to(device)


def _per_word(draw: Tensor, words: Tensor) -> Tensor:
    """Return for each token the draw of its word."""
    first = words >= 0
    first[:, 1:] &= words[:, 1:] != words[:, :-1]
    # A word has the draw of its first token: the least of all draws would favour long words.
    draw, words = torch.where(first, draw, float("inf")), words.clamp_min(0)
    table = draw.new_full((len(draw), int(words.max()) + 1), float("inf"))
    return table.scatter_reduce(1, words, draw, "amin").gather(1, words)


class MaskedLanguageModel(nn.Module):
    """A model's encoder with a vocabulary head whose output table is the input embedding.

    Dense, GELU, normalisation, then the product with every token's embedding plus a bias: BERT's
    head. Where the encoder and its embedding differ in width (TextCNN, LSTM) the dense layer
    bridges them.

    Args:
        model: a sequence model of records; pre-training changes its weights in place.
    """

    def __init__(self, model: RecordModel):
        super().__init__()
        self.model = model
        vocabulary, width = self._table().shape
        self.dense = nn.Linear(model.width, width)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def _table(self) -> Tensor:
        return self.model.get_input_embeddings().weight

    def forward(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of the tokens to be predicted; 0 where there is none.

        Args:
            inputs: the model's inputs, with the changed tokens of `mask_tokens`.
            targets: int64 (B, T), `IGNORED` where nothing is to be predicted.
        """
        chosen = targets != IGNORED
        vectors = self.model.encode(inputs)[chosen]  # the vocabulary is wide: chosen tokens alone
        logits = self.logits(vectors)
        return F.cross_entropy(logits, targets[chosen], reduction="sum") / chosen.sum().clamp_min(1)

    def logits(self, vectors: Tensor) -> Tensor:
        """Return scores of all tokens (N, vocabulary) for encoded vectors (N, width)."""
        return F.linear(self.norm(F.gelu(self.dense(vectors))), self._table(), self.bias)
