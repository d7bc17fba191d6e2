"""Variations are distinct, deterministic, logged, and state the same facts."""

import importlib.util
import inspect
import json
import pickle
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import RecipeError
from vesalius.text import augmenters
from vesalius.text.augmenters.base import Proposal, apply
from vesalius.text.augmenting import Augmentation, AugmentWork, augment, kinds
from vesalius.text.certificate import certify
from vesalius.text.facts import facts
from vesalius.text.lexicons import default
from vesalius.text.pieces import cut

NOTE = (
    "患者3天前无明显诱因出现咳嗽、咳痰，伴发热，体温最高38.5℃，自行服用阿莫西林0.5g后稍好转，"
    "为求进一步诊治来我院门诊就诊。既往体健，否认高血压、糖尿病史。"
)
ENGLISH = (
    "The patient was admitted to the hospital because of fever for 3 days. She frequently takes "
    "aspirin 100 mg daily. She denies chest pain, nausea, or vomiting."
)
PLAIN = (
    *("eda", "insertion", "swap", "deletion", "thesaurus", "homophone", "shape", "pinyin"),
    *("blank-noise", "sentence-shuffle"),
)


@pytest.mark.parametrize("kind", PLAIN)
def test_outputs_are_distinct_new_and_certified(kind):
    made = augment(NOTE, kind, n=4, strength=0.2, log=True)
    texts = [one.text for one in made]
    assert 1 <= len(texts) <= 4
    assert len({NOTE, *texts}) == len(texts) + 1
    for one in made:
        assert one.certificate.ok
        assert apply(NOTE, one.edits) == one.text
        if kind != "sentence-shuffle":
            assert certify(NOTE, one.text).ok


@pytest.mark.parametrize("kind", ["eda", "thesaurus", "deletion", "swap", "sentence-shuffle"])
def test_english_notes_keep_their_facts_and_their_spaces(kind):
    made = augment(ENGLISH, kind, n=3)
    assert made
    for text in made:
        assert "  " not in text
        assert sorted(f.text for f in facts(text)) == sorted(f.text for f in facts(ENGLISH))


def test_the_same_seed_gives_the_same_texts_and_another_seed_others():
    assert augment(NOTE, "eda", n=5, seed=3) == augment(NOTE, "eda", n=5, seed=3)
    assert augment(NOTE, "eda", n=5, seed=3) != augment(NOTE, "eda", n=5, seed=4)


def test_fewer_come_where_a_text_gives_no_more():
    assert augment("否认糖尿病史。", "eda", n=5) == []
    assert augment("", "eda") == []
    assert augment(" \n", "swap") == []
    assert len(augment("患者就诊", "deletion", n=9)) == 2


def test_duplicate_is_the_control():
    assert augment(NOTE, "duplicate", n=3) == [NOTE] * 3


def test_without_protection_facts_change():
    made = augment(
        "血压120mmHg，否认糖尿病史", "deletion", n=5, strength=0.5, protect=False, log=True
    )
    assert any(not one.certificate.ok for one in made)


def test_a_users_terms_do_not_change():
    free = augment("感奇异感来我院就诊", "homophone", n=20, strength=1.0)
    kept = augment("感奇异感来我院就诊", "homophone", n=20, strength=1.0, lexicon=["奇异感"])
    assert kept
    assert all("奇异感" in text for text in kept)
    assert not all("奇异感" in text for text in free)


def test_an_augmenter_that_breaks_facts_never_gets_through():
    class Breaker:
        def propose(self, text, pieces, rng, strength):
            return Proposal(text.replace("38.5", str(rng.randint(36, 41))))

    assert Augmentation(Breaker()).outputs(NOTE, random.Random(0), 3) == []


