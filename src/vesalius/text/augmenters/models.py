"""Replacement by what a masked language model expects (Kobayashi 2018; Garg and Ramakrishnan 2020).

One word after the other is masked, and its successor drawn from the model's `top` most probable
words. A Chinese word is masked character by character and filled from left to right, so that it
keeps its length; an English word becomes one whole word of the model's vocabulary. Any Hugging
Face masked language model will do (BERT, RoBERTa, ERNIE, MacBERT, XLM-R ...), by name or folder.

The other kinds that need a model are in `embeddings`, `translation` and `generation`.
"""

import re
from collections.abc import Sequence
from random import Random
from typing import Any

from vesalius.errors import DataError, RecipeError
from vesalius.text.augmenters.base import (
    Edit,
    Piece,
    Proposal,
    free,
    how_many,
    is_chinese,
    proposal,
)
from vesalius.text.augmenters.hugging_face import load
from vesalius.text.augmenters.inflection import like

_LATIN = re.compile(r"[A-Za-z]{2,}")
_HAN = re.compile(r"[\u3400-\u9fff]+")
# Candidates are filtered by script, so more than `top` are looked at.
_MARGIN = 10
_WORD_MARKS = ("▁", "Ġ")


class MaskedLanguageModel:
    """Replace words by others that a masked language model finds probable in their place.

    Args:
        model: folder or name of a masked language model with its tokenizer.
        top: how many candidates a word is drawn from.
        temperature: of the draw; below 1 prefers the most probable.

    Raises:
        DataError: the checkpoint cannot be opened, or its tokenizer has no mask.
        RecipeError: `top` or `temperature` is not positive.
    """

    def __init__(self, *, model: str, top: int = 10, temperature: float = 1.0):
        if top < 1 or not temperature > 0:
            raise RecipeError(f"top ({top}) and temperature ({temperature}) must be positive")
        self._name, self._top, self._temperature = str(model), top, temperature
        _, tokenizer = self._loaded()
        if tokenizer.mask_token is None:
            raise DataError(f"{model} has no mask token; it is no masked language model")

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Replace `strength` of the words, from left to right, each seeing those before it."""
        places = [pieces[i] for i in free(pieces) if _replaceable(pieces[i].text)]
        if not places:
            return Proposal(text)
        chosen = sorted(rng.sample(places, how_many(len(places), strength)))
        edits, now, shift = [], text, 0
        for piece in chosen:
            start, end = piece.start + shift, piece.end + shift
            new = self.replacement(now, start, end, rng)
            if new is not None:
                edits.append(Edit(piece.start, piece.end, piece.text, new))
                now = now[:start] + new + now[end:]
                shift += len(new) - len(piece.text)
        return proposal(text, edits)

    def replacement(self, text: str, start: int, end: int, rng: Random) -> str | None:
        """Return another word for `text[start:end]`, or None where the model has none."""
        word = text[start:end]
        filled = ""
        length = len(word) if is_chinese(word) else 1
        for done in range(length):
            context = text[:start] + filled, text[end:]
            # Only the last character must make the difference to the old word.
            banned = word[-1] if done == length - 1 and filled == word[:-1] else None
            banned = banned if is_chinese(word) else word
            token = self._draw(context, length - done, word, banned, rng)
            if token is None:
                return None
            filled += token
        return filled if is_chinese(word) else like(word, filled)

    def _draw(
        self, context: tuple[str, str], masks: int, word: str, banned: str | None, rng: Random
    ) -> str | None:
        """Draw the token of the first of `masks` masks between the two contexts."""
        scores = self._scores(context, masks)
        if scores is None:
            return None
        values, ids = scores.topk(min(_MARGIN * self._top + 50, len(scores)))
        spaced = not is_chinese(word) and context[0].endswith(" ")
        candidates: dict[str, float] = {}
        for value, number in zip(values.tolist(), ids.tolist(), strict=True):
            token = self._surface(number, chinese=is_chinese(word), spaced=spaced)
            if token and token.lower() != (banned or "").lower():
                candidates.setdefault(token, value)
            if len(candidates) == self._top:
                break
        if not candidates:
            return None
        return rng.choices(list(candidates), _softmax(candidates.values(), self._temperature))[0]

    def _scores(self, context: tuple[str, str], masks: int) -> Any:
        """Return the logits (vocabulary,) at the first mask, or None where it was cut off."""
        import torch

        model, tokenizer = self._loaded()
        limit = min(tokenizer.model_max_length, _positions(model))
        side = max((limit - 2 - masks) // 2, 0)
        before, after = context[0][-side:] if side else "", context[1][:side]
        encoded = tokenizer(
            before + tokenizer.mask_token * masks + after,
            return_tensors="pt",
            truncation=True,
            max_length=limit,
        )
        places = (encoded["input_ids"][0] == tokenizer.mask_token_id).nonzero().flatten()
        if len(places) != masks:
            return None
        with torch.inference_mode():
            return model(**encoded).logits[0, places[0]].float()

    def _surface(self, number: int, *, chinese: bool, spaced: bool) -> str | None:
        """Return a token as it is written, or None where it is no word of the wanted script."""
        _, tokenizer = self._loaded()
        raw = tokenizer.convert_ids_to_tokens(number)
        token = tokenizer.decode([number]).strip()
        if chinese:
            return token if len(token) == 1 and _HAN.fullmatch(token) else None
        if spaced and self._marks_words() and not raw.startswith(_WORD_MARKS):
            return None
        return token if _LATIN.fullmatch(token) else None

    def _marks_words(self) -> bool:
        _, tokenizer = self._loaded()
        return any(token.startswith(_WORD_MARKS) for token in tokenizer.tokenize("a word"))

    def _loaded(self) -> tuple[Any, Any]:
        return load(self._name, "AutoModelForMaskedLM")


def _replaceable(word: str) -> bool:
    if is_chinese(word):
        return _HAN.fullmatch(word) is not None
    return _LATIN.fullmatch(word) is not None and not (word.isupper() and len(word) < 6)


def _positions(model: Any) -> int:
    # RoBERTa counts positions from pad + 1, so two of its rows cannot be used.
    return getattr(model.config, "max_position_embeddings", 514) - 2


def _softmax(scores: Any, temperature: float) -> list[float]:
    import math

    highest = max(scores)
    return [math.exp((score - highest) / temperature) for score in scores]
