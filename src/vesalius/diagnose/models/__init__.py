"""Models of records by name: one idea, one file.

`model(inputs)` returns logits (B, labels) for a mapping of tensors: "tokens" int64 (B, T), "mask"
bool (B, T), "fields" int64 (B, T); for "tfidf" the tokens are feature numbers and "weights" float
(B, T) their values. Labels do not exclude one another: take the sigmoid.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from torch import nn

from vesalius.block import Block
from vesalius.diagnose.model_blocks import BLOCKS, PretrainedBlock
from vesalius.diagnose.models.base import RecordModel
from vesalius.diagnose.models.checkpoints import load_encoder, tokenizer_for
from vesalius.diagnose.models.lstm import LSTM
from vesalius.diagnose.models.mlm import MaskedLanguageModel, mask_tokens
from vesalius.diagnose.models.pretrained import Pretrained, from_architecture
from vesalius.diagnose.models.text_cnn import TextCNN
from vesalius.diagnose.models.tfidf import TfidfFeatures, TfidfLinear
from vesalius.diagnose.models.transformer import Transformer
from vesalius.errors import RecipeError

__all__ = [
    "LSTM",
    "MODELS",
    "MaskedLanguageModel",
    "Pretrained",
    "RecordModel",
    "TextCNN",
    "TfidfFeatures",
    "TfidfLinear",
    "Transformer",
    "build",
    "mask_tokens",
    "tokenizer_for",
]

MODELS: dict[str, type[nn.Module]] = {
    "transformer": Transformer,
    "text_cnn": TextCNN,
    "lstm": LSTM,
    "pretrained": Pretrained,
    "tfidf": TfidfLinear,
}


def build(
    block: Block | str,
    *,
    labels: int,
    vocabulary: int | None = None,
    fields: int = 1,
    architecture: Mapping[str, Any] | None = None,
    **options,
) -> nn.Module:
    """Return a model; all but a pretrained encoder have fresh weights.

    Args:
        block: one of `model_blocks`, or its name.
        labels: number of labels.
        vocabulary: number of tokens or features; a pretrained encoder knows its own.
        fields: number of the record's fields.
        architecture: for "pretrained": the settings that `model.architecture` gave; the encoder
            is then built with fresh weights and without its checkpoint, to load a run's into.
        options: the block's own, where `block` is a name.

    Raises:
        RecipeError: unknown model or option (the message lists the known ones), or a bad value.
        DataError: a pretrained encoder cannot be loaded.
    """
    block = _block(block, options)
    counts = {"labels": labels, "fields": fields}
    if not isinstance(block, PretrainedBlock):
        counts["vocabulary"] = vocabulary
    problems = [
        f"{name} is {value}; it must be at least 1."
        for name, value in counts.items()
        if value is None or value < 1
    ]
    if problems:
        raise RecipeError(f"The model '{block.name}' cannot be built:", problems)
    if isinstance(block, PretrainedBlock):
        encoder = from_architecture(architecture) if architecture else load_encoder(block)
        return Pretrained(encoder, **counts, **_options(block, {"encoder", "layers", "dropout"}))
    if block.name == "tfidf":
        return TfidfLinear(labels=labels, vocabulary=vocabulary)
    return MODELS[block.name](**counts, **_options(block))


def _block(block: Block | str, options: dict[str, Any]) -> Block:
    if isinstance(block, Block):
        return block.model_copy(update=_checked(block, options)) if options else block
    if block not in BLOCKS:
        raise RecipeError(f"Unknown model '{block}'. Known: {', '.join(BLOCKS)}.")
    return _validated(BLOCKS[block], options)


def _checked(block: Block, options: dict[str, Any]) -> dict[str, Any]:
    given = {**block.model_dump(), **options}
    checked = _validated(type(block), given)
    return {name: getattr(checked, name) for name in options}


def _validated(kind: type[Block], options: dict[str, Any]) -> Block:
    try:
        return kind(**options)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        known = ", ".join(name for name in kind.model_fields if name != "name")
        raise RecipeError(
            f"The model '{kind.model_fields['name'].default}' cannot be built "
            f"(its options: {known}):",
            problems,
        ) from None


def _options(block: Block, without: frozenset[str] | set[str] = frozenset()) -> dict[str, Any]:
    """Return the block's values without its name, nested blocks as they are."""
    names = set(type(block).model_fields) - {"name"} - set(without)
    return {name: getattr(block, name) for name in names}
