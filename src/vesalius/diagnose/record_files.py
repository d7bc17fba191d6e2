"""Files of records as rows: JSON, JSONL, CSV, TSV, Excel, text lines, `datasets` folders, .gz.

A row is a place (file and line, for messages) and a mapping of column name to raw value. What is
wrong with a file is collected in `problems`, so that a reader learns of everything at once.
"""

import gzip
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vesalius.diagnose.record_schema import Schema
from vesalius.diagnose.record_tables import (
    Row,
    columnar_rows,
    dataset_rows,
    excel_rows,
    flatten,
    hf_datasets,
    text_rows,
)
from vesalius.errors import DataError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".xlsx", ".parquet", ".arrow")
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# what lies beside records and is none: descriptions of a set, and the truth of a synthetic cohort
NO_RECORDS = re.compile(r"vesalius-dataset\.json|dataset_infos?\.json|.*\.truth\.jsonl|[~.].*")
_WORD = "|".join(sorted(SPLITS, key=len, reverse=True))
_SPLIT_NAME = re.compile(rf"({_WORD})(?:[-_.\d].*)?", re.IGNORECASE)


@dataclass
class Rows:
    """What the files of a source held; `problems` are lines that could not be read."""

    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_rows(source: str | Path, schema: Schema) -> Rows:
    """Read a file, or a folder that holds train, valid (dev) and test files, into rows.

    Raises:
        DataError: there is no such file, or no file of a known kind in the folder.
        MissingDependencyError: Excel without openpyxl, parquet or arrow without datasets.
    """
    source, found = Path(source), Rows()
    if not source.exists():
        raise DataError(f"{source} does not exist. Give a file or a folder of records.")
    if source.is_dir() and _is_saved_dataset(source):
        _read_saved_dataset(source, found)
        return found
    for path, split in _files(source):
        before = len(found.rows)
        for row in _read_file(path, schema, found.problems):
            found.rows.append(Row(row.place, row.values, split))
        if len(found.rows) == before and not found.problems:
            found.problems.append(f"{path}: holds no record")
    return found


