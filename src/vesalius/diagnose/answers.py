"""Answers: the diseases found in each record, written to files and read back.

Two forms: the contest's, one JSON object `{"ZY000001": ["高血压", "肺气肿"]}`, and JSONL with one
answer a line that keeps probabilities and evidence:

    {"id": "ZY000001", "labels": ["高血压"], "probabilities": {"高血压": 0.93},
     "evidence": [{"label": "高血压", "field": "体格检查", "start": 21, "end": 34,
                   "text": "血压178/102mmHg", "score": 1.7}]}
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius import files
from vesalius.diagnose.record_files import decode
from vesalius.errors import DataError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Evidence:
    """A stretch of a field that carried a label; `start` and `end` count characters of the field.

    Attributes:
        label: the disease.
        field: name of the field.
        start: first character.
        end: one beyond the last character.
        text: what stands there.
        score: how much it carried; the larger the more, the scale is the model's.
    """

    label: str
    field: str
    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True)
class Answer:
    """The diseases found in one record.

    Attributes:
        id: of the record.
        labels: the diseases that were decided for.
        probabilities: label -> probability (0 to 1), of the labels that were looked for; may be
            empty.
        evidence: what carried the labels; may be empty.
    """

    id: str
    labels: tuple[str, ...]
    probabilities: Mapping[str, float] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()


def answers(
    ids: Sequence[str],
    labels: Sequence[Sequence[str]],
    *,
    names: Sequence[str] = (),
    probabilities: Any = None,
    evidence: Sequence[Sequence[Evidence]] | None = None,
) -> list[Answer]:
    """Put together what a model said.

    Args:
        ids: of the N records.
        labels: of each record, as `LabelSet.decode` gives them.
        names: of the L columns of `probabilities`.
        probabilities: (N, L), 0 to 1, or None.
        evidence: of each record, or None.
    """
    rows = [[]] * len(ids) if probabilities is None else probabilities
    shown = evidence or [()] * len(ids)
    return [
        Answer(
            name,
            tuple(found),
            {label: float(p) for label, p in zip(names, row, strict=True)} if len(row) else {},
            tuple(spans),
        )
        for name, found, row, spans in zip(ids, labels, rows, shown, strict=True)
    ]


def write(answers: Iterable[Answer], path: str | Path, *, ids: Iterable[str] | None = None) -> None:
    """Write answers atomically: .json in the contest's form, .jsonl with all that is known.

    Args:
        answers: one per record.
        path: its suffix chooses the form.
        ids: the records that must be answered, each exactly once; None: those of `answers`.

    Raises:
        DataError: the suffix is another one, or ids are missing, unknown or answered twice.
        StorageError: the file cannot be written; an older one is untouched.
    """
    path, rows = Path(path), list(answers)
    _check_ids(rows, ids)
    if path.suffix == ".json":
        text = json.dumps({row.id: list(row.labels) for row in rows}, ensure_ascii=False, indent=1)
        files.write_text(path, text + "\n")
    elif path.suffix == ".jsonl":
        with files.replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(_as_row(row), ensure_ascii=False, allow_nan=False) + "\n")
    else:
        raise DataError(f"{path}: answers are written as .json (the contest's form) or .jsonl")


def read(path: str | Path, *, ids: Iterable[str] | None = None) -> list[Answer]:
    """Read answers in either form.

    Args:
        path: a .json or .jsonl file, or one of these as .gz.
        ids: the records that must be answered, each exactly once; None: whatever is there.

    Raises:
        DataError: lines that are no answers, probabilities outside 0 to 1, ids that are missing,
            unknown or answered twice; all at once.
    """
    path, problems = Path(path), []
    text = decode(path)
    pairs = _contest(path, text) if ".json" in path.suffixes else _lines(path, text, problems)
    found = []
    for place, row in pairs:
        try:
            found.append(_answer(row))
        except (TypeError, ValueError, KeyError) as error:
            problems.append(f"{place}: {_said(error)}")
    if problems:
        raise DataError(f"{path}: {len(problems)} answers cannot be read", problems)
    _check_ids(found, ids)
    return found


def matrix(found: Sequence[Answer], names: Sequence[str]) -> "np.ndarray":
    """Return the probabilities of answers, float64 of shape (N, L), for the labels `names`.

    Raises:
        DataError: an answer lacks the probability of a label.
    """
    import numpy as np

    problems = [
        f"{row.id}: no probability of {', '.join(lacking[:5])}"
        for row in found
        if (lacking := [name for name in names if name not in row.probabilities])
    ]
    if problems:
        raise DataError("Answers without probabilities cannot be combined", problems)
    rows = [[row.probabilities[name] for name in names] for row in found]
    return np.array(rows, np.float64).reshape(len(found), len(names))


def _as_row(answer: Answer) -> dict[str, Any]:
    row: dict[str, Any] = {"id": answer.id, "labels": list(answer.labels)}
    if answer.probabilities:
        row["probabilities"] = dict(answer.probabilities)
    if answer.evidence:
        row["evidence"] = [asdict(span) for span in answer.evidence]
    return row


def _contest(path: Path, text: str) -> Iterable[tuple[str, Any]]:
    # json keeps the last of two equal keys; a record answered twice must be seen
    try:
        rows = json.loads(text, object_pairs_hook=list)
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}") from error
    if not text.lstrip().startswith("{"):
        raise DataError(
            f'{path}: an object of id to labels is needed, as {{"ZY000001": ["高血压"]}}'
        )
    return [(f"{path}, {name}", {"id": name, "labels": labels}) for name, labels in rows]


def _lines(path: Path, text: str, problems: list[str]) -> Iterable[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line)
            except ValueError as error:
                problems.append(f"{path}:{number}: no JSON: {error}")


def _answer(row: Any) -> Answer:
    if not isinstance(row, dict):
        raise ValueError("an object with id and labels is needed")
    labels, probabilities = row["labels"], row.get("probabilities", {})
    if not isinstance(row["id"], str) or not row["id"]:
        raise ValueError("id must be a text")
    if not isinstance(labels, list) or not all(isinstance(name, str) and name for name in labels):
        raise ValueError("labels must be a list of names")
    if len(set(labels)) < len(labels):
        raise ValueError("a label stands twice")
    if not isinstance(probabilities, dict):
        raise ValueError("probabilities must be an object of label to number")
    for name, value in probabilities.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or math.isnan(value) or not 0 <= value <= 1:
            raise ValueError(f"the probability of {name} is {value}, not between 0 and 1")
    evidence = tuple(Evidence(**span) for span in row.get("evidence", ()))
    return Answer(row["id"], tuple(labels), probabilities, evidence)


def _said(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _check_ids(found: Sequence[Answer], ids: Iterable[str] | None) -> None:
    counts = Counter(row.id for row in found)
    problems = [f"{name}: answered {count} times" for name, count in counts.items() if count > 1]
    if ids is not None:
        wanted = dict.fromkeys(ids)
        problems += [f"{name}: not answered" for name in wanted if name not in counts]
        problems += [f"{name}: unknown record" for name in counts if name not in wanted]
    if problems:
        raise DataError("The answers do not fit the records", problems)
