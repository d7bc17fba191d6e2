"""A synthetic cohort of Chinese admission records: no patient's data, every truth known.

The records are written from tables of this program: some ninety diseases with a long tail of
frequencies, rules of sex and age, odds of coming together, symptoms with their many wordings,
findings, results with units, drugs. Several styles of writing, denied symptoms, diseases of the
family, healed or ruled out ones, slips of the keyboard and wrong labels are put in on purpose.

The cohort lets everything be tried and tested. It says nothing about real patients: a score on it
is a score on our own sentences.
"""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vesalius import files
from vesalius.diagnose.cohort.noise import dirty_labels, untidy
from vesalius.diagnose.cohort.patients import visits
from vesalius.diagnose.cohort.tables import diseases, phrases, with_faker
from vesalius.diagnose.cohort.writing import Writer
from vesalius.diagnose.records import Record, write
from vesalius.errors import RecipeError

__all__ = ["SyntheticRecord", "build", "synthetic_records", "write_cohort"]

SIZE = 2000
"""Records of the named data set `synthetic-records`."""
WRITTEN = ("主诉", "现病史", "既往史", "体格检查", "辅助检查")
"""The fields that are typed freely; sex and age are chosen from a form."""


@dataclass(frozen=True)
class SyntheticRecord(Record):
    """A record whose truth is known.

    Attributes:
        truth: the diseases that the patient was given, the main one first.
        changes: what label noise did to them, in words.
    """

    truth: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


def synthetic_records(
    n: int,
    *,
    seed: int = 0,
    noise: float = 0.3,
    label_noise: float = 0.03,
    label_variants: float = 0.0,
    distractors: float = 1.0,
    readmissions: float = 0.08,
    faker: bool = False,
) -> list[SyntheticRecord]:
    """Write `n` admission records with 性别 年龄 主诉 现病史 既往史 体格检查 辅助检查.

    The same arguments give the same records everywhere, and the first records do not depend on
    `n`. `label_noise` and `label_variants` change nothing but the labels.

    Args:
        n: number of records.
        seed: another one gives other patients.
        noise: untidiness of the texts, 0 to 1: slips, abbreviations, spelling of units.
        label_noise: share of records with a label lost, gained or exchanged.
        label_variants: share of labels written by another name of the disease.
        distractors: how often things are named that are not there, 1 as in real notes, 0 never:
            denied symptoms and diseases, healed ones, those of the family.
        readmissions: share of patients who come a second time (`group` is the patient).
        faker: add the rarer diseases of the package faker-healthcare-provider.

    Raises:
        RecipeError: an argument is out of range.
        MissingDependencyError: `faker` without that package.
    """
    shares = {
        "noise": noise,
        "label_noise": label_noise,
        "label_variants": label_variants,
        "distractors": distractors,
        "readmissions": readmissions,
    }
    wrong = [f"{name} is {value}; 0 to 1 is allowed" for name, value in shares.items()]
    wrong = [
        line for line, value in zip(wrong, shares.values(), strict=True) if not 0 <= value <= 1
    ]
    wrong += [f"n is {n}; at least 1 is needed"] if n < 1 else []
    if wrong:
        raise RecipeError("The synthetic cohort cannot be written", wrong)
    table, wording = (with_faker() if faker else diseases()), phrases()
    records = []
    admissions = islice(visits(table, seed=seed, readmissions=readmissions), n)
    for number, (visit, generator) in enumerate(admissions, 1):
        fields = Writer(visit, table, wording, generator, distractors=distractors).write()
        # streams of their own: noise in one record must not change the patient's next one
        slips, coder = (random.Random(generator.getrandbits(64)) for _ in range(2))
        for name in WRITTEN:
            fields[name] = untidy(fields[name], noise, wording, slips)
        labels, changes = dirty_labels(
            visit, table, coder, wrong=label_noise, variants=label_variants
        )
        records.append(
            SyntheticRecord(
                id=f"ZY{number:06d}",
                fields=fields,
                labels=labels,
                group=visit.patient,
                place=f"synthetic record {number}",
                truth=visit.diseases,
                changes=changes,
            )
        )
    return records


def write_cohort(records: Iterable[SyntheticRecord], path: str | Path) -> Path:
    """Write the records as JSONL, and beside it `<name>.truth.jsonl`; return the latter's path.

    The truth stands in a file of its own so that no reader takes it for text.

    Raises:
        StorageError: a file cannot be written.
    """
    path, records = Path(path), list(records)
    write(records, path)
    beside = path.with_name(path.name.partition(".")[0] + ".truth.jsonl")
    rows = (
        {"id": record.id, "truth": list(record.truth), "changes": list(record.changes)}
        for record in records
    )
    files.write_text(beside, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return beside


def build(folder: Path) -> dict[str, Any]:
    """Write the named data set `synthetic-records`: train, valid and test, split by patient.

    The truth of each part lies beside it as `<part>.truth.jsonl`.

    Returns what the marker file says about the set.
    """
    records = synthetic_records(SIZE)
    patients = sorted({record.group for record in records})
    bounds = round(0.7 * len(patients)), round(0.85 * len(patients))
    # patients are drawn independently, so their order carries nothing
    parts = {"train": patients[: bounds[0]], "valid": patients[slice(*bounds)]}
    parts["test"] = patients[bounds[1] :]
    for part, members in parts.items():
        inside = set(members)
        write_cohort([r for r in records if r.group in inside], folder / f"{part}.jsonl")
    return {"records": len(records), "split": "by patient: 70 % train, 15 % valid, 15 % test"}
