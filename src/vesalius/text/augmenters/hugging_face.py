"""Opening Hugging Face checkpoints for augmentation, by name or folder."""

from functools import cache
from pathlib import Path
from typing import Any

from vesalius.errors import DataError

Loaded = tuple[Any, Any]
"""Model in evaluation mode, and its tokenizer."""


@cache
def load(name: str, head: str) -> Loaded:
    """Open a checkpoint once per process.

    Args:
        name: a folder, or a name on the Hugging Face hub.
        head: the class of transformers that reads it, for example "AutoModelForMaskedLM".

    Raises:
        DataError: there is no such checkpoint, or it has no tokenizer.
    """
    import transformers

    try:
        # Weights only as safetensors or with torch's safe loader; no code from the checkpoint.
        model = getattr(transformers, head).from_pretrained(name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(_advice(name, head, error)) from error
    return model.eval(), tokenizer


def _advice(name: str, head: str, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if Path(name).is_dir():
        return (
            f"{name} cannot be opened as {head}: {reason}. It needs config.json, "
            "model.safetensors and the tokenizer's files."
        )
    return f"There is no folder {name}, and it could not be had from the hub: {reason}"
