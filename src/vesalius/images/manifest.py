"""Tables that list cases: CSV, TSV and JSON lines; and plain lists of label names.

Columns: `image` (several files joined by `;`) or `image_0`, `image_1`, ...; `mask` or `label`;
optionally `id`, `group` or `patient`, and `split`. Upper and lower case are alike, other columns
are ignored. Relative paths start at the table's folder.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.images.image import stem

SPLITS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
"""How parts of a data set are called, and our names for them."""

_TABLES = {".csv", ".tsv", ".jsonl", ".ndjson"}


@dataclass(frozen=True)
class _Row:
    """One row: its line in the file and its fields by lower-case name, as text or lists."""

    line: int
    fields: Mapping[str, str | list[str]]

    def first(self, *names: str) -> str:
        """Return the first field that is there and not empty, else ""."""
        for name in names:
            value = self.fields.get(name)
            if value not in (None, "", []):
                return str(value).strip()
        return ""


def is_table(path: Path) -> bool:
    """Return whether the suffix is one of a table."""
    return path.suffix.lower() in _TABLES


def find(path: Path) -> tuple[list[Case], list[str]]:
    """Return the cases of a table, and what is wrong with it, by line number."""
    text = read_text(path)
    rows, problems = (_csv_rows if path.suffix.lower() in (".csv", ".tsv") else _json_rows)(
        text, path
    )
    cases = []
    for row in rows:
        case, wrong = _case(row, path)
        problems += wrong
        if case is not None:
            cases.append(case)
    if not rows and not problems:
        problems.append(f"{path} has no rows. Add one per image.")
    return _with_ids(cases, path.parent), problems


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8 (with or without a mark), UTF-16 or GBK.

    Raises:
        DataError: it is none of these.
    """
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    # GB 18030 contains GBK; Excel in Chinese saves CSV so
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path} is neither UTF-8 nor GBK text. Save it as UTF-8.")


def labels_from_text(path: Path) -> dict[str, int]:
    """Return name -> label of a list of names; see `declared_labels`.

    Raises:
        DataError: no names, or a name or number that occurs twice.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    numbered = [re.fullmatch(r"(\d+)[\s:,;=]+(.+)", line) for line in lines]
    if lines and all(numbered):
        pairs = [(match[2].strip(), int(match[1])) for match in numbered]
    else:
        start = 0 if lines and lines[0].lower() in ("background", "背景") else 1
        pairs = [(name, number) for number, name in enumerate(lines, start=start)]
    names, numbers = {name for name, _ in pairs}, {number for _, number in pairs}
    if not pairs or len(names) < len(pairs) or len(numbers) < len(pairs):
        raise DataError(f"{path} needs one name per line, each name and number once.")
    return dict(pairs)


def _csv_rows(text: str, path: Path) -> tuple[list[_Row], list[str]]:
    header = text.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" or "\t" in header else ","
    if delimiter == "," and "," not in header and ";" in header:
        delimiter = ";"
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    names = [name.strip().lower() for name in next(reader, [])]
    if not any(name == "image" or re.fullmatch(r"image_\d+", name) for name in names):
        return [], [f"{path} has the columns {names}; it needs image (or image_0, image_1, ...)."]
    rows, problems = [], []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(names):
            problems.append(
                f"{path}, line {reader.line_num}: {len(cells)} cells under {len(names)} columns. "
                "Put values that contain the separator in quotes."
            )
            continue
        fields = dict(zip(names, (cell.strip() for cell in cells), strict=False))
        rows.append(_Row(reader.line_num, fields))
    return rows, problems


def _json_rows(text: str, path: Path) -> tuple[list[_Row], list[str]]:
    rows, problems = [], []
    for line, content in enumerate(text.splitlines(), start=1):
        if not content.strip():
            continue
        try:
            fields = json.loads(content)
        except ValueError as error:
            problems.append(f"{path}, line {line}: not valid JSON ({error}). Correct it.")
            continue
        if not isinstance(fields, dict):
            problems.append(f'{path}, line {line}: write an object, {{"image": ..., "mask": ...}}.')
            continue
        rows.append(_Row(line, {str(key).lower(): value for key, value in fields.items()}))
    return rows, problems


def _case(row: _Row, table: Path) -> tuple[Case | None, list[str]]:
    place = f"{table}, line {row.line}"
    images = tuple(table.parent / name for name in _images(row))
    if not images:
        return None, [f"{place}: no image is named. Fill the column or remove the row."]
    mask = row.first("mask", "label")
    target = table.parent / mask if mask else None
    problems = [
        f"{place}: {path} does not exist. Correct the path or remove the row."
        for path in (*images, target)
        if path is not None and not path.exists()
    ]
    split = row.first("split")
    if split and split.lower() not in SPLITS:
        problems.append(f"{place}: the split '{split}' is none of train, valid, test.")
    name = row.first("id")
    if set(name) & set('/\\:*?"<>|'):
        problems.append(f"{place}: the id '{name}' cannot name a file. Leave out / \\ : * ? \" < >")
    group = row.first("group", "patient") or None
    extra = {"row": row.line, "split": SPLITS.get(split.lower())}
    return (Case(name, images, target, group, extra) if not problems else None), problems


def _images(row: _Row) -> list[str]:
    """Return the names of the channel files, in order."""
    value = row.fields.get("image")
    if value:
        names = value if isinstance(value, list) else str(value).split(";")
        return [str(name).strip() for name in names if str(name).strip()]
    numbered = [key for key in row.fields if re.fullmatch(r"image_\d+", key)]
    numbered.sort(key=lambda key: int(key.rsplit("_", 1)[1]))
    return [row.first(key) for key in numbered if row.first(key)]


def _with_ids(cases: list[Case], folder: Path) -> list[Case]:
    """Name cases without an id by their file, or by its path where several files are alike."""
    counts = Counter(stem(case.input[0]) for case in cases if not case.id)
    named = []
    for case in cases:
        path = case.input[0]
        name = case.id or stem(path)
        if not case.id and counts[name] > 1 and path.is_relative_to(folder):
            name = "_".join([*path.relative_to(folder).parent.parts, stem(path)])
        named.append(replace(case, id=name))
    return named
