"""Vectors of whole records from a frozen encoder: features beside the n-grams of TF-IDF.

The mean over the last layer's tokens, at unit length (Reimers and Gurevych 2019); records longer
than the encoder reads at once are cut into windows, averaged by their tokens. Vectors of one
encoder share a large part (cosines of unrelated sentences lie near 0.8 for E5), so the training
records' mean is taken away, and one factor gives the rest a mean square of `weight`.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.diagnose.model_blocks import PretrainedBlock, SentenceBlock
from vesalius.engine.progress import Progress
from vesalius.errors import DataError
from vesalius.language import say

BATCH, MOST_KEPT = 32, 200_000
SHOWN = 500
"""Texts from which on a progress bar is shown."""

_KEPT: OrderedDict[bytes, NDArray[np.float16]] = OrderedDict()
"""Vectors by encoder and text, for the folds of a study; in memory alone: they tell of patients."""
_LOADED: dict[str, "_Encoder"] = {}


class SentenceVectors:
    """Vectors of texts, centred and scaled by what the training texts showed.

    Args:
        block: encoder, prefix and weight.

    Attributes:
        size: components of a vector, once fitted.
    """

    def __init__(self, block: SentenceBlock):
        self.block = block
        self._mean: NDArray[np.float32] | None = None
        self._factor = 1.0

    def fit(self, texts: Sequence[str]) -> "SentenceVectors":
        """Learn the mean and the scale; return self."""
        found = vectors(texts, self.block)
        self._mean = found.mean(0)
        length = float(np.sqrt(np.square(found - self._mean).sum(1).mean()))
        self._factor = float(np.sqrt(self.block.weight)) / length if length > 1e-9 else 0.0
        return self

    @property
    def size(self) -> int:
        """Components of a vector."""
        return len(self._learned())

    def _learned(self) -> NDArray[np.float32]:
        if self._mean is None:
            raise DataError("these sentence vectors are not fitted; call fit(texts) first")
        return self._mean

    def matrix(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the vectors, float64 (texts, size)."""
        mean = self._learned()
        return (vectors(texts, self.block) - mean).astype(np.float64) * self._factor

    def to_dict(self) -> dict[str, Any]:
        """Return everything that `from_dict` needs, but the encoder itself."""
        return {"mean": self._learned().tolist(), "factor": self._factor}

    @classmethod
    def from_dict(cls, block: SentenceBlock, data: dict[str, Any]) -> "SentenceVectors":
        """Return the vectors that `to_dict` described."""
        made = cls(block)
        made._mean, made._factor = np.array(data["mean"], np.float32), float(data["factor"])
        return made


def vectors(texts: Sequence[str], block: SentenceBlock) -> NDArray[np.float32]:
    """Return vectors of unit length, float32 (texts, width); those seen before are not made anew.

    Raises:
        DataError: the encoder cannot be loaded.
    """
    head = f"{block.encoder}\n{block.prefix}\n{block.tokens}\n".encode()
    keys = [hashlib.sha256(head + text.encode("utf-8", "surrogatepass")).digest() for text in texts]
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in _KEPT}
    if missing:
        made = _encoder(block)(list(missing.values()))
        for key, vector in zip(missing, made.astype(np.float16), strict=True):
            _KEPT[key] = vector
    found = np.array([_KEPT[key] for key in keys], np.float32)
    while len(_KEPT) > MOST_KEPT:
        _KEPT.popitem(last=False)
    return found


def _encoder(block: SentenceBlock) -> "_Encoder":
    key = block.model_dump_json(exclude={"weight"})
    if key not in _LOADED:
        _LOADED.clear()  # one encoder at a time is enough memory
        _LOADED[key] = _Encoder(block)
    return _LOADED[key]


class _Encoder:
    """A frozen encoder with its tokenizer."""

    def __init__(self, block: SentenceBlock):
        from vesalius.diagnose.models.checkpoints import load_encoder, tokenizer_for
        from vesalius.diagnose.models.pretrained import longest

        named = PretrainedBlock(encoder=block.encoder)
        self.model = load_encoder(named).eval()
        self.cutter = tokenizer_for(named)
        self.prefix, self.most = block.prefix, block.tokens
        self.length = min(longest(self.model) or 512, block.tokens or 512)
        pad = self.cutter.pad_token_id
        self.pad = 0 if pad is None else pad

    def __call__(self, texts: list[str]) -> NDArray[np.float32]:
        """Return unit vectors, float32 (texts, width)."""
        pieces = [(i, ids) for i, text in enumerate(texts) for ids in self._windows(text)]
        pieces.sort(key=lambda piece: len(piece[1]))  # padding is work for nothing
        sums = np.zeros((len(texts), self.model.config.hidden_size), np.float64)
        with Progress(len(pieces), label=say("reading", "编码"), quiet=len(pieces) < SHOWN) as bar:
            for start in range(0, len(pieces), BATCH):
                chunk = pieces[start : start + BATCH]
                found = self._sums([ids for _, ids in chunk])
                for (i, _), total in zip(chunk, found, strict=True):
                    sums[i] += total
                bar.advance(len(chunk))
        return (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).astype(
            np.float32
        )

    def _windows(self, text: str) -> list[list[int]]:
        """Return the token numbers of a text, cut into what the encoder reads at once."""
        options = {"truncation": True, "max_length": self.length, "verbose": False}
        cut = self.cutter(self.prefix + text, return_overflowing_tokens=True, **options)
        parts = cut["input_ids"]
        return parts if self.most is None else parts[: -(-self.most // self.length)]

    def _sums(self, batch: list[list[int]]) -> NDArray[np.float64]:
        """Return the sum over each window's tokens of the last layer, (windows, width)."""
        import torch

        width = max(len(ids) for ids in batch)
        tokens = torch.tensor([ids + [self.pad] * (width - len(ids)) for ids in batch])
        mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in batch])
        with torch.inference_mode():
            hidden = self.model(input_ids=tokens, attention_mask=mask)[0]
        return (hidden * mask[..., None]).sum(1).double().numpy()