def test_an_edit_log_that_lies_never_gets_through():
    class Liar:
        def propose(self, text, pieces, rng, strength):
            return Proposal(text.replace("患者", "病人"), ())

    assert Augmentation(Liar()).outputs(NOTE, random.Random(0), 1) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "edaa"}, "Did you mean 'eda'"),
        ({"kind": "eda", "alpha": 1}, "no option 'alpha'"),
        ({"kind": "eda", "strength": 0}, "strength is 0"),
        ({"kind": "eda", "n": 0}, "n is 0"),
        ({"kind": "tf-idf"}, "learned from nothing"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(RecipeError, match=message):
        augment(NOTE, **settings)


def test_every_kind_that_is_listed_has_its_class():
    assert {kind.name for kind in kinds()} >= {"duplicate", "eda", "tf-idf", "crossover"}
    for kind in kinds():
        module, cls = kind.place.split(":")
        name = f"vesalius.text.augmenters.{module}"
        assert importlib.util.find_spec(name), kind.name
        source = Path(importlib.util.find_spec(name).origin).read_text("utf-8")
        assert f"class {cls}" in source, kind.place
        assert kind.paper


def test_listing_kinds_imports_no_augmenter():
    assert "import" not in inspect.getsource(augmenters.find)


def test_an_augmentation_can_be_sent_to_another_process():
    made = Augmentation("eda")
    copy = pickle.loads(pickle.dumps(made))
    assert copy.outputs(NOTE, random.Random(1), 2) == made.outputs(NOTE, random.Random(1), 2)


def test_the_work_notes_edits_and_certificate():
    work = AugmentWork(Augmentation("thesaurus"), n=1, keep=True, log=True)
    first, second = work(NOTE, random.Random(0))
    assert first.text == NOTE
    assert second.note["certificate"] == {"ok": True, "violations": []}
    assert json.loads(json.dumps(second.note))["edits"]


CLAUSES = st.sampled_from(
    (
        *(
            "患者自行服药，",
            "无发热、咳嗽，",
            "血压120/80mmHg。",
            "来我院就诊；",
            "左侧肢体无力半年，",
        ),
        *(
            "no fever. ",
            "He came home, ",
            "病理征未引出。",
            "否认糖尿病史，",
            "予阿司匹林100mg qd，",
        ),
        *("神志清，", "12", "\n"),
    )
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(CLAUSES, max_size=6).map("".join),
    st.sampled_from(["eda", "deletion", "swap", "homophone", "pinyin", "blank-noise"]),
    st.integers(0, 9),
)
def test_no_output_of_any_text_breaks_a_fact(text, kind, seed):
    for one in augment(text, kind, n=2, strength=0.4, seed=seed, log=True):
        assert certify(text, one.text, edits=one.edits).ok
        assert one.text != text


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="患者 a.b，。血压3℃don't_\n\r😀", max_size=30), st.booleans())
def test_pieces_joined_are_the_text(text, protect):
    pieces = cut(text, default(), protect=protect)
    assert "".join(piece.text for piece in pieces) == text
    assert [text[piece.start : piece.end] for piece in pieces] == [p.text for p in pieces]
    assert pieces.free == [
        number for number, p in enumerate(pieces) if not p.locked and p.text[0].isalnum()
    ]


def test_the_command_writes_variations_and_their_log(tmp_path, capsys):
    from vesalius.cli.text_augment import augment as command

    source, out, log = (tmp_path / name for name in ("in.txt", "out.txt", "log.jsonl"))
    source.write_text(NOTE + "\n否认糖尿病史。\n", encoding="utf-8")
    assert command(source, kind="eda", n=2, keep=True, out=out, log=log, as_json=True) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["read"], summary["variations"], summary["written"]) == (2, 2, 4)
    lines = out.read_text("utf-8").splitlines()
    assert lines[0] == NOTE
    assert lines[3] == "否认糖尿病史。"
    notes = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [note["after"] for note in notes] == lines[1:3]
    assert all(note["certificate"]["ok"] and note["line"] == 1 for note in notes)


def test_the_command_learns_from_its_input_and_crosses_equal_labels(tmp_path, capsys):
    from vesalius.cli.text_augment import augment as command

    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    rows = ["患者乏力。精神可。,a", "病人头晕。睡眠差。,a", "无发热。随访。,b"]
    source.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    assert command(source, kind="crossover", label="label", out=out) == 0
    assert out.read_text("utf-8").splitlines()[1:] == [
        "患者乏力。睡眠差。,a", "病人头晕。精神可。,a"
    ]  # fmt: skip
    assert command(source, kind="tf-idf", strength=0.9, out=out) == 0
    with pytest.raises(RecipeError, match="--label"):
        command(source, kind="crossover", out=out)
    with pytest.raises(RecipeError, match="NAME=VALUE"):
        command(source, option=("x",), out=out)
    capsys.readouterr()


def test_the_command_lists_the_kinds(capsys):
    from vesalius.cli.text_augment import augment as command

    assert command(kinds=True, as_json=True) == 0
    names = [kind["name"] for kind in json.loads(capsys.readouterr().out)["kinds"]]
    assert names[0] == "duplicate"
