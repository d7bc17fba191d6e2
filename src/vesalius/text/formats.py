"""Records in text files: one text per line (.txt), JSON Lines (.jsonl), tables (.csv, .tsv).

A format splits a file into raw records, which are cheap to send to another process, and there
reads the texts of a raw record and writes it again with other texts in their place.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from vesalius.errors import DataError

SUFFIXES = (".txt", ".jsonl", ".csv", ".tsv")
_DEFAULT_FIELD = "text"


@dataclass(frozen=True)
class Raw:
    """A record as it stands in the file: `line` is the number of its first line, from 1."""

    line: int
    content: str | list[str]
    reason: str | None = None
    """Why it cannot be read at all."""

    def size(self) -> int:
        """Return the number of characters."""
        return len(self.content) if isinstance(self.content, str) else sum(map(len, self.content))

    def shown(self) -> str:
        """Return the record for the rejects file."""
        return self.content if isinstance(self.content, str) else _row(self.content, ",")[:-1]


def suffix(path: str | Path) -> str:
    """Return ".txt", ".jsonl", ".csv" or ".tsv"; a ".gz" at the end does not count.

    Raises:
        DataError: the file has another suffix.
    """
    path = Path(path)
    found = (Path(path.stem) if path.suffix == ".gz" else path).suffix.lower()
    if found not in SUFFIXES:
        raise DataError(
            f"{path}: the suffix says what a file holds: {', '.join(SUFFIXES)} (and .gz behind it)"
        )
    return found


class Lines:
    """One text per line. Lines end with a line feed alone; other separators belong to the text."""

    newline = "\n"
    header = ""
    fields: tuple[str | None, ...] = (None,)

    def records(self, file: TextIO) -> Iterator[Raw]:
        """Yield the lines without their ends."""
        for number, line in enumerate(file, 1):
            yield Raw(number, line.removesuffix("\n").removesuffix("\r"))

    def texts(self, content: str) -> dict[str | None, str]:
        """Return the text of a line."""
        return {None: content}

    def known(self, content: str) -> list[str]:
        """Return the names of a record's fields: none."""
        return []

    def write(self, content: str, texts: Mapping[str | None, str]) -> str:
        """Return the line with another text."""
        text = texts.get(None, content)
        if "\n" in text:
            raise DataError("the new text holds a line break; use .jsonl or .csv for such texts")
        return text + "\n"


class JsonLines:
    """One JSON object per line. Empty lines are no records."""

    newline = "\n"
    header = ""

    def __init__(self, fields: Sequence[str] | None):
        self.fields: tuple[str | None, ...] = tuple(fields or (_DEFAULT_FIELD,))

    def records(self, file: TextIO) -> Iterator[Raw]:
        """Yield the lines that are not empty."""
        for number, line in enumerate(file, 1):
            if line.strip():
                yield Raw(number, line.removesuffix("\n").removesuffix("\r"))

    def texts(self, content: str) -> dict[str | None, str]:
        """Return the texts of the named fields; a missing one or null has none."""
        record = self._object(content)
        texts = {}
        for field in self.fields:
            value = record.get(str(field))
            if isinstance(value, str):
                texts[field] = value
            elif value is not None:
                raise DataError(f"the field '{field}' holds {json.dumps(value)[:40]}, not a text")
        return texts

    def known(self, content: str) -> list[str]:
        """Return the names of a record's fields."""
        return list(self._object(content))

    def write(self, content: str, texts: Mapping[str | None, str]) -> str:
        """Return the object with other texts; other fields and their order stay."""
        record = self._object(content) | texts
        return json.dumps(record, ensure_ascii=False) + "\n"

    def _object(self, content: str) -> dict:
        try:
            record = json.loads(content)
        except json.JSONDecodeError as error:
            raise DataError(f"not valid JSON: {error.msg} at character {error.pos + 1}") from None
        if not isinstance(record, dict):
            raise DataError("a record is a JSON object: {...}")
        return record


