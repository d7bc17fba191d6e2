"""Rows of tables: CSV, TSV, Excel, and tables of the `datasets` package (parquet, arrow)."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesalius.diagnose.record_schema import (
    KNOWN_FIELDS,
    KNOWN_GROUPS,
    KNOWN_IDS,
    KNOWN_LABELS,
    Schema,
)
from vesalius.errors import DataError, MissingDependencyError

# csv refuses longer cells unless told; whole stays in hospital reach a few hundred thousand
LONGEST_CELL = 2**27


@dataclass(frozen=True)
class Row:
    """One record as it stands in a file."""

    place: str
    values: dict[str, Any]
    split: str | None = None


def flatten(values: dict[str, Any]) -> dict[str, Any]:
    """Bring the entries of nested mappings up, under their own names.

    A name that is already taken keeps its path:
    >>> flatten({"id": "7", "note": {"主诉": "咳嗽", "id": "n1"}})
    {'id': '7', '主诉': '咳嗽', 'note.id': 'n1'}
    """
    # a mapping in place of labels is a mistake that must be seen, not taken apart
    nested = {n for n, value in values.items() if isinstance(value, dict) and n not in KNOWN_LABELS}
    flat = {name: value for name, value in values.items() if name not in nested}
    for name, value in values.items():
        if name in nested:
            for inner, content in flatten(value).items():
                flat[f"{name}.{inner}" if inner in flat else inner] = content
    return flat


def text_rows(
    path: Path, text: str, kind: str, schema: Schema, problems: list[str]
) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file whose content is `text`."""
    return _table(path, _cells(text, kind), schema, problems)


def _cells(text: str, kind: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each line of a table."""
    first = text.split("\n", 1)[0]
    delimiter = "\t" if kind == ".tsv" else max(",;\t|", key=first.count)
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    quoted = delimiter != "\t" or _quotes_as_csv_does(text)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )
    start = 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield start, cells
        start = reader.line_num + 1


def _quotes_as_csv_does(text: str) -> bool:
    """Say whether quotation marks in a tab-separated file are quoting or part of the texts.

    A program that quotes puts every cell with a mark into marks. One that does not leaves marks
    anywhere; then all lines have the same number of tabs, and some cell has a stray mark.
    """
    lines = text.splitlines()
    marked = [cell for line in lines if '"' in line for cell in line.split("\t") if '"' in cell]
    stray = any(not re.fullmatch(r'"(?:[^"]|"")*"', cell) for cell in marked)
    return not (stray and len({line.count("\t") for line in lines if line.strip()}) == 1)


def _table(
    path: Path, lines: Iterator[tuple[int, list[str]]], schema: Schema, problems: list[str]
) -> Iterator[Row]:
    header = list(schema.columns or ())
    for number, cells in lines:
        if not header:
            header = [cell.strip() for cell in cells]
            _check_header(header, f"{path}:{number}", schema)
        elif len(cells) != len(header):
            problems.append(
                f"{path}:{number}: {len(cells)} columns, but {len(header)} are expected "
                f"({', '.join(header[:6])})"
            )
        else:
            yield Row(f"{path}:{number}", dict(zip(header, cells, strict=True)))


def _check_header(header: list[str], place: str, schema: Schema) -> None:
    known = {*(name for same in KNOWN_FIELDS for name in same), *KNOWN_IDS}
    known |= {*KNOWN_LABELS, *KNOWN_GROUPS, *(schema.fields or ()), "text"}
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise DataError(f"{place}: several columns are called {', '.join(repeated)}. Rename them.")
    odd = [name for name in header if len(name) > 40 or re.fullmatch(r"[\d.,]+", name)]
    if odd and not known & {name.lower() for name in header}:
        raise DataError(
            f"{place}: this looks like data, not like names of columns ('{odd[0][:40]}'). Name the "
            "columns in the recipe: columns: [text, labels, id]"
        )


def excel_rows(path: Path, schema: Schema, problems: list[str]) -> Iterator[Row]:
    """Yield the rows of one sheet of an Excel file."""
    try:
        import openpyxl
    except ImportError as error:
        raise MissingDependencyError(
            "openpyxl", "Reading Excel files", 'pip install "vesalius[excel]"'
        ) from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # openpyxl raises many kinds for a broken file
        raise DataError(f"{path} is no Excel file that openpyxl reads: {error}") from error
    try:
        if schema.sheet and schema.sheet not in book.sheetnames:
            raise DataError(f"{path} has no sheet '{schema.sheet}'; it has {book.sheetnames}.")
        sheet = book[schema.sheet or book.sheetnames[0]]
        rows = (list(row) for row in sheet.iter_rows(values_only=True))
        yield from _table(path, _trimmed(rows), schema, problems)
    finally:
        book.close()


def _trimmed(rows: Iterator[list[Any]]) -> Iterator[tuple[int, list[Any]]]:
    """Leave out empty rows and the empty columns that Excel keeps on the right of a table."""
    width = None
    for number, cells in enumerate(rows, 1):
        if all(cell is None for cell in cells):
            continue
        if width is None:
            width = max(i for i, cell in enumerate(cells) if cell is not None) + 1
            cells = ["" if cell is None else str(cell) for cell in cells]
        beyond = cells[width:]
        if all(cell is None or cell == "" for cell in beyond):
            cells = cells[:width] + [None] * (width - len(cells))
        yield number, cells


def hf_datasets() -> Any:
    """Import the `datasets` package of Hugging Face, or say how to install it."""
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError(
            "datasets",
            "Reading parquet, arrow or saved datasets",
            'pip install "vesalius[datasets-hf]"',
        ) from error
    return datasets


def columnar_rows(path: Path, kind: str) -> Iterator[Row]:
    """Yield the rows of a parquet or arrow file."""
    datasets = hf_datasets()
    if kind == ".arrow":
        yield from dataset_rows(datasets.Dataset.from_file(str(path)), str(path))
    else:
        # no copy in the user's cache: the file is read once
        table = datasets.Dataset.from_parquet(str(path), keep_in_memory=True)
        yield from dataset_rows(table, str(path))


def dataset_rows(table: Any, place: str) -> Iterator[Row]:
    """Yield the rows of a `datasets.Dataset`; class numbers become their names."""
    names = {name: _class_names(feature) for name, feature in table.features.items()}
    for number, values in enumerate(table, 1):
        for column, classes in names.items():
            if classes and values[column] is not None:
                values[column] = _named(values[column], classes)
        yield Row(f"{place}, row {number}", flatten(values))


def _class_names(feature: Any) -> list[str] | None:
    inner = getattr(feature, "feature", feature)
    return getattr(inner, "names", None)


def _named(value: Any, classes: list[str]) -> Any:
    if isinstance(value, list):
        return [classes[number] for number in value]
    return None if value < 0 else classes[value]  # -1 is "not labelled" there
