"""Records from every kind of file, and everything that can be wrong with one."""

import csv
import gzip
import json
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.diagnose import record_files, records
from vesalius.diagnose.record_schema import Schema, resolve
from vesalius.errors import DataError, MissingDependencyError

ROWS = [
    {
        "emr_id": "ZY1",
        "性别": "男",
        "年龄": 61,
        "主诉": "胸闷3天",
        "diseases": ["高血压", "冠心病"],
    },
    {"emr_id": "ZY2", "性别": "女", "年龄": 45.0, "主诉": "咳嗽", "现病史": None, "diseases": []},
]
EXPECTED = [
    ("ZY1", {"性别": "男", "年龄": "61", "主诉": "胸闷3天"}, ("高血压", "冠心病")),
    ("ZY2", {"性别": "女", "年龄": "45", "主诉": "咳嗽"}, ()),
]


def seen(found):
    return [(record.id, dict(record.fields), record.labels) for record in found]


def lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def failing(source, schema=None):
    with pytest.raises(DataError) as error:
        records.read(source, schema)
    return str(error.value)


def test_json_list_jsonl_and_memory_hold_the_same_records(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(ROWS, ensure_ascii=False, indent=2), "utf-8")
    assert seen(records.read(path)) == EXPECTED
    assert seen(records.read(lines(tmp_path / "a.jsonl", ROWS))) == EXPECTED
    assert seen(records.read(ROWS)) == EXPECTED


