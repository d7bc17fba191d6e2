"""Which column of a table of records is what: fields, identifier, labels, group.

Admission notes are known by their usual Chinese and English headings; any other table works by
naming its columns. Importing this module imports no numpy and no torch.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import Field

from vesalius.block import Block
from vesalius.errors import DataError

# In the order in which an admission note is written; each entry lists names of the same field.
KNOWN_FIELDS = (
    ("性别", "sex", "gender"),
    ("年龄", "age"),
    ("主诉", "chief complaint", "cc"),
    ("现病史", "history of present illness", "present illness", "hpi"),
    ("既往史", "past medical history", "past history", "medical history", "pmh"),
    ("个人史", "personal history", "social history"),
    ("婚育史", "marital history", "obstetric history"),
    ("月经史", "menstrual history"),
    ("过敏史", "allergies", "allergy history"),
    ("家族史", "family history"),
    ("入院情况", "admission status", "condition on admission"),
    ("体格检查", "查体", "physical examination", "physical exam"),
    ("专科检查", "specialist examination"),
    ("辅助检查", "auxiliary examination", "auxiliary examinations", "investigations"),
)
KNOWN_IDS = (
    *("emr_id", "id", "record_id", "病历号", "病案号", "住院号", "就诊号", "病历编号"),
    *("note_id", "hadm_id", "visit_id", "key", "uid"),
)
KNOWN_GROUPS = ("patient_id", "group", "患者编号", "患者id", "病人编号", "subject_id", "person_id")
KNOWN_LABELS = (
    *("diseases", "labels", "诊断", "疾病", "标签", "疾病诊断", "出院诊断", "诊断结果"),
    *("disease", "label", "diagnoses", "diagnosis"),
)
# What other programs write beside the text; never text, unless the recipe names it as a field.
NEVER_FIELDS = ("split", "truth", "probabilities", "evidence", "index", "unnamed: 0", "")


class Schema(Block):
    """Which columns of the records are what, and how the files are written."""

    fields: tuple[str, ...] | None = Field(None, min_length=1)
    """columns whose text is used, in this order; null: the known headings of admission notes that
    are present (性别 年龄 主诉 现病史 既往史 体格检查 辅助检查 ..., or their English names), else
    every column that is neither id, label nor group"""
    id: str | None = None
    """column that names the record; null: emr_id, id, 病历号 ... where present, else file:line"""
    label: str | None = None
    """column of the labels; null: diseases, labels, 诊断 ... where present"""
    group: str | None = None
    """column of what must stay together (the patient); null: patient_id, group ... where present"""
    separator: str | None = None
    """what parts labels in one string; null: the first of | ; tab 、 , found in the label column
    (full-width forms count as the same)"""
    label_names: str | None = None
    """file with one label name per line, where labels are numbers from 0; seen from the source"""
    columns: tuple[str, ...] | None = Field(None, min_length=1)
    """names of the columns of tables that have no header line"""
    sheet: str | None = None
    """sheet of an Excel file; null: the first"""
    encoding: str | None = None
    """of text files; null: UTF-8, UTF-16 with a byte order mark, or GB18030, by their bytes"""


GOEMOTIONS = Schema(
    columns=("text", "labels", "id"), separator=",", label_names="labels.txt", fields=("text",)
)
"""The layout of GoEmotions (Demszky et al. 2020): text TAB numbers TAB key, names in labels.txt."""


@dataclass(frozen=True)
class Columns:
    """What the columns of a source turned out to be; `ignored` are those that nothing uses."""

    fields: tuple[str, ...]
    id: str | None
    label: str | None
    group: str | None
    ignored: tuple[str, ...]


def resolve(names: Iterable[str], schema: Schema, *, source: object = "the source") -> Columns:
    """Decide what each column is.

    Raises:
        DataError: a column that the schema names is missing, or no column is left for the text.
    """
    names = tuple(dict.fromkeys(names))
    _require_named(names, schema, source)
    roles = {
        "id": schema.id or _first(names, KNOWN_IDS),
        "label": schema.label or _first(names, KNOWN_LABELS),
        "group": schema.group or _first(names, KNOWN_GROUPS),
    }
    if schema.fields:
        # a column named as text is text, whatever it is called
        roles = {
            role: name
            for role, name in roles.items()
            if getattr(schema, role) or name not in schema.fields
        }
    taken = {name for name in roles.values() if name}
    fields = schema.fields or _known_fields(names, taken) or _others(names, taken)
    if not fields:
        raise DataError(
            f"{source}: no column holds text; it has {', '.join(names) or 'no columns'}. "
            "Name the columns that do: fields: [...]"
        )
    ignored = tuple(name for name in names if name not in taken and name not in fields)
    return Columns(fields, *(roles.get(role) for role in ("id", "label", "group")), ignored)


def _require_named(names: tuple[str, ...], schema: Schema, source: object) -> None:
    wanted = {"id": schema.id, "label": schema.label, "group": schema.group}
    missing = [f"{role}: there is no column '{name}'" for role, name in wanted.items() if name]
    missing = [line for line in missing if line.split("'")[1] not in names]
    missing += [
        f"fields: there is no column '{name}'" for name in schema.fields or () if name not in names
    ]
    if missing:
        missing.append(f"columns found: {', '.join(names)}")
        raise DataError(f"{source} lacks columns that the schema names", missing)


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]+", " ", name).strip().casefold()


def _first(names: Iterable[str], known: Iterable[str]) -> str | None:
    by_plain = {_plain(name): name for name in names}
    return next((by_plain[_plain(name)] for name in known if _plain(name) in by_plain), None)


def _known_fields(names: tuple[str, ...], taken: set[str]) -> tuple[str, ...]:
    free = [name for name in names if name not in taken]
    plain = {_plain(name): name for name in free}
    found = [plain[_plain(name)] for same in KNOWN_FIELDS for name in same if _plain(name) in plain]
    # sex and age alone are no note: such a table keeps its text in other columns
    bare = {_plain(name) for same in KNOWN_FIELDS[:2] for name in same}
    return tuple(found) if any(_plain(name) not in bare for name in found) else ()


def _others(names: tuple[str, ...], taken: set[str]) -> tuple[str, ...]:
    skipped = {_plain(name) for name in (*NEVER_FIELDS, *KNOWN_IDS, *KNOWN_GROUPS, *KNOWN_LABELS)}
    return tuple(name for name in names if name not in taken and _plain(name) not in skipped)
