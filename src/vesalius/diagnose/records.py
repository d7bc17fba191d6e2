"""Medical records: named texts, an identifier, and the labels of the patient.

`read` takes JSON (a list, or a mapping of id to record), JSONL, CSV, TSV, Excel, lines of text,
folders saved by Hugging Face `datasets`, parquet and arrow, each also as .gz where it is text, or
a folder of such files called train, valid (dev) and test. Everything that is wrong is reported at
once, with file and line.
"""

import ast
import datetime
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from vesalius import files
from vesalius.diagnose.record_files import Row, Rows, flatten, read_rows
from vesalius.diagnose.record_schema import GOEMOTIONS, Columns, Schema, resolve
from vesalius.errors import DataError

__all__ = [
    "GOEMOTIONS",
    "Columns",
    "Reading",
    "Record",
    "Schema",
    "describe",
    "read",
    "read_all",
    "write",
]

# the strongest first: a weaker sign may be part of a name ("Diabetes mellitus, type 2")
SEPARATORS = (("|", "｜"), (";", "；"), ("\t",), ("、",), (",", "，"))
# a message of a hundred thousand lines helps nobody; the rest is counted
MOST_PROBLEMS = 200


@dataclass(frozen=True)
class Record:
    """One medical record.

    Attributes:
        id: its name, unique within a source.
        fields: name of the field -> its text, in the order of the schema; missing ones left out.
        labels: names of the patient's diseases; None where nobody has labelled it.
        group: what must stay on one side of a split (the patient); None: the record by itself.
        place: file and line, for messages.
        split: train, valid or test, where the source says so.
    """

    id: str
    fields: Mapping[str, str]
    labels: tuple[str, ...] | None = None
    group: str | None = None
    place: str = ""
    split: str | None = None

    @property
    def text(self) -> str:
        """All fields, one a line, each under its name; the text alone where there is one field."""
        if len(self.fields) == 1:
            return next(iter(self.fields.values()))
        return "\n".join(f"{name}：{text}" for name, text in self.fields.items())


@dataclass(frozen=True)
class Reading:
    """Records, what each column was taken for, and how many records lack each field."""

    records: list[Record]
    columns: Columns
    missing: dict[str, int]


def read(
    source: str | Path | Iterable[Mapping[str, Any]], schema: Schema | None = None
) -> list[Record]:
    """Read the records of a file, of a folder, or of mappings in memory.

    Numbers become text, nested mappings come up under their own names, surrounding space goes.
    Missing fields are fine; `read_all` counts them.

    Raises:
        DataError: unreadable lines, missing or duplicate ids, records without any text, labels
            that are no strings; all at once, with file and line.
        MissingDependencyError: the file's kind needs a package that is not installed.
    """
    return read_all(source, schema).records