class Table:
    """Comma- or tab-separated values with a line of column names. Quoted cells may hold breaks."""

    newline = ""

    def __init__(self, columns: Sequence[str], fields: Sequence[str], delimiter: str):
        self.columns = tuple(columns)
        self.fields: tuple[str | None, ...] = tuple(fields)
        self.delimiter = delimiter
        self.header = _row(columns, delimiter)

    @classmethod
    def of(cls, file: TextIO, fields: Sequence[str] | None, delimiter: str, path: Path) -> "Table":
        """Read the column names, which are consumed from `file`, and check the wanted ones."""
        try:
            columns = next(csv.reader(_lines_of(file), delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            raise DataError(f"{path}: line 1: not a line of column names: {error}") from None
        wanted = tuple(fields or (_DEFAULT_FIELD,))
        twice = {name for name in columns if columns.count(name) > 1}
        if twice:
            raise DataError(f"{path}: line 1: columns stand twice: {', '.join(sorted(twice))}")
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise DataError(_no_fields(path, missing, columns))
        return cls(columns, wanted, delimiter)

    def records(self, file: TextIO) -> Iterator[Raw]:
        """Yield rows as lists of cells; broken rows with the reason."""
        # The reader is asked for its lines one record at a time, so that `taken` is the record.
        taken: list[str] = []
        reader = csv.reader(_lines_of(file, taken), delimiter=self.delimiter, strict=True)
        line = 2
        while True:
            taken.clear()
            try:
                cells = next(reader)
                raw = Raw(line, cells, self._mistake(cells))
            except StopIteration:
                return
            except csv.Error as error:
                raw = Raw(line, "".join(taken).rstrip("\r\n"), f"not a row: {error}")
            line += len(taken)
            if raw.content:  # an empty line is no record
                yield raw

    def _mistake(self, cells: list[str]) -> str | None:
        if len(cells) == len(self.columns):
            return None
        return f"{len(cells)} cells, but {len(self.columns)} columns"

    def texts(self, content: list[str]) -> dict[str | None, str]:
        """Return the texts of the named columns."""
        return {field: content[self.columns.index(str(field))] for field in self.fields}

    def known(self, content: list[str]) -> list[str]:
        """Return the names of the columns."""
        return list(self.columns)

    def write(self, content: list[str], texts: Mapping[str | None, str]) -> str:
        """Return the row with other texts."""
        cells = list(content)
        for field, text in texts.items():
            cells[self.columns.index(str(field))] = text
        return _row(cells, self.delimiter)


Format = Lines | JsonLines | Table


def format_of(path: Path, file: TextIO, fields: Sequence[str] | None) -> Format:
    """Return the format of an open file; for a table its first line is read from `file`.

    Raises:
        DataError: named fields that a .txt cannot have, or columns that a table lacks.
    """
    kind = suffix(path)
    if kind == ".txt":
        if fields:
            raise DataError(f"{path}: a .txt has no fields; leave --fields out, or give a .jsonl")
        return Lines()
    if kind == ".jsonl":
        return JsonLines(fields)
    return Table.of(file, fields, "," if kind == ".csv" else "\t", path)


def check_fields_seen(path: Path, form: Format, seen: Iterable[str], known: Iterable[str]) -> None:
    """Raise a `DataError` where a named field occurred in no record at all."""
    missing = sorted({str(field) for field in form.fields if field is not None} - set(seen))
    if missing:
        raise DataError(_no_fields(path, missing, known))


def newline_of(path: Path) -> str:
    """Return the `newline` with which to open a file: tables keep breaks inside of cells."""
    return "\n" if suffix(path) in (".txt", ".jsonl") else ""


def _no_fields(path: Path, missing: Sequence[str], known: Iterable[str]) -> str:
    return (
        f"{path}: no field named {', '.join(missing)}; it has {', '.join(known) or 'none'}. "
        "Name the fields that hold text with --fields"
    )


def _lines_of(file: TextIO, taken: list[str] | None = None) -> Iterator[str]:
    # Not `for line in file`: its read-ahead would lose lines when the reader changes hands.
    while line := file.readline():
        if taken is not None:
            taken.append(line)
        yield line


def _row(cells: Sequence[str], delimiter: str) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(cells)
    return line.getvalue()
