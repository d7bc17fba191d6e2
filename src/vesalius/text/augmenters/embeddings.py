"""Replacement by neighbours in an embedding (Wang and Yang 2015).

Vectors come from a file in word2vec's text or binary format (fastText's .vec and GloVe's files
too), or are the input embeddings of any Hugging Face model, of which only whole words are used.
"""

import gzip
import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from random import Random
from typing import IO, TYPE_CHECKING

from vesalius.errors import DataError, RecipeError
from vesalius.text.augmenters.base import (
    Piece,
    Proposal,
    free,
    how_many,
    is_chinese,
    proposal,
    replace,
)
from vesalius.text.augmenters.hugging_face import load
from vesalius.text.augmenters.inflection import like

if TYPE_CHECKING:
    import numpy as np

_WORD = re.compile(r"[A-Za-z]{2,}|[\u3400-\u9fff]+")
_MARKS = ("▁", "Ġ")


class EmbeddingNeighbours:
    """Replace words by near ones of an embedding, drawn in proportion to their similarity.

    Args:
        vectors: file of word vectors; ".bin" is read as word2vec's binary format, ".gz" unpacked.
        model: instead of a file, folder or name of a Hugging Face model.
        top: how many neighbours a word is drawn from.
        min_similarity: cosine below which a word is no neighbour.
        max_words: of a file, the first words only (they are sorted by frequency).

    Raises:
        RecipeError: not exactly one of `vectors` and `model` is given, or a value is out of range.
        DataError: the file or the model cannot be read; the message has the line.
    """

    def __init__(
        self,
        *,
        vectors: str | None = None,
        model: str | None = None,
        top: int = 10,
        min_similarity: float = 0.5,
        max_words: int | None = None,
    ):
        if (vectors is None) == (model is None):
            raise RecipeError(
                "embedding neighbours need `vectors` (a file) or `model`, one of them"
            )
        if top < 1 or not -1 <= min_similarity < 1:
            raise RecipeError("top must be at least 1, and min_similarity in [-1, 1)")
        self._source = (str(vectors or model), vectors is not None, max_words)
        self._top, self._min_similarity = top, min_similarity
        _table(*self._source)

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Replace `strength` of the words that have neighbours."""
        places = [
            (pieces[i], near)
            for i in free(pieces)
            if (near := self.neighbours(pieces[i].text.lower()))
        ]
        if not places:
            return Proposal(text)
        chosen = rng.sample(places, how_many(len(places), strength))
        return proposal(
            text,
            [replace(piece, like(piece.text, _draw(near, rng))) for piece, near in chosen],
        )

    def neighbours(self, word: str) -> tuple[tuple[str, float], ...]:
        """Return up to `top` (word, cosine), the nearest first; of the same script only."""
        return _neighbours(self._source, word, self._top, self._min_similarity)


def _draw(near: tuple[tuple[str, float], ...], rng: Random) -> str:
    words, similarities = zip(*near, strict=True)
    return rng.choices(words, [max(value, 1e-6) for value in similarities])[0]


@lru_cache(maxsize=1 << 14)
def _neighbours(
    source: tuple[str, bool, int | None], word: str, top: int, min_similarity: float
) -> tuple[tuple[str, float], ...]:
    import numpy as np

    words, numbers, matrix = _table(*source)
    if word not in numbers:
        return ()
    similarities = matrix @ matrix[numbers[word]]
    # More than `top`, since some are the word itself in capitals or of another script.
    wanted = min(4 * top + 8, len(words))
    best = np.argpartition(-similarities, wanted - 1)[:wanted]
    found: list[tuple[str, float]] = []
    for i in best[np.argsort(-similarities[best], kind="stable")]:
        if len(found) == top or similarities[i] < min_similarity:
            break
        other = words[i]
        if other.lower() != word and is_chinese(other) == is_chinese(word):
            found.append((other, float(similarities[i])))
    return tuple(found)


Table = tuple[list[str], dict[str, int], "np.ndarray"]


@cache
def _table(source: str, is_file: bool, max_words: int | None) -> Table:
    """Return words, their numbers, and unit vectors float32 (N, D)."""
    import numpy as np

    words, matrix = read_vectors(source, max_words=max_words) if is_file else _of_model(source)
    kept = [i for i, word in enumerate(words) if _WORD.fullmatch(word)]
    words, matrix = [words[i] for i in kept], matrix[kept]
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    matrix = matrix / np.where(norms > 0, norms, 1)
    numbers: dict[str, int] = {}
    for i, word in enumerate(words):
        numbers.setdefault(word.lower(), i)
    return words, numbers, matrix.astype(np.float32)


def _of_model(name: str) -> tuple[list[str], "np.ndarray"]:
    model, tokenizer = load(name, "AutoModel")
    weights = model.get_input_embeddings().weight.detach().float().numpy()
    ids = range(min(len(tokenizer), len(weights)))
    raw = tokenizer.convert_ids_to_tokens(list(ids))
    marked = any(token.startswith(_MARKS) for token in raw)
    words = [
        tokenizer.decode([i]).strip() if _is_whole(token, marked) else ""
        for i, token in zip(ids, raw, strict=True)
    ]
    return words, weights[: len(words)]


def _is_whole(token: str, marked: bool) -> bool:
    """Tell whether a token is a whole word: marked where words are, and no "##" piece."""
    return is_chinese(token) or (token.startswith(_MARKS) if marked else not token.startswith("##"))


def read_vectors(path: str, *, max_words: int | None = None) -> tuple[list[str], "np.ndarray"]:
    """Read word vectors: word2vec text or binary, fastText's .vec, GloVe.

    Returns:
        Words and float32 (N, D).

    Raises:
        DataError: the file is missing, broken or empty; the message has the line or the word.
    """
    import numpy as np

    file_path = Path(path)
    binary = file_path.suffixes[-2:] == [".bin", ".gz"] or file_path.suffix == ".bin"
    try:
        with gzip.open(path) if file_path.suffix == ".gz" else open(path, "rb") as file:
            rows = _binary(file, path, max_words) if binary else _text(file, path, max_words)
            words, vectors = [], []
            for word, vector in rows:
                words.append(word)
                vectors.append(vector)
    except OSError as error:
        raise DataError(f"cannot read the word vectors of {path}: {error}") from error
    if not words:
        raise DataError(f"{path} holds no word vectors")
    return words, np.stack(vectors)


def _text(file: IO[bytes], path: str, limit: int | None) -> Iterator[tuple[str, "np.ndarray"]]:
    import numpy as np

    width, given = None, 0
    for number, line in enumerate(file, 1):
        fields = line.decode("utf-8", "replace").rstrip().split(" ")
        if number == 1 and len(fields) == 2:  # the header, which GloVe's files lack
            width = int(fields[1]) if fields[1].isdigit() else None
            continue
        width = len(fields) - 1 if width is None else width
        # A few words of GloVe's contain spaces; the numbers are the last `width` fields.
        word, values = " ".join(fields[:-width]), fields[-width:]
        try:
            vector = np.array(values, dtype=np.float32)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not a word and {width} numbers") from error
        if len(vector) != width or not word:
            raise DataError(f"{path}, line {number}: not a word and {width} numbers")
        yield word, vector
        given += 1
        if given == limit:
            return


def _binary(file: IO[bytes], path: str, limit: int | None) -> Iterator[tuple[str, "np.ndarray"]]:
    import numpy as np

    try:
        count, width = map(int, file.readline().split())
    except ValueError as error:
        raise DataError(
            f"{path} does not begin with the number of words and their width"
        ) from error
    for number in range(1, min(count, limit or count) + 1):
        word = bytearray()
        while (char := file.read(1)) != b" ":
            if not char:
                raise DataError(f"{path} ends within word {number} of {count}; copy it again")
            word += char
        content = file.read(4 * width)
        if len(content) != 4 * width:
            raise DataError(f"{path} ends within word {number} of {count}; copy it again")
        # Some writers end each vector with a line break, which then opens the next word.
        yield word.lstrip(b"\n").decode("utf-8", "replace"), np.frombuffer(content, dtype="<f4")
