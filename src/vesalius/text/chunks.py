"""The part of a stream that runs in a worker: some records in, the lines to write out."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vesalius.errors import DataError, MissingDependencyError, RecipeError, StorageError
from vesalius.text import encodings
from vesalius.text.formats import Format, Raw

_FATAL = (MissingDependencyError, RecipeError, StorageError)
"""What would befall every record alike stops the run."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive records; `first` is the place of the first one in the file, from 0."""

    seed: int
    first: int
    raws: list[Raw]
    position: int


@dataclass
class Result:
    """What a chunk became. Numbers of records in the notes start at 1 in every chunk."""

    position: int
    read: int = 0
    written: int = 0
    lines: bytes = b""
    rejects: list[bytes] = field(default_factory=list)
    notes: list[dict] = field(default_factory=list)
    seen: frozenset[str] = frozenset()
    known: tuple[str, ...] = ()


class Job:
    """Does the work on chunks; picklable when the work is."""

    def __init__(self, form: Format, work: Callable[[str, random.Random], Sequence]):
        self.form, self.work = form, work
        self._draws = getattr(work, "draws", True)

    def __call__(self, chunk: Chunk) -> Result:
        """Return the lines to write, the rejects and the notes of a chunk."""
        result = Result(chunk.position, read=len(chunk.raws))
        rng, lines = random.Random(chunk.seed), []
        seen: set[str] = set()
        for number, raw in enumerate(chunk.raws, chunk.first):
            if self._draws:
                rng.seed(f"{chunk.seed}:{number}")
            try:
                made = self._record(raw, rng, result, seen)
            except _FATAL:
                raise
            except Exception as error:  # whatever a work raises concerns this record alone
                result.rejects.append(_reject(raw, error))
                continue
            lines += made
        result.lines, result.written, result.seen = b"".join(lines), len(lines), frozenset(seen)
        return result

    def _record(self, raw: Raw, rng: random.Random, result: Result, seen: set[str]) -> list[bytes]:
        """Return the records that take the place of one; its notes are added to `result`."""
        written = result.written
        _check(raw)
        texts = self.form.texts(raw.content)
        if not result.known:
            result.known = tuple(self.form.known(raw.content))
        outputs = {name: self.work(text, rng) if text else () for name, text in texts.items()}
        seen.update(name for name in texts if name is not None)
        lines = self._lines(raw, texts, outputs)
        for name, made in outputs.items():
            for place, output in enumerate(made, 1):
                if output.note is not None:
                    where = {"line": raw.line, "record": written + place, "field": name}
                    result.notes.append(where | dict(output.note))
        result.written += len(lines)
        return lines

    def _lines(self, raw: Raw, texts: dict, outputs: dict) -> list[bytes]:
        copies = max(map(len, outputs.values()), default=0)
        if not any(texts.values()):
            copies = 1  # nothing to work on
        lines = []
        for place in range(copies):
            new = {name: made[place].text for name, made in outputs.items() if place < len(made)}
            lines.append(self.form.write(raw.content, new).encode("utf-8"))
        return lines


def _check(raw: Raw) -> None:
    if raw.reason:
        raise DataError(raw.reason)
    for text in (raw.content,) if isinstance(raw.content, str) else raw.content:
        mistake = encodings.undecodable(text)
        if mistake:
            raise DataError(mistake)


def _reject(raw: Raw, error: Exception) -> bytes:
    known = isinstance(error, DataError)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    record = {"line": raw.line, "reason": reason, "text": raw.shown()}
    # Lone surrogates stand for bytes that could not be decoded; only escapes can carry them.
    broken = encodings.undecodable(record["text"] + reason) is not None
    return (json.dumps(record, ensure_ascii=broken) + "\n").encode("utf-8")
