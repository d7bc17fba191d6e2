"""The commands `vesalius text words` and `vesalius text deduplicate`."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from vesalius.cli import main
from vesalius.errors import DataError, RecipeError
from vesalius.text.vocabulary import Vocabulary
from vesalius.text.word_files import Dropped, deduplicate_file

LONG = "患者慢性阻塞性肺疾病10年，2型糖尿病5年，否认高血压病史，无药物过敏史"


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def run(capsys, *arguments: object) -> dict:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_words_writes_cut_texts_and_a_vocabulary(tmp_path, capsys):
    source = write(tmp_path / "a.txt", [LONG, "", "咳嗽 3天", "咳嗽"])
    out, saved = tmp_path / "w.txt", tmp_path / "v.json"
    found = run(capsys, "text", "words", source, "--out", out, "--vocabulary", saved)
    assert out.read_text("utf-8").splitlines()[2:] == ["咳嗽 3 天", "咳嗽"]
    assert found["read"] == 4
    assert found["most"]["咳嗽"] == 2
    made = Vocabulary.load(saved)
    assert made.words[:2] == ("[UNK]", "[PAD]")
    assert "慢性阻塞性肺疾病" in made


def test_words_changes_the_named_fields_alone(tmp_path, capsys):
    source = write(tmp_path / "a.csv", ["id,主诉", "1,咳嗽3天"])
    out = tmp_path / "w.csv"
    options = ("--fields", "主诉", "--tags")
    run(capsys, "text", "words", source, "--out", out, *options)
    assert out.read_text("utf-8") == "id,主诉\n1,咳嗽/VERB 3/NUM 天/NOUN\n"


def test_words_counts_ngrams(tmp_path, capsys):
    source = write(tmp_path / "a.txt", ["a b", "a b"])
    found = run(capsys, "text", "words", source, "--out", tmp_path / "w.txt", "--ngrams", 2)
    assert found["most"] == {"[BOS] a": 2, "a b": 2, "b [EOS]": 2}


def test_deduplicate_leaves_out_equal_and_near_records(tmp_path, capsys):
    lines = [LONG, "腹痛3天", f"{LONG}。", "", "腹痛 3天", ""]
    source, out, log = write(tmp_path / "a.txt", lines), tmp_path / "d.txt", tmp_path / "l.jsonl"
    found = run(capsys, "text", "deduplicate", source, "--out", out, "--log", log)
    assert out.read_text("utf-8").splitlines() == [LONG, "腹痛3天", "", ""]
    assert [(drop["line"], drop["duplicate_of"]) for drop in found["dropped"]] == [(3, 1), (5, 2)]
    assert len(log.read_text().splitlines()) == 2
    found = run(capsys, "text", "deduplicate", source, "--out", out, "--exact")
    assert [drop["line"] for drop in found["dropped"]] == [5]


def test_fields_of_a_record_are_compared_together(tmp_path):
    rows = [("腹痛", "女"), ("腹痛", "男"), ("腹痛", "女")]
    lines = [json.dumps({"a": a, "b": b}, ensure_ascii=False) for a, b in rows]
    source = write(tmp_path / "a.jsonl", [*lines, "{broken", '{"a": 3, "b": "x"}'])
    out = tmp_path / "d.jsonl"
    found = deduplicate_file(source, out=out, fields=["a", "b"], threshold=None)
    assert found.dropped == (Dropped(3, 1, 1.0),)
    assert (found.read, found.written, found.rejected) == (5, 2, 2)
    assert out.read_text("utf-8").splitlines() == lines[:2]
    reasons = (tmp_path / "d.rejects.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["line"] for line in reasons] == [4, 5]


def test_gzip_and_empty_files_are_understood(tmp_path):
    packed = tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress("发热\n发热\n".encode()))
    found = deduplicate_file(packed, out=tmp_path / "d.txt.gz")
    assert gzip.decompress((tmp_path / "d.txt.gz").read_bytes()).decode() == "发热\n"
    assert len(found.dropped) == 1
    table = write(tmp_path / "a.csv", ["text,label"])
    assert deduplicate_file(table, out=tmp_path / "d.csv").read == 0
    assert (tmp_path / "d.csv").read_text() == "text,label\n"


def test_wrong_files_are_named(tmp_path):
    source = write(tmp_path / "a.jsonl", ['{"text": "a"}'])
    with pytest.raises(RecipeError, match=r"must end with \.jsonl"):
        deduplicate_file(source, out=tmp_path / "d.txt")
    with pytest.raises(RecipeError, match="same file"):
        deduplicate_file(source, out=tmp_path / "d.jsonl", rejects=source)
    with pytest.raises(DataError, match="no field named note"):
        deduplicate_file(source, out=tmp_path / "d.jsonl", fields=["note"])
    assert not (tmp_path / "d.jsonl").exists()


def test_the_modules_load_no_torch():
    code = (
        "import sys, vesalius.text.wording, vesalius.text.subwords, vesalius.text.duplicates,"
        "vesalius.text.tagging, vesalius.text.entities, vesalius.text.stems;"
        "from vesalius.text import words; words('患者发热');"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
