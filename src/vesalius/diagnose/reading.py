"""How a model reads a record: tokens with the number of their field, or weighted features."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vesalius.diagnose.data import allot, cut


class TokenReader:
    """Read a record as one sequence: [CLS] field [SEP] field [SEP] ...

    Args:
        tokenizer: a `tokenizers.Tokenizer`.
        special: numbers of the special tokens "cls", "sep", "pad" (cls and sep may be None).
        fields: names of the fields in their order.
        length: tokens that a record may have; longer fields share them, see `allot`.
        keep: what of a field that is too long: "head", "tail", "ends".
        weights: relative share of each field, by name; 1 where none is given.
        names: write each field's name in front of its text.
        words: also return "words" int64 (T,), the number of the word that a token belongs to;
            -1 for special tokens.
    """

    padding: Mapping[str, Any]

    def __init__(
        self,
        tokenizer: Any,
        special: Mapping[str, int | None],
        fields: Sequence[str],
        *,
        length: int,
        keep: str = "ends",
        weights: Mapping[str, float] | None = None,
        names: bool = False,
        words: bool = False,
    ):
        self.tokenizer, self.special, self.fields = tokenizer, dict(special), list(fields)
        self.length, self.keep, self.names, self.words = length, keep, names, words
        self.weights = [float((weights or {}).get(name, 1.0)) for name in self.fields]
        self.padding = {"tokens": self.special["pad"], "mask": False, "fields": 0}
        if words:
            self.padding["words"] = -1

    def read(self, fields: Mapping[str, str]) -> dict[str, np.ndarray]:
        """Return "tokens" int64, "mask" bool and "fields" int64, each (T,), T <= length."""
        texts = [fields.get(name, "").strip() for name in self.fields]
        if self.names and len(self.fields) > 1:
            texts = [
                f"{name}：{text}" if text else ""
                for name, text in zip(self.fields, texts, strict=True)
            ]
        found = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        arrays = self._joined([np.asarray(item.ids, np.int64) for item in found])
        if self.words:
            arrays["words"] = self._word_numbers(found, len(arrays["tokens"]))
        return arrays

    def _word_numbers(self, found: Sequence[Any], length: int) -> np.ndarray:
        """Return the word of each token, counted through the record; it must not have been cut."""
        pieces, before = [], 0
        for item in found:
            if item.ids:
                numbers = [-1 if word is None else word + before for word in item.word_ids]
                before = max(before, *numbers) + 1
                pieces += [numbers, [] if self.special.get("sep") is None else [-1]]
        first = [] if self.special.get("cls") is None else [-1]
        return np.array([*first, *(n for piece in pieces for n in piece)][:length], np.int64)

    def _joined(self, encoded: list[np.ndarray]) -> dict[str, np.ndarray]:
        cls, sep = self.special.get("cls"), self.special.get("sep")
        first = [] if cls is None else [cls]
        last = [] if sep is None else [sep]
        used = [index for index, tokens in enumerate(encoded) if len(tokens)]
        budget = max(1, self.length - len(first) - len(last) * len(used))
        given = allot([len(tokens) for tokens in encoded], budget, self.weights)
        tokens, numbers = [np.asarray(first, np.int64)], [np.zeros(len(first), np.int64)]
        for index in used:
            piece = np.concatenate([cut(encoded[index], given[index], self.keep), last])
            tokens.append(piece.astype(np.int64))
            numbers.append(np.full(len(piece), index, np.int64))
        joined = np.concatenate(tokens)[: self.length]
        if len(joined) == 0:  # an empty record still is a record
            joined, numbers = np.array([self.special["pad"]], np.int64), [np.zeros(1, np.int64)]
        return {
            "tokens": joined,
            "mask": np.ones(len(joined), bool),
            "fields": np.concatenate(numbers)[: len(joined)],
        }

    def lengths(self, records: Iterable[Mapping[str, str]]) -> np.ndarray:
        """Return the number of tokens of each whole record, before anything is cut."""
        found = []
        for fields in records:
            texts = [fields.get(name, "") for name in self.fields]
            found.append(sum(len(item.ids) for item in self.tokenizer.encode_batch(texts)))
        return np.array(found)


class FeatureReader:
    """Read a record as TF-IDF features of all its fields together.

    Args:
        features: a fitted `TfidfFeatures`.
        fields: names of the fields.
    """

    padding: Mapping[str, Any]

    def __init__(self, features: Any, fields: Sequence[str]):
        self.features, self.fields = features, list(fields)
        self.padding = {"tokens": 0, "weights": 0.0, "mask": False}

    def prepare(self, records: Iterable[Mapping[str, str]]) -> None:
        """Encode many records at once, which is quicker than one by one when they are read."""
        self.features.prepare([joined(fields, self.fields) for fields in records])

    def read(self, fields: Mapping[str, str]) -> dict[str, np.ndarray]:
        """Return "tokens" int64 (feature numbers), "weights" float32 and "mask" bool, each (T,)."""
        numbers, values = self.features.one(joined(fields, self.fields))
        return {
            "tokens": numbers.astype(np.int64),
            "weights": values.astype(np.float32),
            "mask": np.ones(len(numbers), bool),
        }


def joined(fields: Mapping[str, str], names: Sequence[str]) -> str:
    """Return the record's text, one field a line."""
    return "\n".join(fields[name] for name in names if fields.get(name))


def special_of(tokenizer: Any) -> dict[str, int | None]:
    """Return the numbers of a tokenizer's special tokens by their usual names.

    Raises:
        ValueError: there is no padding token.
    """
    names = {
        "cls": ("[CLS]", "<s>", "<|startoftext|>"),
        "sep": ("[SEP]", "</s>", "<|endoftext|>"),
        "pad": ("[PAD]", "<pad>"),
        "mask": ("[MASK]", "<mask>"),
        "unk": ("[UNK]", "<unk>"),
    }
    found = {
        role: next((n for n in map(tokenizer.token_to_id, usual) if n is not None), None)
        for role, usual in names.items()
    }
    if found["pad"] is None:
        raise ValueError("the tokenizer has no padding token ([PAD] or <pad>)")
    return found


def tokenizer_from(text: str) -> Any:
    """Return a tokenizer from the text of its tokenizer.json, without padding or truncation."""
    from tokenizers import Tokenizer

    data = json.loads(text)
    data["padding"] = data["truncation"] = None
    return Tokenizer.from_str(json.dumps(data))
