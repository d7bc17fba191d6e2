"""Parts of speech and entities."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import MissingDependencyError, RecipeError
from vesalius.text import words
from vesalius.text.entities import entities, kind_of
from vesalius.text.tagging import tag


def tags(text: str, **options) -> list[tuple[str, str]]:
    return [(found.word, found.tag) for found in tag(text, **options)]


def test_chinese_words_are_tagged_and_terms_are_nouns():
    assert tags("患者否认Ⅱ型糖尿病，体温37.5℃。") == [
        *(("患者", "NOUN"), ("否认", "VERB"), ("Ⅱ型糖尿病", "NOUN"), ("，", "PUNCT")),
        *(("体温", "NOUN"), ("37.5", "NUM"), ("℃", "SYM"), ("。", "PUNCT")),
    ]


def test_english_words_are_tagged_by_rules():
    assert tags("The patient denies severe chest pain; the resected lung was normal.") == [
        *(("The", "DET"), ("patient", "NOUN"), ("denies", "VERB"), ("severe", "ADJ")),
        *(("chest", "NOUN"), ("pain", "NOUN"), (";", "PUNCT"), ("the", "DET")),
        *(("resected", "ADJ"), ("lung", "NOUN"), ("was", "AUX"), ("normal", "ADJ"), (".", "PUNCT")),
    ]


def test_jiebas_tagger_agrees_on_terms():
    pytest.importorskip("jieba", reason="the tagger jieba is an extra")
    assert tags("否认2型糖尿病", chinese="jieba") == [("否认", "VERB"), ("2型糖尿病", "NOUN")]


@given(st.text("患者否认Ⅱ型糖尿病3天CT， ab.", max_size=25))
@settings(deadline=None, max_examples=150)
def test_tagged_words_lie_where_they_say(text):
    found = tag(text)
    assert all(text[item.start : item.end] == item.word for item in found)
    assert "".join(item.word for item in found) == "".join(text.split())
    assert [item.word for item in found] == words(text)


@pytest.mark.parametrize("english", ["nltk", "spacy"])
def test_taggers_that_are_missing_say_what_to_install(english):
    try:
        found = tags("severe pain", english=english)
    except MissingDependencyError as error:
        found = str(error)
    assert ("pain", "NOUN") in found if isinstance(found, list) else "Install it with" in found


def test_unknown_taggers_are_named():
    with pytest.raises(RecipeError, match="'hmm'"):
        tag("a", english="hmm")


def test_entities_of_a_chinese_sentence():
    text = "患者张三，3天前出现腹痛，2019年3月5日行CT检查，服阿莫西林0.5g，否认2型糖尿病。"
    found = [(entity.kind, entity.text, entity.negated) for entity in entities(text)]
    for expected in (
        ("person", "张三", False),
        ("time", "3天前", False),
        ("symptom", "腹痛", False),
        ("time", "2019年3月5日", False),
        ("drug", "阿莫西林", False),
        ("number", "0.5g", False),
        ("disease", "2型糖尿病", True),
    ):
        assert expected in found


def test_entities_of_an_english_sentence():
    text = "Mr. Smith denies chest pain, took aspirin 100 mg on 2020-03-04, 3 days ago."
    found = [(entity.kind, entity.text, entity.negated) for entity in entities(text)]
    assert found == [
        *(("person", "Smith", False), ("symptom", "chest pain", True), ("drug", "aspirin", False)),
        *(("number", "100 mg", False), ("time", "2020-03-04", False)),
        ("time", "3 days ago", False),
    ]
    assert all(entity.kind != "person" for entity in entities(text, people=False))


@given(st.text("患者张三3天前腹痛否认糖尿病0.5g，。CT ", max_size=40))
@settings(deadline=None, max_examples=100)
def test_entities_are_apart_and_in_order(text):
    found = entities(text)
    assert all(text[entity.start : entity.end] == entity.text for entity in found)
    assert all(a.end <= b.start for a, b in pairwise(found))


def test_unknown_terms_get_their_kind_from_their_ending():
    assert kind_of("某某霉素") == "drug"
    assert kind_of("某某炎") == "disease"
    assert kind_of("xyzitis") == "disease"
    assert kind_of("某某") == "term"
