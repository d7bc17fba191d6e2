"""The synthetic cohort as a named data set and as a command."""

import json

from vesalius import datasets
from vesalius.cli import main
from vesalius.diagnose import cohort, records


def test_the_named_set_is_split_by_patient_and_read_as_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cohort, "SIZE", 60)
    folder = datasets.open("synthetic-records", tmp_path / "cohort")
    found = records.read(folder)
    assert len(found) == 60
    groups = {
        split: {r.group for r in found if r.split == split} for split in ("train", "valid", "test")
    }
    assert all(groups.values())
    assert sum(map(len, groups.values())) == len(set().union(*groups.values()))
    assert (folder / "train.truth.jsonl").is_file()


def test_the_command_writes_records_and_truth(tmp_path, capsys):
    out = tmp_path / "a.jsonl"
    arguments = ["datasets", "synthetic-records", "--n", "30", "--out", str(out), "--seed", "3"]
    assert main([*arguments, "--label-noise", "0.5"]) == 0
    assert "30 records" in capsys.readouterr().out
    assert len(records.read(out)) == 30
    truth = [
        json.loads(line) for line in (tmp_path / "a.truth.jsonl").read_text("utf-8").splitlines()
    ]
    assert any(row["changes"] for row in truth)
    assert main([*arguments, "--noise", "3"]) == 2