def kind_of(path: Path) -> str | None:
    """Return the suffix that says how to read `path` (without .gz), or None if it is unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else None


def _files(source: Path) -> list[tuple[Path, str | None]]:
    if source.is_file():
        if kind_of(source) is None:
            raise DataError(f"{source} is of no known kind. Known: {', '.join(SUFFIXES)}, or .gz.")
        return [(source, None)]
    known = sorted(
        path
        for path in source.rglob("*")
        if path.is_file() and kind_of(path) and not NO_RECORDS.fullmatch(path.name)
    )
    parts = [(path, split_of(path, source)) for path in known]
    named = [(path, split) for path, split in parts if split]
    if named:
        order = list(dict.fromkeys(SPLITS.values()))
        return sorted(named, key=lambda part: (order.index(part[1]), str(part[0])))
    tables = [path for path in known if kind_of(path) != ".txt"]
    if len(tables) == 1:
        return [(tables[0], None)]
    what = f"holds {', '.join(path.name for path in tables[:8])}" if tables else "holds no records"
    raise DataError(
        f"{source} {what}. Name one file, or call the files train, valid and test "
        f"({', '.join(SUFFIXES)}, or .gz)."
    )


def split_of(path: Path, folder: Path) -> str | None:
    """Return train, valid or test as the file or its folder is called, else None."""
    for name in (path.name, *(part.name for part in path.relative_to(folder).parents)):
        match = _SPLIT_NAME.fullmatch(name)
        if match:
            return SPLITS[match[1].lower()]
    return None


def _read_file(path: Path, schema: Schema, problems: list[str]) -> Iterator[Row]:
    kind = kind_of(path)
    if kind == ".xlsx":
        yield from excel_rows(path, schema, problems)
    elif kind in (".parquet", ".arrow"):
        yield from columnar_rows(path, kind)
    else:
        text = decode(path, schema.encoding)
        if kind == ".json":
            yield from _json(path, text)
        elif kind in (".jsonl", ".ndjson"):
            yield from _json_lines(path, text, problems)
        elif kind == ".txt":
            for number, line in enumerate(text.splitlines(), 1):
                yield Row(f"{path}:{number}", {"text": line})
        else:
            yield from text_rows(path, text, kind, schema, problems)


def decode(path: Path, encoding: str | None = None) -> str:
    """Return the text of a file: UTF-8, UTF-16 with a mark, or GB18030 where it is plausible.

    GB18030 decodes almost any bytes, so it is taken only where most of what is not ASCII is an
    everyday character (one of GB 2312).

    Raises:
        DataError: it is none of these, or not what `encoding` says; with the line.
    """
    raw = path.read_bytes()
    if path.suffix.lower() == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError) as error:
            raise DataError(f"{path} is no whole gzip file: {error}. Copy it again.") from error
    if encoding is None and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    try:
        return raw.decode(encoding or "utf-8-sig")
    except LookupError as error:
        raise DataError(f"There is no encoding '{encoding}'. Try utf-8 or gb18030.") from error
    except UnicodeDecodeError as error:
        text = None if encoding else _chinese(raw)
        if text is not None:
            return text
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: byte 0x{raw[error.start]:02x} is not {encoding or 'UTF-8'}. Save the "
            "file as UTF-8, or name its encoding: encoding: gb18030"
        ) from error


def _chinese(raw: bytes) -> str | None:
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        return None
    beyond = [sign for sign in text if ord(sign) > 127]
    everyday = "".join(beyond).encode("gb2312", errors="ignore")
    return text if len(everyday) >= 0.8 * 2 * len(beyond) else None


def _json_lines(path: Path, text: str, problems: list[str]) -> Iterator[Row]:
    # str.splitlines would also cut at U+2028, which JSON strings may hold
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            values = json.loads(line)
        except ValueError as error:
            problems.append(f"{place}: no JSON: {error}")
            continue
        if isinstance(values, dict):
            yield Row(place, flatten(values))
        else:
            problems.append(f"{place}: a record must be an object, this is {_kind(values)}")


def _json(path: Path, text: str) -> Iterator[Row]:
    """Read a list of records, or a mapping of id to record, keeping the line of each."""
    start = _skip(text, 0)
    opening = text[start : start + 1]
    if opening not in ("[", "{"):
        raise DataError(f"{path}: not a list of records and not a mapping of id to record")
    decoder = json.JSONDecoder()
    at, closing, line, counted = _skip(text, start + 1), "]" if opening == "[" else "}", 1, 0
    while text[at : at + 1] != closing:
        line, counted = line + text.count("\n", counted, at), at
        place, key = f"{path}:{line}", None
        try:
            if opening == "{":
                key, at = decoder.raw_decode(text, at)
                at = _expect(text, at, ":")
            values, at = decoder.raw_decode(text, at)
            at = _skip(text, at)
            if text[at : at + 1] != closing:
                at = _expect(text, at, ",")
                if text[at : at + 1] == closing:
                    raise ValueError(f"nothing stands between ',' and '{closing}'")
        except ValueError as error:
            raise DataError(f"{place}: no JSON: {error}") from error
        if not isinstance(values, dict):
            raise DataError(f"{place}: a record must be an object, this is {_kind(values)}")
        yield Row(place, flatten(values) if key is None else {**flatten(values), "id": key})
    if text[at + 1 :].strip():
        raise DataError(f"{path}: no JSON: more text stands after the last '{closing}'")


def _skip(text: str, at: int) -> int:
    return re.compile(r"\s*").match(text, at).end()


def _expect(text: str, at: int, sign: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != sign:
        raise ValueError(f"'{sign}' expected, found '{text[at : at + 12]}'")
    return _skip(text, at + 1)


def _is_saved_dataset(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def _read_saved_dataset(folder: Path, found: Rows) -> None:
    stored = hf_datasets().load_from_disk(str(folder))
    parts = dict(stored) if (folder / "dataset_dict.json").is_file() else {None: stored}
    for name, table in parts.items():
        split = SPLITS.get(str(name).lower()) if name else None
        place = f"{folder}/{name}" if name else str(folder)
        found.rows += [Row(row.place, row.values, split) for row in dataset_rows(table, place)]


def _kind(value: Any) -> str:
    kinds = {str: "a string", list: "a list", int: "a number", float: "a number", bool: "a truth"}
    return kinds.get(type(value), "nothing" if value is None else type(value).__name__)
