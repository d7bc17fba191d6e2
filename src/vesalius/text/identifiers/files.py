"""De-identify a file of records: alone by their texts, or with the patient known from a column."""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vesalius.errors import DataError, RecipeError
from vesalius.text import encodings, formats, sinks, streams
from vesalius.text.chunks import Chunk, Job, Result
from vesalius.text.personal import Deidentifier, counted

_RECORDS = 256


class DeidentifyWork:
    """The work of `streams.run`: one text in, one without personal data out; notes count kinds."""

    draws = False

    def __init__(
        self, deidentifier: Deidentifier, *, patient: str | None = None, known: Sequence[str] = ()
    ):
        self.deidentifier, self.patient, self.known = deidentifier, patient, tuple(known)

    def __call__(self, text: str, rng: random.Random) -> list[streams.Output]:
        """Return the text without personal data."""
        made = self.deidentifier(text, patient=self.patient, known=self.known)
        return [streams.Output(made.text, {"kinds": dict(counted(made.spans))})]


class _PatientJob(Job):
    """Knows whose each record is, and what the patient's name is, from the record's own columns."""

    def __init__(
        self,
        form: formats.Format,
        columns: formats.Format,
        deidentifier: Deidentifier,
        patient: str | None,
        names: Sequence[str],
    ):
        super().__init__(form, DeidentifyWork(deidentifier))
        self._columns, self._patient, self._names = columns, patient, tuple(names)

    def _record(self, raw: Any, rng: random.Random, result: Result, seen: set[str]) -> list[bytes]:
        if raw.reason is None:
            self.work = self._work_for(self._columns.texts(raw.content))
        return super()._record(raw, rng, result, seen)

    def _work_for(self, columns: Mapping) -> DeidentifyWork:
        known = [columns.get(name, "").strip() for name in self._names]
        patient = columns.get(self._patient, "").strip() if self._patient else ""
        if self._patient and not patient:
            raise DataError(f"'{self._patient}' is empty: whose record this is cannot be known")
        return DeidentifyWork(self.work.deidentifier, patient=patient or None, known=known)


def deidentify_file(
    source: str | Path,
    deidentifier: Deidentifier,
    *,
    out: str | Path,
    fields: Sequence[str] | None = None,
    patient: str | None = None,
    names: Sequence[str] = (),
    gather: Callable[[Mapping], object] | None = None,
    **options: Any,
) -> streams.Summary:
    """Write a file without personal data in the named fields.

    Args:
        source: .txt, .jsonl, .csv or .tsv, each also as .gz.
        deidentifier: what to do.
        out: where to write, in the same format.
        fields: whose texts are worked on; other columns stay as they are.
        patient: column that says whose the record is, so that each patient's dates move by a number
            of days of their own. It stays as it is: replace it too if it is an identifier.
        names: columns that hold names of persons; these are replaced in the texts and in their own
            columns.
        gather: called with {"line", "record", "field", "kinds": {kind: count}} of each text.
        options: of `streams.run`; with `patient` or `names` only `rejects` and `encoding`.

    Raises:
        DataError, RecipeError, StorageError: as `streams.run`.
    """
    if not patient and not names:
        work = DeidentifyWork(deidentifier)
        return streams.run(source, work, out=out, fields=fields, gather=gather, **options)
    source, out = Path(source), Path(out)
    if formats.suffix(source) == ".txt":
        raise RecipeError(f"{source}: a .txt has no columns; --patient and --names need them")
    if formats.suffix(source) != formats.suffix(out):
        raise RecipeError(f"{out}: the name must end with {formats.suffix(source)}")
    return _by_record(
        source, deidentifier, out, fields or ["text"], patient, names, gather, options
    )


def _by_record(
    source: Path,
    deidentifier: Deidentifier,
    out: Path,
    fields: Sequence[str],
    patient: str | None,
    names: Sequence[str],
    gather: Callable[[Mapping], object] | None,
    options: Mapping[str, Any],
) -> streams.Summary:
    beside = out.with_name(f"{out.name.split('.')[0]}.rejects.jsonl")
    rejects = Path(options.get("rejects") or beside)
    encoding = options.get("encoding") or encodings.detect(source)
    columns = [*([patient] if patient else []), *names]
    read = written = rejected = 0
    seen: set[str] = set()
    known: tuple[str, ...] = ()
    with ExitStack() as stack:
        binary = stack.enter_context(encodings.open_binary(source))
        file = encodings.decoded(binary, encoding, newline=formats.newline_of(source))
        form = formats.format_of(source, file, list(dict.fromkeys([*fields, *names])))
        job = _PatientJob(form, _other_columns(form, columns), deidentifier, patient, names)
        sink = stack.enter_context(sinks.Sinks(out, rejects))
        sink.header(form.header)
        for chunk in _chunks(form, file):
            result = job(chunk)
            sink.write(result.lines, result.rejects)
            for note in result.notes if gather else ():
                gather(note | {"record": note["record"] + written})
            read, written = read + result.read, written + result.written
            rejected += len(result.rejects)
            seen, known = seen | result.seen, known or result.known
        if read > rejected:
            formats.check_fields_seen(source, form, seen, known)
    return streams.Summary(read, written, rejected, encoding, rejects if rejected else None)


def _other_columns(form: formats.Format, columns: Sequence[str]) -> formats.Format:
    if isinstance(form, formats.Table):
        missing = [name for name in columns if name not in form.columns]
        if missing:
            raise DataError(
                f"there is no column {', '.join(missing)}; there are {', '.join(form.columns)}"
            )
        return formats.Table(form.columns, columns, form.delimiter)
    return formats.JsonLines(columns)


def _chunks(form: formats.Format, file: Any) -> Any:
    raws, first = [], 0
    for raw in form.records(file):
        raws.append(raw)
        if len(raws) == _RECORDS:
            yield Chunk(0, first, raws, 0)
            raws, first = [], first + len(raws)
    if raws:
        yield Chunk(0, first, raws, 0)
