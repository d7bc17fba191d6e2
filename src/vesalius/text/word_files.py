"""Words and duplicates of whole files: what `vesalius text words` and `deduplicate` do."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vesalius.errors import DataError, RecipeError
from vesalius.text import encodings, formats, sinks
from vesalius.text.chunks import Chunk, Job
from vesalius.text.duplicates import Deduplicated, deduplicate
from vesalius.text.formats import Format, Raw
from vesalius.text.ngrams import ngrams
from vesalius.text.streams import Output
from vesalius.text.wording import Cutter

_RECORDS_AT_ONCE = 512


@dataclass(frozen=True)
class CutWork:
    """The work for `streams.run` that writes a text as its words with `separator` between.

    Attributes:
        cutter: cuts the texts.
        separator: between the words.
        tags: write word/TAG with the part of speech.
        count: length of the n-grams (1: words) whose counts the note holds; 0 for none.
        lexicon: of the tagger.
    """

    cutter: Cutter
    separator: str = " "
    tags: bool = False
    count: int = 0
    lexicon: Path | None = None
    draws = False

    def __call__(self, text: str, rng: random.Random) -> Sequence[Output]:
        """Return one output; its note is {"words": number, "counts": {...}}."""
        words = self.cutter(text)
        shown = self._tagged(text) if self.tags else words
        note: dict[str, object] = {"words": len(words)}
        if self.count:
            note["counts"] = dict(_counted(words, self.count))
        return [Output(self.separator.join(shown), note)]

    def _tagged(self, text: str) -> list[str]:
        from vesalius.text.tagging import tag

        return [f"{found.word}/{found.tag}" for found in tag(text, lexicon=self.lexicon)]


def _counted(words: list[str], length: int) -> Counter[str]:
    if length == 1:
        return Counter(words)
    return Counter(" ".join(gram) for gram in ngrams(words, length))


@dataclass
class WordCounts:
    """Gather the notes of `CutWork`: call `add` with each."""

    words: int = 0
    texts: int = 0

    def __post_init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, note: Mapping) -> None:
        """Add the counts of one text."""
        self.texts += 1
        self.words += note["words"]
        self.counts.update(note.get("counts", {}))


@dataclass(frozen=True)
class Dropped:
    """A record that was left out: its line, that of the kept one, their Jaccard index."""

    line: int
    duplicate_of: int
    similarity: float


@dataclass(frozen=True)
class FileSummary:
    """What became of a file's records."""

    read: int
    written: int
    rejected: int
    dropped: tuple[Dropped, ...]


def deduplicate_file(
    source: str | Path,
    *,
    out: str | Path,
    fields: Sequence[str] | None = None,
    threshold: float | None = 0.7,
    ngram: int = 5,
    seed: int = 0,
    rejects: str | Path | None = None,
    encoding: str | None = None,
    progress: Callable[[str], object] | None = None,
) -> FileSummary:
    """Write the records of a file without those that repeat an earlier one.

    The file is read twice, and its texts are held in memory (about 8 bytes a character while they
    are compared). Records without text are kept.

    Args:
        source, fields, rejects, encoding: as in `vesalius.text.streams.run`. A record's fields are
            compared together.
        out: file of the same kind.
        threshold: smallest Jaccard index of a near duplicate; None for equal texts only.
        ngram, seed: as in `vesalius.text.near_duplicates`.
        progress: called with "read", "compare" and "write" when each begins.

    Raises:
        DataError: the source cannot be read, or lacks the fields.
        RecipeError: `out` has another format, or files are given twice.
        StorageError: the output cannot be written; what was there before is untouched.
    """
    source, out = Path(source), Path(out)
    rejected_to = Path(rejects) if rejects else out.with_name(f"{out.stem}.rejects.jsonl")
    if formats.suffix(source) != formats.suffix(out):
        raise RecipeError(f"--out {out}: its name must end with {formats.suffix(source)}")
    if rejected_to in (out, source):
        raise RecipeError(f"--rejects {rejected_to}: is the same file as the input or the output")
    name = encodings.check_encoding(encoding) if encoding else encodings.detect(source)
    say = progress or (lambda step: None)
    say("read")
    lines, texts, seen, known = [], [], set(), ()
    form, records = _records(source, fields, name)
    for raw in records:
        found = _texts(form, raw)
        if found is None:
            continue
        known = known or tuple(form.known(raw.content))
        seen.update(str(field) for field in found)
        text = "\n".join(found.values())
        if text.strip():
            lines.append(raw.line)
            texts.append(text)
    say("compare")
    result = deduplicate(texts, threshold=threshold, ngram=ngram, seed=seed)
    dropped = _dropped(result, lines)
    del texts
    say("write")
    with ExitStack() as stack:
        written = stack.enter_context(sinks.Sinks(out, rejected_to))
        counts = _write(source, fields, name, written, {drop.line for drop in dropped})
        if counts[0] > counts[2] and form.fields != (None,):
            formats.check_fields_seen(source, form, seen, known)
    return FileSummary(*counts, dropped)


def _dropped(result: Deduplicated, lines: Sequence[int]) -> tuple[Dropped, ...]:
    return tuple(
        Dropped(lines[index], lines[kept], result.similarity[index])
        for index, kept in sorted(result.duplicate_of.items())
    )


def _records(
    source: Path, fields: Sequence[str] | None, encoding: str
) -> tuple[Format, Iterator[Raw]]:
    with encodings.open_binary(source) as binary:
        file = encodings.decoded(binary, encoding, newline=formats.newline_of(source))
        form = formats.format_of(source, file, fields)

    def records() -> Iterator[Raw]:
        with encodings.open_binary(source) as binary:
            file = encodings.decoded(binary, encoding, newline=formats.newline_of(source))
            # Takes the line of column names off the file.
            yield from formats.format_of(source, file, fields).records(file)

    return form, records()


def _texts(form: Format, raw: Raw) -> dict[str | None, str] | None:
    """Return the texts of a record, None where it cannot be read; `Job` says why."""
    cells = (raw.content,) if isinstance(raw.content, str) else raw.content
    if raw.reason or any(encodings.undecodable(cell) for cell in cells):
        return None
    try:
        return form.texts(raw.content)  # type: ignore[arg-type]
    except DataError:
        return None


def _same(text: str, rng: random.Random) -> Sequence[Output]:
    return [Output(text)]


def _write(
    source: Path, fields: Sequence[str] | None, encoding: str, sink: sinks.Sinks, without: set[int]
) -> tuple[int, int, int]:
    """Write the records but those whose line is in `without`; return read, written, rejected."""
    form, records = _records(source, fields, encoding)
    sink.header(form.header)
    read = written = rejected = 0
    while batch := list(islice(records, _RECORDS_AT_ONCE)):
        kept = [raw for raw in batch if raw.line not in without]
        result = Job(form, _same)(Chunk(0, read, kept, 0))
        sink.write(result.lines, result.rejects)
        read += len(batch)
        written += result.written
        rejected += len(result.rejects)
    return read, written, rejected
