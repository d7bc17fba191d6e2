"""Back translation (Sennrich, Haddow and Birch 2016): to another language and back.

A chain has two steps or more, each a function from a text to a text, or a Hugging Face
sequence-to-sequence model; zh -> en -> fr -> zh is three. The text is translated sentence by
sentence, so that the edit log says which sentences changed.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from vesalius.errors import DataError, RecipeError
from vesalius.text.augmenters.base import Edit, Piece, Proposal, how_many, proposal
from vesalius.text.augmenters.hugging_face import load

# A stop ends a sentence where white space follows: not in "5.2" or "Dr.Smith".
_SENTENCE = re.compile(r"(?:[^。！？；!?\n.]|\.(?!\s|$))+[。！？；!?.]*")


class Translator:
    """A sequence-to-sequence model as a function from a text to a text.

    Args:
        model: folder or name (Marian, M2M100, NLLB, mBART, T5 ...).
        source: code of the source language, for models that know several ("zh", "zho_Hans").
        target: code of the target language, likewise.
        prefix: words in front of every text, as T5 has them.
        num_beams: width of the beam search; with `sample` 1 is usual.
        sample: draw the words instead, which gives another translation each time.
        max_new_tokens: limit of the output.

    Raises:
        DataError: the checkpoint cannot be opened, or does not know the target language.
    """

    def __init__(
        self,
        model: str,
        *,
        source: str | None = None,
        target: str | None = None,
        prefix: str = "",
        num_beams: int = 4,
        sample: bool = False,
        max_new_tokens: int = 256,
    ):
        self._name, self._source, self._prefix = str(model), source, prefix
        self._options: dict[str, Any] = {"num_beams": num_beams, "do_sample": sample}
        self._options["max_new_tokens"] = max_new_tokens
        _, tokenizer = self._loaded()
        if target is not None:
            self._options["forced_bos_token_id"] = _language_id(tokenizer, target, self._name)

    def __call__(self, text: str, rng: Random | None = None) -> str:
        """Return the translation; `rng` decides where words are drawn."""
        import torch

        model, tokenizer = self._loaded()
        if self._source is not None:
            tokenizer.src_lang = self._source
        inputs = tokenizer(self._prefix + text, return_tensors="pt", truncation=True)
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(0 if rng is None else rng.getrandbits(63))
            output = model.generate(**inputs, **self._options)
        return tokenizer.decode(output[0], skip_special_tokens=True).strip()

    def _loaded(self) -> tuple[Any, Any]:
        return load(self._name, "AutoModelForSeq2SeqLM")


Step = Callable[[str], str] | Translator


class BackTranslation:
    """Translate sentences along a chain of languages that ends where it began.

    Args:
        chain: two or more steps in order; each a function from a text to a text, a `Translator`,
            the folder or name of a model, or a mapping of `Translator`'s arguments.

    Raises:
        RecipeError: fewer than two steps, or a step is none of these.
        DataError: a model cannot be opened.
    """

    allows = ("order",)

    def __init__(self, *, chain: Sequence[Step | str | Mapping[str, Any]]):
        if isinstance(chain, str) or len(chain) < 2:
            raise RecipeError(
                "back translation needs a chain of two steps or more: to another language, and back"
            )
        self._chain = tuple(_step(step) for step in chain)

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Translate `strength` of the sentences there and back."""
        spans = [match.span() for match in _SENTENCE.finditer(text) if match.group().strip()]
        if not spans:
            return Proposal(text)
        chosen = rng.sample(spans, how_many(len(spans), strength))
        return proposal(text, [self._edit(text, start, end, rng) for start, end in chosen])

    def _edit(self, text: str, start: int, end: int, rng: Random) -> Edit:
        sentence = text[start:end].strip()
        start = text.index(sentence, start)
        new = sentence
        for step in self._chain:
            if not new.strip():  # a model that answers nothing has not translated
                break
            new = step(new, rng) if isinstance(step, Translator) else step(new)
            if not isinstance(new, str):
                raise RecipeError(f"a step of the chain returned {type(new).__name__}, not a text")
        return Edit(start, start + len(sentence), sentence, new.strip() or sentence)


def _step(step: Step | str | Mapping[str, Any]) -> Step:
    if callable(step):
        return step
    if isinstance(step, Mapping):
        if "model" not in step:
            raise RecipeError("a step of the chain that is a mapping needs the key 'model'")
        return Translator(**step)
    if isinstance(step, str):
        return Translator(step)
    raise RecipeError(
        f"a step of the chain is a function, a Translator, a model's folder or a mapping, not "
        f"{type(step).__name__}"
    )


def _language_id(tokenizer: Any, target: str, name: str) -> int:
    for token in (target, f"__{target}__"):  # NLLB and mBART; M2M100
        number = tokenizer.convert_tokens_to_ids(token)
        if number is not None and number != tokenizer.unk_token_id:
            return number
    raise DataError(f"{name} does not know the language '{target}'")