def read_all(
    source: str | Path | Iterable[Mapping[str, Any]], schema: Schema | None = None
) -> Reading:
    """Read as `read` does, and say which columns were used and what is missing."""
    schema = schema or Schema()
    in_memory = not isinstance(source, str | Path)
    found = _rows_of(source) if in_memory else read_rows(source, schema)
    where = "the records given" if in_memory else str(source)
    if not found.rows:
        raise DataError(f"{where}: no record could be read", found.problems)
    columns = resolve((name for row in found.rows for name in row.values), schema, source=where)
    columns = _without_repeating_id(columns, schema, found.rows)
    names = (
        None if schema.label_names is None else _label_names(schema, None if in_memory else where)
    )
    problems = list(found.problems)
    parse = _LabelParser(_separator(found.rows, columns.label, schema), names)
    records = [_record(row, columns, parse, problems) for row in found.rows]
    _check_ids(records, problems)
    if problems:
        more = len(problems) - MOST_PROBLEMS
        shown = problems[:MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        raise DataError(f"{where}: {len(problems)} problems in {len(records)} records", shown)
    missing = {
        name: sum(name not in record.fields for record in records) for name in columns.fields
    }
    return Reading(records, columns, missing)


def write(records: Iterable[Record], path: str | Path) -> None:
    """Write records as JSONL, atomically: id, fields, labels, group and split where known.

    Raises:
        StorageError: the file cannot be written; an older one is untouched.
    """
    with files.replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for record in records:
            row: dict[str, Any] = {"id": record.id, **record.fields}
            if record.labels is not None:
                row["labels"] = list(record.labels)
            row |= {} if record.group is None else {"patient_id": record.group}
            row |= {} if record.split is None else {"split": record.split}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def describe(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Return per field: how many records have it, and the length in characters (whole too).

    Keys of each entry: count, median, p95, max. The entry "" is the record as a whole.
    """
    names = dict.fromkeys(name for record in records for name in record.fields)
    lengths = {name: [len(r.fields[name]) for r in records if name in r.fields] for name in names}
    lengths[""] = [sum(map(len, record.fields.values())) for record in records]
    return {name: _spread(values) for name, values in lengths.items() if values}


def _spread(values: list[int]) -> dict[str, float]:
    cuts = quantiles(values, n=20, method="inclusive") if len(values) > 1 else values * 19
    return {"count": len(values), "median": cuts[9], "p95": cuts[18], "max": max(values)}


def _rows_of(source: Iterable[Any]) -> Rows:
    found = Rows()
    for number, item in enumerate(source, 1):
        if isinstance(item, Mapping):
            found.rows.append(Row(f"record {number}", flatten(dict(item))))
        else:
            found.problems.append(
                f"record {number}: a mapping is needed, not {type(item).__name__}"
            )
    return found


def _without_repeating_id(columns: Columns, schema: Schema, rows: list[Row]) -> Columns:
    """Take the patient's number as the id where there is no other and it does not repeat."""
    if columns.id or not columns.group or schema.id:
        return columns
    values = [_text(row.values.get(columns.group)) for row in rows]
    if len(set(values)) < len(values):
        return columns
    return Columns(columns.fields, columns.group, columns.label, columns.group, columns.ignored)


def _record(row: Row, columns: Columns, parse: "_LabelParser", problems: list[str]) -> Record:
    texts = {name: _text(row.values.get(name)) for name in columns.fields}
    fields = {name: text for name, text in texts.items() if text}
    if not fields:
        problems.append(f"{row.place}: empty, none of {', '.join(columns.fields)} has text")
    name = _text(row.values.get(columns.id)) if columns.id else row.place
    if not name:
        problems.append(f"{row.place}: '{columns.id}' is missing")
    try:
        labels = parse(row.values.get(columns.label)) if columns.label else None
    except ValueError as error:
        problems.append(f"{row.place}: {columns.label}: {error}")
        labels = None
    group = _text(row.values.get(columns.group)) if columns.group else ""
    return Record(name, fields, labels, group or None, row.place, row.split)


def _text(value: Any) -> str:
    """Return a cell as text; nothing, NaN and blanks are empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    if isinstance(value, list | tuple):
        return "\n".join(text for text in map(_text, value) if text)
    return str(value).strip()


def _check_ids(records: list[Record], problems: list[str]) -> None:
    first: dict[str, Record] = {}
    for record in records:
        if record.id and first.setdefault(record.id, record) is not record:
            other = first[record.id].place
            problems.append(f"{record.place}: id '{record.id}' stands already at {other}")


class _LabelParser:
    """Turn the content of a label cell into names."""

    def __init__(self, separator: Sequence[str] | None, names: Sequence[str] | None):
        self.separator, self.names = separator, names

    def __call__(self, value: Any) -> tuple[str, ...] | None:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, str):
            if not value.strip():
                return None
            value = _literal(value) if value.lstrip().startswith("[") else self._parts(value)
        elif self.names is not None and isinstance(value, int):
            value = [value]
        if not isinstance(value, list | tuple):
            raise ValueError(f"a list or a string is needed, not {value!r}")
        found = [self._name(item) for item in value]
        return tuple(dict.fromkeys(found))

    def _parts(self, value: str) -> list[str]:
        for sign in (self.separator or ())[1:]:
            value = value.replace(sign, self.separator[0])
        parts = value.split(self.separator[0]) if self.separator else [value]
        return [part.strip() for part in parts if part.strip()]

    def _name(self, item: Any) -> str:
        if self.names is None:
            if not isinstance(item, str):
                raise ValueError(f"label {item!r} is no string; name the numbers by label_names")
            if not item.strip():
                raise ValueError("a label is empty")
            return item.strip()
        text = _text(item)
        if not text.isdecimal() or int(text) >= len(self.names):
            raise ValueError(f"label {item!r} is no number from 0 to {len(self.names) - 1}")
        return self.names[int(text)]


def _literal(value: str) -> Any:
    """Read a list that was written into a cell, as JSON or as Python shows it."""
    try:
        return json.loads(value)
    except ValueError:
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"{value[:60]!r} is no list") from error


def _separator(rows: list[Row], label: str | None, schema: Schema) -> Sequence[str] | None:
    if schema.separator:
        return (schema.separator,)
    cells = [row.values.get(label) for row in rows] if label else []
    texts = [cell for cell in cells if isinstance(cell, str) and not cell.lstrip().startswith("[")]
    for signs in SEPARATORS:
        if any(sign in text for text in texts for sign in signs):
            return signs
    return None


def _label_names(schema: Schema, source: str | None) -> list[str]:
    path = Path(str(schema.label_names))
    base = Path(source) if source else Path()
    beside = (base if base.is_dir() else base.parent) / path
    path = beside if beside.is_file() else path
    if not path.is_file():
        raise DataError(f"label_names: there is no file {beside}")
    names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    while names and not names[-1]:
        names.pop()
    if not all(names) or len(set(names)) < len(names):
        raise DataError(f"{path}: a line is empty or a name stands twice")
    return names
