"""Work on the texts of a file of any size: in order, in bounded memory, with nothing lost.

A *work* is a callable `work(text, rng) -> Sequence[Output]`. It gets one text at a time and returns
what shall stand in its place: one output for cleaning, several for augmentation, none to drop the
record. A record whose work raises goes to the rejects file with its line number and the reason, and
the rest goes on.

    summary = run("notes.txt", Upper(), out="upper.txt", workers=4)

Every record has its own random generator, made of `seed` and the record's place in the file, and
results are written in the order of the file: the output is the same byte for byte whatever the
number of processes.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vesalius.errors import DataError, RecipeError
from vesalius.files import storage_errors
from vesalius.text import encodings, formats, sinks
from vesalius.text.chunks import Chunk, Job, Result
from vesalius.text.formats import Raw

_RECORDS, _CHARACTERS = 512, 1 << 17
"""A chunk is full at so many records or characters: enough to outweigh sending it."""
_SMALL = 8 << 20
"""Bytes below which starting processes takes longer than the work."""


@dataclass(frozen=True)
class Output:
    """One text that takes the place of the one given.

    `note` says what was done; `run` passes it to `gather` in the parent process.
    """

    text: str
    note: Mapping | None = None


Work = Callable[[str, random.Random], Sequence[Output]]
"""Picklable. An attribute `draws = False` says that it uses no random numbers: seeding a generator
for each record (9 microseconds) costs as much as cleaning it."""


@dataclass(frozen=True)
class Summary:
    """How many records were read, written and rejected; where the rejects are, if any."""

    read: int
    written: int
    rejected: int
    encoding: str = "utf-8"
    rejects: Path | None = None


def run(
    source: str | Path,
    work: Work,
    *,
    out: str | Path,
    fields: Sequence[str] | None = None,
    seed: int = 0,
    workers: int | None = None,
    cluster: bool = False,
    rejects: str | Path | None = None,
    started: Callable[[int], object] | None = None,
    progress: Callable[[int], object] | None = None,
    gather: Callable[[Mapping], object] | None = None,
    encoding: str | None = None,
) -> Summary:
    """Apply `work` to every text of `source`; write the records to `out` in the same format.

    Args:
        source: .txt (one text per line), .jsonl, .csv or .tsv, and the same with .gz behind. UTF-8,
            GB18030, Big5 and UTF-16 are told apart; the output is UTF-8.
        work: see the module. Empty texts are kept as they are, without asking it. Must be picklable
            for more than one process.
        out: where to write; with .gz behind, gzipped.
        fields: the fields whose texts are worked on (default: "text"); all other columns stay. With
            several fields the first outputs of all make the first record, the second outputs the
            second one, and so on; where a field has fewer, its text stays as it was.
        seed: of the records' random generators.
        workers: number of processes; None: as many as cores, but one for files below 8 MiB.
        cluster: work with Ray, on whatever cluster it is connected to, instead of processes here.
        rejects: JSON lines {"line", "reason", "text"}; default: beside `out`, as
            NAME.rejects.jsonl. It exists only if there were rejects.
        started: called once with the size of `source` in bytes.
        progress: called with the number of further bytes of `source` that are done.
        gather: called in the order of the file with the note of every output that has one, as
            {"line": of the source, "record": number in the output, "field": name or None, **note}.
        encoding: of `source`, where it is known.

    Raises:
        DataError: the source cannot be read, or lacks the fields.
        RecipeError: `out` has another format, or files are given twice, or `work` cannot be sent to
            other processes.
        StorageError: the output cannot be written; what was there before is untouched.
    """
    source, out = Path(source), Path(out)
    rejected_to = Path(rejects) if rejects else _beside(out)
    _check(source, out, rejected_to, workers)
    name = encodings.check_encoding(encoding) if encoding else encodings.detect(source)
    with ExitStack() as stack:
        size, position, binary = _open(source, stack)
        text = encodings.decoded(binary, name, newline=formats.newline_of(source))
        form = formats.format_of(source, text, fields)
        chunks = _chunks(form.records(text), position, seed, source)
        if started:
            started(size)
        results = _results(chunks, Job(form, work), workers or _processes(size), cluster)
        written = stack.enter_context(sinks.Sinks(out, rejected_to))
        written.header(form.header)
        tally = _write(results, written, gather, progress)
        if tally.read > tally.rejected:
            formats.check_fields_seen(source, form, tally.seen, tally.known)
        progress and progress(max(0, size - tally.position))
    return Summary(
        tally.read, tally.written, tally.rejected, name, rejected_to if tally.rejected else None
    )


@dataclass
class _Tally:
    read: int = 0
    written: int = 0
    rejected: int = 0
    position: int = 0
    seen: frozenset = frozenset()
    known: tuple = ()


def _write(
    results: Iterator[Result],
    sink: "sinks.Sinks",
    gather: Callable[[Mapping], object] | None,
    progress: Callable[[int], object] | None,
) -> _Tally:
    """Write results as they come; return the counts."""
    tally = _Tally()
    for result in results:
        sink.write(result.lines, result.rejects)
        if gather:
            for note in result.notes:
                gather(note | {"record": note["record"] + tally.written})
        if progress:
            progress(result.position - tally.position)
        tally.read += result.read
        tally.written += result.written
        tally.rejected += len(result.rejects)
        tally.position = result.position
        tally.seen |= result.seen
        tally.known = tally.known or result.known
    return tally


def _check(source: Path, out: Path, rejects: Path, workers: int | None) -> None:
    if formats.suffix(source) != formats.suffix(out):
        raise RecipeError(
            f"--out {out}: records are written as they are read, so the name must end with "
            f"{formats.suffix(source)}"
        )
    if rejects in (out, source):
        raise RecipeError(f"--rejects {rejects}: is the same file as the input or the output")
    if workers is not None and workers < 1:
        raise RecipeError(f"--workers {workers}: give 1 or more")


def _beside(out: Path) -> Path:
    plain = out.with_suffix("") if out.suffix == ".gz" else out
    return plain.with_name(f"{plain.stem}.rejects.jsonl")


def _open(source: Path, stack: ExitStack) -> tuple[int, Callable[[], int], BinaryIO]:
    """Return the size of the file, a function that says how far it was read, and its content."""
    binary = stack.enter_context(encodings.open_binary(source))
    plain = getattr(binary, "fileobj", None) or binary  # gzip: progress is in compressed bytes
    with storage_errors(source):
        return source.stat().st_size, plain.tell, binary


def _chunks(
    records: Iterator[Raw], position: Callable[[], int], seed: int, source: Path
) -> Iterator[Chunk]:
    """Group records; `position` after each group is what progress reports."""
    raws: list[Raw] = []
    characters = first = 0
    for raw in _readable(records, source):
        raws.append(raw)
        characters += raw.size()
        if len(raws) == _RECORDS or characters >= _CHARACTERS:
            yield Chunk(seed, first, raws, position())
            first, raws, characters = first + len(raws), [], 0
    if raws:
        yield Chunk(seed, first, raws, position())


def _readable(records: Iterator[Raw], source: Path) -> Iterator[Raw]:
    import zlib

    try:
        yield from records
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{source}: cannot be read to the end: {error}") from None


def _processes(size: int) -> int:
    import os

    return (os.cpu_count() or 1) if size >= _SMALL else 1


def _results(chunks: Iterator[Chunk], job: Job, workers: int, cluster: bool) -> Iterator[Result]:
    from vesalius.text import pools

    if cluster:
        return pools.on_cluster(job, chunks)
    return pools.in_processes(job, chunks, workers) if workers > 1 else map(job, chunks)
