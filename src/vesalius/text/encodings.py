"""Which encoding a text file has, and opening it so that a bad line never stops the others.

Chinese hospital exports come as UTF-8 (with and without a mark), GB18030 (which contains GBK and
GB2312), Big5 and UTF-16. The byte patterns of the last three overlap, so that a file may decode
without an error and still be nonsense; among the encodings that fit, the one whose characters are
the common ones wins.
"""

import codecs
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from vesalius.errors import DataError

ENCODINGS = ("utf-8", "gb18030", "big5", "utf-16", "cp1252")
"""What `detect` tells apart; it also says "utf-8-sig", "utf-16-le" and "utf-16-be"."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BLOCK = 1 << 20
_ENOUGH = 1 << 16
"""Bytes in lines that are not ASCII: more of them no longer change the decision."""
_FITS = 0.5
"""Share of those lines that must decode: a file may hold broken lines, they are rejected later."""
_COMMON = frozenset(
    "的一是不了在人有我他这中大来上个国和也子时道出而要于就下得可你年生自会那后能对着事其里所去行"
    "過這個來國時說們為會後對著裡還見無開現與點長經問題發學"
    "患者既往病史症状查体入院日月岁男女高血压糖尿心肺肝肾胃肠头胸腹痛发热咳嗽痰伴否认无见未及正常左右双"
    "侧检查治疗诊断给予口服药术前明显加重缓解间断压疼体重饮食睡眠大小便可尚好医师"
    "症狀體歲壓腎腸頭發熱認無雙側檢療診斷給藥術顯間斷"
    ",.，。：:；;、（）()0123456789"
)


def detect(path: str | Path) -> str:
    """Return the name of a file's encoding, for `open`. Files may be gzipped (.gz).

    Raises:
        DataError: no encoding fits; the message names the first line that none can read.
    """
    head, lines = _sample(Path(path))
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if b"\0" in head:
        return _without_mark(head, path)
    if not lines:
        return "utf-8"
    if _decodable(lines, "utf-8") >= _FITS:
        return "utf-8"
    scores = {name: _likeness(lines, name) for name in ("gb18030", "big5")}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] > 0.05:
        return best
    # Western exports: single bytes such as ± or µ between ASCII letters.
    if _ascii_share(lines) > 0.8 and _decodable(lines, "cp1252") == 1:
        return "cp1252"
    number = next(iter(lines))
    raise DataError(
        f"{path}: line {number} is not text in any of {', '.join(ENCODINGS)}; name the encoding "
        "with --encoding, or save the file as UTF-8"
    )


def open_binary(path: str | Path) -> BinaryIO:
    """Open a file, or what is inside a gzipped one, for reading bytes.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    path = Path(path)
    try:
        return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def decoded(binary: BinaryIO, encoding: str, *, newline: str = "\n") -> TextIO:
    """Return the text of a binary file; bytes that do not fit become lone surrogates.

    `undecodable` finds the lines that hold such bytes. `newline` is as for `open`.
    """
    wide = encoding.startswith("utf-16")
    errors = "vesalius-mark" if wide else "surrogateescape"
    return io.TextIOWrapper(binary, encoding=encoding, errors=errors, newline=newline)


def undecodable(text: str) -> str | None:
    """Return what is wrong with a text from `decoded`, or None."""
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        what = f"byte 0x{code - 0xDC00:02X}" if 0xDC80 <= code < 0xDD00 else "half a character"
        return f"{what} at character {error.start + 1} does not fit the file's encoding"
    return None


def check_encoding(name: str) -> str:
    """Return `name` if Python knows that encoding of text.

    Raises:
        DataError: it is unknown.
    """
    try:
        "".encode(name)
    except (LookupError, UnicodeError):
        raise DataError(
            f"'{name}' is no known encoding; common ones are {', '.join(ENCODINGS)}"
        ) from None
    return name


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udc00", max(error.end, error.start + 1)


codecs.register_error("vesalius-mark", _mark)


def _sample(path: Path) -> tuple[bytes, dict[int, bytes]]:
    """Return the first bytes, and lines that are not ASCII by their number (from 1)."""
    found: dict[int, bytes] = {}
    size = 0
    with open_binary(path) as file:
        try:
            head = file.read(_BLOCK)
            for number, line in _lines(head, file):
                if not line.isascii():
                    found[number] = line
                    size += len(line)
                    if size > _ENOUGH:
                        break
        except (OSError, EOFError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from None
    return head, found


def _lines(head: bytes, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines; whole blocks of ASCII are only counted."""
    number, rest, block = 1, b"", head
    while block:
        block = rest + block
        if block.isascii():
            number, rest = number + block.count(b"\n"), b""
        else:
            *complete, rest = block.split(b"\n")
            yield from enumerate(complete, number)
            number += len(complete)
        block = file.read(_BLOCK)
    if rest:
        yield number, rest


def _without_mark(head: bytes, path: str | Path) -> str:
    """Tell UTF-16 without a mark by the zero bytes of its ASCII characters."""
    name = "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
    text = head[:_ENOUGH].decode(name, "replace")
    if sum(character in _COMMON or character.isascii() for character in text) < 0.2 * len(text):
        raise DataError(f"{path}: is not a text file (it holds zero bytes)")
    return name


def _decodable(lines: dict[int, bytes], encoding: str) -> float:
    return sum(_try(line, encoding) is not None for line in lines.values()) / len(lines)


def _try(line: bytes, encoding: str) -> str | None:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return None


def _likeness(lines: dict[int, bytes], encoding: str) -> float:
    """Return the share of common characters among those outside ASCII, 0 if too few lines fit."""
    texts = [text for line in lines.values() if (text := _try(line, encoding)) is not None]
    if len(texts) < _FITS * len(lines):
        return 0.0
    wide = [character for text in texts for character in text if not character.isascii()]
    return sum(character in _COMMON for character in wide) / max(len(wide), 1)


def _ascii_share(lines: dict[int, bytes]) -> float:
    total = sum(map(len, lines.values()))
    return sum(byte < 128 for line in lines.values() for byte in line) / total
