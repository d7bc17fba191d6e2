"""`vesalius text audit` and `vesalius text deidentify`."""

import csv
import json
from pathlib import Path

import pytest

from tests.text.test_auditing import cohort
from vesalius.cli import main
from vesalius.text.identifiers.files import deidentify_file
from vesalius.text.personal import Deidentifier


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    rows = [
        {"id": "1", "patient": "P1", "name": "游乐", "text": "2023-05-03入院，游乐未诉不适"},
        {"id": "2", "patient": "P1", "name": "游乐", "text": "2023-05-13出院"},
        {
            "id": "3",
            "patient": "P2",
            "name": "张三",
            "text": "患者张三，2023-05-03复诊，血压120/80mmHg",
        },
    ]
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write_records(path: Path, records: list[dict]) -> Path:
    flat = [{"id": r["id"], **r["fields"], "labels": r["labels"]} for r in records]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in flat), "utf-8")
    return path


def test_deidentify_writes_beside_the_input(notes, capsys):
    assert main(["text", "deidentify", str(notes), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["written"] == 3
    assert shown["found"]["date"] == 3
    made = rows_of(notes.with_name("notes.deidentified.jsonl"))
    assert "张三" not in made[2]["text"]
    assert "120/80mmHg" in made[2]["text"]


def test_a_missing_salt_is_said_and_a_file_mends_it(notes, capsys, tmp_path):
    main(["text", "deidentify", str(notes)])
    assert "--salt-file" in capsys.readouterr().err
    (tmp_path / "salt.txt").write_text("a long secret")
    assert main(["text", "deidentify", str(notes), "--salt-file", str(tmp_path / "salt.txt")]) == 0
    assert capsys.readouterr().err == ""


def test_an_empty_salt_file_is_an_error(notes, tmp_path, capsys):
    (tmp_path / "salt.txt").write_text("\n")
    assert main(["text", "deidentify", str(notes), "--salt-file", str(tmp_path / "salt.txt")]) == 2
    assert "empty" in capsys.readouterr().err


def test_patients_move_apart_and_known_names_go(notes, tmp_path):
    out = tmp_path / "out.jsonl"
    chosen = Deidentifier(salt="s")
    summary = deidentify_file(notes, chosen, out=out, patient="patient", names=["name"])
    assert (summary.read, summary.written, summary.rejected) == (3, 3, 0)
    made = rows_of(out)
    assert "游乐" not in made[0]["text"] + made[0]["name"]
    assert made[0]["name"] in made[0]["text"]
    assert [row["patient"] for row in made] == ["P1", "P1", "P2"]
    assert made[0]["text"][:10] != made[2]["text"].split("，")[1][:10]


def test_tables_keep_their_columns(tmp_path):
    source, out = tmp_path / "notes.csv", tmp_path / "out.csv"
    source.write_text('patient,text,age\nP1,"患者张三，男",45\n,"无主",1\n', "utf-8")
    summary = deidentify_file(source, Deidentifier(), out=out, patient="patient")
    made = list(csv.DictReader(out.open(encoding="utf-8")))
    assert [(row["patient"], row["age"]) for row in made] == [("P1", "45")]
    assert "张三" not in made[0]["text"]
    assert summary.rejected == 1
    assert "cannot be known" in rows_of(summary.rejects)[0]["reason"]


def test_the_number_of_processes_changes_nothing(tmp_path):
    source = tmp_path / "notes.txt"
    source.write_text(
        "".join(f"患者张{c}，2023-05-{d:02d}入院\n" for c in "伟芳娜" for d in range(1, 25))
    )
    made = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}.txt"
        deidentify_file(source, Deidentifier(salt="s"), out=out, workers=workers)
        made.append(out.read_bytes())
    assert made[0] == made[1]


def test_audit_prints_one_document_and_writes_a_page(tmp_path, capsys):
    source = write_records(tmp_path / "records.jsonl", cohort(60))
    page = tmp_path / "audit.md"
    done = main(
        [
            "text",
            "audit",
            str(source),
            "--parts",
            "labels,lengths,personal",
            "--json",
            "--out",
            str(page),
        ]
    )
    assert done == 0
    assert json.loads(capsys.readouterr().out)["records"] == 60
    assert page.read_text("utf-8").startswith("# ")


def test_strict_fails_where_a_finding_blocks(tmp_path, capsys):
    records = cohort(80)
    for record in records:
        record["fields"]["备注"] = "、".join(record["labels"])
    source = write_records(tmp_path / "records.jsonl", records)
    options = ["--fields", "主诉,备注", "--parts", "leakage"]
    assert main(["text", "audit", str(source), *options]) == 0
    assert main(["text", "audit", str(source), *options, "--strict"]) == 1
    assert "备注" in capsys.readouterr().out


def test_another_suffix_for_the_page_is_refused(tmp_path, capsys):
    source = write_records(tmp_path / "records.jsonl", cohort(5))
    assert main(["text", "audit", str(source), "--out", str(tmp_path / "x.html")]) == 2
