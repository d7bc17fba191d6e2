"""How the text of a run becomes tokens or features: trained subwords, an encoder's own, TF-IDF."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vesalius.diagnose.reading import FeatureReader, TokenReader, joined, special_of, tokenizer_from
from vesalius.errors import RecipeError

if TYPE_CHECKING:
    from vesalius.diagnose.learned import Learned
    from vesalius.diagnose.recipe import Data, DiagnoseRecipe

TOKENIZER, FEATURES = "tokenizer.json", "features.json"


class Vocabulary(Protocol):
    """What a task knows of its text."""

    size: int
    special: Mapping[str, int | None]

    def assets(self) -> dict[str, str]:
        """Return the files that it is read from again."""
        ...

    def reader(self, data: "Data", fields: Sequence[str], *, length: int) -> Any:
        """Return what reads a record, see `diagnose.reading`."""
        ...


class Tokens:
    """Subword tokens.

    Args:
        text: the content of a tokenizer.json.
        special: numbers of the special tokens; None: found by their usual names.
    """

    def __init__(self, text: str, special: Mapping[str, int | None] | None = None):
        self.text = text
        self.tokenizer = tokenizer_from(text)
        self.special = dict(special) if special else special_of(self.tokenizer)
        self.size = self.tokenizer.get_vocab_size()

    def assets(self) -> dict[str, str]:
        """Return tokenizer.json."""
        return {TOKENIZER: self.text}

    def reader(self, data: "Data", fields: Sequence[str], *, length: int) -> TokenReader:
        """Return what reads a record as tokens."""
        unknown = sorted(set(data.field_weights) - set(fields))
        if unknown:
            raise RecipeError(
                f"data.field_weights names {', '.join(unknown)}; the fields are {', '.join(fields)}"
            )
        return TokenReader(
            self.tokenizer,
            self.special,
            fields,
            length=length,
            keep=data.keep,
            weights=data.field_weights,
            names=data.field_names,
        )


class Features:
    """TF-IDF features of whole records."""

    special: Mapping[str, int | None]

    def __init__(self, features: Any):
        self.features, self.size = features, features.size
        self.special = {}

    def assets(self) -> dict[str, str]:
        """Return features.json."""
        return {FEATURES: self.features.to_json()}

    def reader(self, data: "Data", fields: Sequence[str], *, length: int) -> FeatureReader:
        """Return what reads a record as features; the length of a record does not matter."""
        return FeatureReader(self.features, fields)

    def solve(self, texts: Sequence[str], truth: np.ndarray, *, block: Any, seed: int) -> dict:
        """Return the weights of the linear model."""
        from vesalius.diagnose.models.tfidf import solve

        return solve(self.features.matrix(texts), truth, block=block, seed=seed)


def fit_vocabulary(
    recipe: "DiagnoseRecipe", records: Sequence[Mapping[str, str]], fields: Sequence[str]
) -> Vocabulary:
    """Make the vocabulary of a recipe's model from the training records alone."""
    model = recipe.model
    if model.name == "tfidf":
        from vesalius.diagnose.models.tfidf import TfidfFeatures

        return Features(TfidfFeatures(model).fit([joined(text, fields) for text in records]))
    if model.name == "pretrained":
        from vesalius.diagnose.models import tokenizer_for

        return of_pretrained(tokenizer_for(model))
    if recipe.start is not None:
        from vesalius.engine.run import Run

        return Tokens(Run(recipe.start).assets[TOKENIZER])
    from vesalius.text.subwords import train_subwords

    pieces = (text for record in records for text in record.values() if text)
    trained = train_subwords(pieces, kind="wordpiece", size=recipe.data.subwords)
    return Tokens(trained.tokenizer.to_str())


def of_pretrained(tokenizer: Any) -> Tokens:
    """Return the vocabulary of a transformers tokenizer.

    Raises:
        RecipeError: it has no fast form, which is what a run folder keeps.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise RecipeError(
            f"{type(tokenizer).__name__} has no fast form (tokenizer.json); convert it with "
            "transformers and give that folder"
        )
    special = {
        role: getattr(tokenizer, f"{role}_token_id")
        for role in ("cls", "sep", "pad", "mask", "unk")
    }
    if special["pad"] is None:
        special["pad"] = special["sep"] if special["sep"] is not None else 0
    return Tokens(backend.to_str(), special)


def load_vocabulary(assets: Mapping[str, str], known: "Learned") -> Vocabulary:
    """Read the vocabulary of a run again.

    Raises:
        KeyError: the run has neither tokenizer.json nor features.json.
    """
    if FEATURES in assets:
        from vesalius.diagnose.models.tfidf import TfidfFeatures

        return Features(TfidfFeatures.from_json(assets[FEATURES]))
    return Tokens(assets[TOKENIZER], known.special)
