"""Answers in the contest's form and as JSONL, written and read."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.diagnose import answers as room
from vesalius.diagnose.answers import Answer, Evidence
from vesalius.errors import DataError

FOUND = [
    Answer(
        "ZY000001",
        ("高血压", "肺气肿"),
        {"高血压": 0.93, "肺气肿": 0.6},
        (Evidence("高血压", "体格检查", 21, 34, "血压178/102mmHg", 1.7),),
    ),
    Answer("ZY000002", (), {"高血压": 0.1, "肺气肿": 0.0}),
]


def failing(path, **options):
    with pytest.raises(DataError) as error:
        room.read(path, **options)
    return str(error.value)


def test_the_contests_form_is_an_object_of_id_to_labels(tmp_path):
    room.write(FOUND, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text("utf-8")
    assert json.loads(text) == {"ZY000001": ["高血压", "肺气肿"], "ZY000002": []}
    assert "高血压" in text
    assert [(row.id, row.labels) for row in room.read(tmp_path / "a.json")] == [
        (row.id, row.labels) for row in FOUND
    ]


def test_jsonl_keeps_probabilities_and_evidence(tmp_path):
    room.write(FOUND, tmp_path / "a.jsonl", ids=["ZY000002", "ZY000001"])
    assert room.read(tmp_path / "a.jsonl") == FOUND


def test_answers_are_put_together_from_arrays():
    found = room.answers(
        ["1", "2"], [("b",), ()], names=("a", "b"), probabilities=np.array([[0.2, 0.9], [0, 0.1]])
    )
    assert found[0] == Answer("1", ("b",), {"a": 0.2, "b": 0.9})
    np.testing.assert_array_equal(room.matrix(found, ("b", "a")), [[0.9, 0.2], [0.1, 0]])
    assert room.answers(["1"], [("a",)]) == [Answer("1", ("a",))]
    with pytest.raises(DataError, match="1: no probability of c"):
        room.matrix(found[:1], ("a", "c"))


def test_every_record_is_answered_exactly_once(tmp_path):
    with pytest.raises(DataError) as error:
        room.write([*FOUND, FOUND[0]], tmp_path / "a.json", ids=["ZY000001", "ZY000003"])
    assert error.value.problems == [
        "ZY000001: answered 2 times",
        "ZY000003: not answered",
        "ZY000002: unknown record",
    ]
    assert not (tmp_path / "a.json").exists()


def test_an_answer_given_twice_in_one_object_is_seen(tmp_path):
    (tmp_path / "a.json").write_text('{"1": ["a"], "1": ["b"]}')
    assert "1: answered 2 times" in failing(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"labels": []}', "'id' is missing"),
        ('{"id": 1, "labels": []}', "id must be a text"),
        ('{"id": "1", "labels": "a"}', "labels must be a list"),
        ('{"id": "1", "labels": ["a", "a"]}', "a label stands twice"),
        ('{"id": "1", "labels": [], "probabilities": {"a": 1.2}}', "probability of a is 1.2"),
        ('{"id": "1", "labels": [], "probabilities": {"a": NaN}}', "probability of a is nan"),
        ('{"id": "1", "labels": [], "probabilities": [1]}', "must be an object"),
        ('{"id": "1", "labels": [], "evidence": [{"label": "a"}]}', "a.jsonl:2"),
        ("[1]", "an object with id and labels"),
        ("{", "no JSON"),
    ],
)
def test_lines_that_are_no_answers_are_named(tmp_path, line, said):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "0", "labels": []}\n' + line + "\n")
    message = failing(path)
    assert "a.jsonl:2" in message
    assert said in message


def test_other_forms_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"\.json \(the contest's form\) or \.jsonl"):
        room.write(FOUND, tmp_path / "a.csv")
    (tmp_path / "a.json").write_text("[]")
    assert "an object of id to labels" in failing(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"1": "高血压"}')
    assert "a.json, 1: labels must be a list" in failing(tmp_path / "a.json")


names = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1)


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(names, st.lists(names, unique=True)))
def test_both_forms_keep_every_label(tmp_path_factory, labels):
    folder = tmp_path_factory.mktemp("answers")
    found = [Answer(name, tuple(some)) for name, some in labels.items()]
    for name in ("a.json", "a.jsonl"):
        room.write(found, folder / name)
        assert room.read(folder / name) == found