def test_a_mapping_of_id_to_record_is_read_with_lines(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(
        '{\n "ZY1": {"主诉": "咳嗽", "诊断": "肺炎"},\n "ZY2": {"主诉": "头晕", "诊断": "痛风"}\n}'
    )
    found = records.read(path)
    assert [(r.id, r.labels, r.place.rpartition(":")[2]) for r in found] == [
        ("ZY1", ("肺炎",), "2"),
        ("ZY2", ("痛风",), "3"),
    ]


def test_an_id_that_stands_twice_in_a_json_object_is_not_lost(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"ZY1": {"主诉": "咳嗽"},\n "ZY1": {"主诉": "头晕"}}')
    assert "a.json:2: id 'ZY1' stands already" in failing(path)


@pytest.mark.parametrize(
    "text", ['[{"a": "b"},]', "[{]", '{"a" {}}', "[1]", "[] x", '"x"', '[{"a": "b"}', ""]
)
def test_broken_json_is_an_error_with_a_line(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    assert "a.json" in failing(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("zipped", [False, True])
def test_csv_is_read_in_the_encodings_that_hospitals_write(tmp_path, encoding, zipped):
    raw = "病历号,主诉,诊断\n1,咳嗽、咳痰3天,肺炎；高血压\n2,头晕,\n".encode(encoding)
    path = tmp_path / ("a.csv.gz" if zipped else "a.csv")
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    found = records.read(path)
    assert [(r.id, r.labels) for r in found] == [("1", ("肺炎", "高血压")), ("2", None)]
    assert found[0].fields == {"主诉": "咳嗽、咳痰3天"}


def test_another_encoding_is_refused_with_its_line_and_read_when_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("id,text\n1,café\n2,naïve\n".encode("latin-1"))
    assert "a.csv:2: byte 0xe9 is not UTF-8" in failing(path)
    assert records.read(path, Schema(encoding="latin-1"))[1].text == "naïve"
    assert "no encoding" in failing(path, Schema(encoding="utf-9"))


def test_a_cell_with_line_breaks_keeps_the_line_where_it_starts(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,"one\ntwo, ""three"""\n2,four\n')
    found = records.read(path)
    assert found[0].text == 'one\ntwo, "three"'
    assert [record.place.rpartition(":")[2] for record in found] == ["2", "4"]


def test_a_cell_longer_than_the_limit_of_csv_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"id,text\n1,{'x' * 200_000}\n")
    assert len(records.read(path)[0].text) == 200_000


def test_all_that_is_wrong_is_said_at_once_with_the_place(tmp_path):
    path = lines(
        tmp_path / "a.jsonl",
        [
            {"id": "1", "主诉": "咳嗽", "labels": ["肺炎"]},
            {"id": "", "主诉": "头晕", "labels": ["高血压"]},
            {"id": "1", "主诉": "胸痛", "labels": ["冠心病"]},
            {"id": "4", "主诉": " ", "labels": ["冠心病"]},
            {"id": "5", "主诉": "腹痛", "labels": [7]},
            {"id": "6", "主诉": "腹痛", "labels": {"a": 1}},
        ],
    )
    with path.open("a") as file:
        file.write("{no json\n[1]\n")
    said = failing(path)
    for line, what in {
        2: "'id' is missing",
        3: "id '1' stands already",
        4: "empty",
        5: "label 7 is no string",
        6: "a list or a string is needed",
        7: "no JSON",
        8: "must be an object, this is a list",
    }.items():
        assert f"a.jsonl:{line}: " in said
        assert what in said
    assert said.startswith(f"{path}: 7 problems in 6 records")


def test_rows_with_another_number_of_columns_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,text,labels\n1,a,b\n2,a\n3,a,b,c\n")
    said = failing(path)
    assert "a.csv:3: 2 columns, but 3 are expected" in said
    assert "a.csv:4: 4 columns" in said


def test_thousands_of_problems_are_counted_not_printed(tmp_path):
    path = lines(tmp_path / "a.jsonl", [{"id": "", "text": "x"}] * 1000)
    said = failing(path)
    assert "1000 problems" in said
    assert "and 800 more" in said
    assert said.count("\n") == 201


def test_missing_fields_are_counted(tmp_path):
    reading = records.read_all(lines(tmp_path / "a.jsonl", ROWS))
    assert reading.missing == {"性别": 0, "年龄": 0, "主诉": 0, "现病史": 2}


def test_nested_fields_come_up_under_their_names():
    found = records.read(
        [{"id": "1", "fields": {"主诉": "咳嗽", "现病史": "x"}, "labels": ["肺炎"]}]
    )
    assert found[0].fields == {"主诉": "咳嗽", "现病史": "x"}


def test_english_headings_are_known_in_any_spelling():
    columns = resolve(
        [
            "Sex",
            "chief_complaint",
            "Past Medical History",
            "HPI",
            "note",
            "patient_id",
            "diagnoses",
        ],
        Schema(),
    )
    assert columns.fields == ("Sex", "chief_complaint", "HPI", "Past Medical History")
    assert (columns.group, columns.label, columns.ignored) == ("patient_id", "diagnoses", ("note",))


def test_any_other_table_uses_all_its_text_columns():
    columns = resolve(["uid", "title", "age", "abstract", "labels", "split"], Schema())
    assert columns.fields == ("title", "age", "abstract")
    assert columns.ignored == ("split",)


def test_columns_that_the_schema_names_must_be_there():
    with pytest.raises(DataError) as error:
        resolve(["a", "b"], Schema(fields=("a", "c"), label="d"))
    assert "there is no column 'c'" in str(error.value)
    assert "label: there is no column 'd'" in str(error.value)


def test_a_column_named_as_text_is_no_label():
    columns = resolve(["id", "诊断", "主诉"], Schema(fields=("主诉", "诊断")))
    assert columns.fields == ("主诉", "诊断")
    assert columns.label is None


def test_the_patient_number_names_the_record_only_while_it_is_unique():
    rows = [{"patient_id": "p1", "text": "a"}, {"patient_id": "p2", "text": "b"}]
    assert [record.id for record in records.read(rows)] == ["p1", "p2"]
    found = records.read([*rows, {"patient_id": "p1", "text": "c"}])
    assert [record.group for record in found] == ["p1", "p2", "p1"]
    assert len({record.id for record in found}) == 3


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("Diabetes mellitus, type 2; Hypertension", ("Diabetes mellitus, type 2", "Hypertension")),
        ("高血压、冠心病", ("高血压", "冠心病")),
        ("高血压，冠心病,肺炎", ("高血压", "冠心病", "肺炎")),
        ("高血压|梗阻、肥厚", ("高血压", "梗阻、肥厚")),
        ('["a, b", "c"]', ("a, b", "c")),
        ("['a', 'b']", ("a", "b")),
        ("a；a； ", ("a",)),
        ("  ", None),
        ("[]", ()),
    ],
)
def test_labels_in_one_string_are_parted_by_the_strongest_sign(cell, labels):
    assert records.read([{"id": "1", "text": "x", "labels": cell}])[0].labels == labels


def test_one_separator_holds_for_the_whole_source():
    rows = [{"text": "x", "labels": "a, b"}, {"text": "y", "labels": "c; a, b"}]
    assert [record.labels for record in records.read(rows)] == [("a, b",), ("c", "a, b")]


def test_numbers_of_labels_become_names(tmp_path):
    (tmp_path / "labels.txt").write_text("joy\nanger\nfear\n")
    (tmp_path / "train.tsv").write_text('He said "go" and\t0,2\tk1\n"Odd" start\t1\tk2\n')
    (tmp_path / "dev.tsv").write_text("Fine\t2\tk3\n")
    found = records.read(tmp_path, records.GOEMOTIONS)
    assert [(r.text, r.labels, r.id, r.split) for r in found] == [
        ('He said "go" and', ("joy", "fear"), "k1", "train"),
        ('"Odd" start', ("anger",), "k2", "train"),
        ("Fine", ("fear",), "k3", "valid"),
    ]
    (tmp_path / "dev.tsv").write_text("Fine\t3\tk3\n")
    assert "dev.tsv:1: labels: label '3' is no number from 0 to 2" in failing(
        tmp_path, records.GOEMOTIONS
    )


def test_a_tab_separated_file_that_quotes_is_unquoted(tmp_path):
    path = tmp_path / "a.tsv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerows([["id", "text"], ["1", 'a "b"\nc'], ["2", "d"]])
    assert [record.text for record in records.read(path)] == ['a "b"\nc', "d"]


def test_a_table_without_header_asks_for_names(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("A whole sentence stands here where a name should be.\t4\tk1\n" * 2)
    assert "columns: [text, labels, id]" in failing(path)


def test_ids_that_stand_in_two_splits_are_reported(tmp_path):
    lines(tmp_path / "train.jsonl", ROWS)
    lines(tmp_path / "test.jsonl", ROWS[:1])
    assert "id 'ZY1' stands already" in failing(tmp_path)


def test_a_folder_of_unknown_files_lists_them(tmp_path):
    lines(tmp_path / "a.jsonl", ROWS)
    assert seen(records.read(tmp_path)) == EXPECTED
    lines(tmp_path / "b.jsonl", ROWS)
    assert "a.jsonl, b.jsonl" in failing(tmp_path)
    assert "does not exist" in failing(tmp_path / "nowhere")
    (tmp_path / "c.docx").write_text("x")
    assert "of no known kind" in failing(tmp_path / "c.docx")


def test_excel_is_read_with_its_row_numbers(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["病历号", "年龄", "主诉", "诊断", None])
    book.active.append([1001, 61, "胸闷", "高血压;冠心病"])
    book.active.append([None, None, None, None])
    book.active.append([1002, 45.5, "咳嗽", None])
    book.create_sheet("other").append(["id", "text"])
    book.save(tmp_path / "a.xlsx")
    found = records.read(tmp_path / "a.xlsx")
    assert seen(found) == [
        ("1001", {"年龄": "61", "主诉": "胸闷"}, ("高血压", "冠心病")),
        ("1002", {"年龄": "45.5", "主诉": "咳嗽"}, None),
    ]
    assert found[1].place.endswith("a.xlsx:4")
    assert "no sheet 'x'" in failing(tmp_path / "a.xlsx", Schema(sheet="x"))
    (tmp_path / "b.xlsx").write_text("no")
    assert "no Excel file" in failing(tmp_path / "b.xlsx")


def test_missing_packages_are_named_with_the_command(tmp_path, monkeypatch):
    for name, package in {"a.xlsx": "openpyxl", "a.parquet": "datasets"}.items():
        (tmp_path / name).write_bytes(b"x")
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingDependencyError, match="pip install"):
            records.read(tmp_path / name)


def test_numbers_of_classes_in_a_dataset_become_names(tmp_path, monkeypatch):
    """A stand-in for the `datasets` package: what `load_from_disk` returns is all that is used."""

    class Table(list):
        features = {  # noqa: RUF012
            "text": SimpleNamespace(dtype="string"),
            "labels": SimpleNamespace(feature=SimpleNamespace(names=["a", "b"])),
        }

    parts = {
        "train": Table([{"text": "x", "labels": [0, 1]}]),
        "validation": Table([{"text": "y", "labels": [1]}]),
    }
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_from_disk=lambda path: parts))
    (tmp_path / "dataset_dict.json").write_text("{}")
    found = records.read(tmp_path)
    assert [(r.text, r.labels, r.split) for r in found] == [
        ("x", ("a", "b"), "train"),
        ("y", ("b",), "valid"),
    ]


def test_lines_of_text_are_records(tmp_path):
    (tmp_path / "a.txt").write_text("咳嗽3天\n头晕\n", "utf-8")
    assert [record.text for record in records.read(tmp_path / "a.txt")] == ["咳嗽3天", "头晕"]


texts = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1)
words = texts.map(str.strip).filter(bool)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            words, st.dictionaries(st.sampled_from("abc"), words, min_size=1), st.lists(words)
        ),
        min_size=1,
        unique_by=lambda row: row[0],
    )
)
def test_what_was_written_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("r") / "a.jsonl"
    written = [
        records.Record(name, fields, tuple(dict.fromkeys(labels))) for name, fields, labels in rows
    ]
    records.write(written, path)
    found = records.read(path)
    assert [(r.id, r.fields, r.labels) for r in found] == [
        (r.id, r.fields, r.labels) for r in written
    ]


def test_lengths_are_described():
    found = records.describe([records.Record(str(i), {"a": "x" * i}) for i in range(1, 101)])
    assert found["a"] == found[""] == {"count": 100, "median": 50.5, "p95": 95.05, "max": 100}


def test_the_emotions_are_read_as_their_authors_count_them(shared_data):
    if not (shared_data / "emotions").is_dir():
        pytest.skip("no emotions among the real data")
    found = records.read(shared_data / "emotions", records.GOEMOTIONS)
    names = (shared_data / "emotions" / "labels.txt").read_text().split()
    assert len({label for record in found for label in record.labels} - set(names)) == 0
    counts = {split: sum(r.split == split for r in found) for split in ("train", "valid", "test")}
    assert counts == {"train": 43410, "valid": 5426, "test": 5427}


def test_kinds_are_told_by_the_suffix_before_gz(tmp_path):
    assert record_files.kind_of(tmp_path / "a.csv.gz") == ".csv"
    assert record_files.kind_of(tmp_path / "a.b.jsonl") == ".jsonl"
    assert record_files.kind_of(tmp_path / "a.gz") is None
