"""Stems and lemmas."""

import pytest

from vesalius.errors import MissingDependencyError, RecipeError
from vesalius.text.stems import lemma, stem

NOUNS = (
    "metastases metastasis, vertebrae vertebra, diagnoses diagnosis, biopsies biopsy, masses mass, "
    "boxes box, arthritides arthritis, carcinomata carcinoma, diabetes diabetes, eyes eye, "
    "sinuses sinus, fibroses fibrosis, patches patch, doses dose, diseases disease, gases gas, "
    "thrombi thrombus, patients patient, bronchitis bronchitis, women woman, ulcers ulcer"
)
VERBS = (
    "treated treat, increased increase, noted note, used use, stopped stop, planned plan, "
    "fixed fix, called call, diagnosed diagnose, injured injure, measured measure, "
    "examined examine, obtained obtain, complained complain, discharged discharge, "
    "evaluated evaluate, repeated repeat, received receive, reduced reduce, continued continue, "
    "denied deny, denies deny, taken take, giving give, analysed analyse, resected resect, "
    "occurring occur, coughed cough, agreed agree, was be, underwent undergo, infused infuse, "
    "reveals reveal, passes pass, tolerated tolerate, enlarged enlarge, biopsied biopsy"
)
ADJECTIVES = "larger large, bigger big, earlier early, worse bad, higher high, densest dense"


def pairs(table: str) -> list[list[str]]:
    return [pair.split() for pair in table.split(", ")]


@pytest.mark.parametrize(
    ("part", "table"), [("noun", NOUNS), ("verb", VERBS), ("adjective", ADJECTIVES)]
)
def test_lemmas_by_rules(part, table):
    wrong = [(form, lemma(form, part)) for form, base in pairs(table) if lemma(form, part) != base]
    assert not wrong


@pytest.mark.parametrize(
    ("part", "table"), [("noun", NOUNS), ("verb", VERBS), ("adjective", ADJECTIVES)]
)
def test_a_lemma_is_its_own_lemma(part, table):
    assert all(lemma(base, part) == base for _, base in pairs(table))


def test_chinese_words_and_numbers_are_unchanged():
    pytest.importorskip("snowballstemmer", reason="stemming is an extra")
    for word in ("咳嗽", "2型糖尿病", "37.5", "，", ""):
        assert lemma(word) == stem(word) == word


def test_stems_are_those_of_porters_paper():
    pytest.importorskip("snowballstemmer", reason="stemming is an extra")
    # Examples from the steps of Porter (1980).
    for word, expected in pairs(
        "caresses caress, ponies poni, agreed agre, plastered plaster, hopping hop, falling fall, "
        "filing file, happy happi, relational relat, conditional condit, hopefulness hope, "
        "triplicate triplic, adjustable adjust, defensible defens, probate probat, controll control"
    ):
        assert stem(word) == expected
    assert stem("generously", kind="snowball") == "generous"


def test_wordnet_says_what_to_install_where_it_is_missing():
    try:
        found = lemma("metastases", source="wordnet")
    except MissingDependencyError as error:
        found = str(error)
    assert found == "metastasis" or "nltk.downloader wordnet" in found


def test_wrong_choices_are_named():
    with pytest.raises(RecipeError, match="'adverb'"):
        lemma("a", "adverb")
    with pytest.raises(RecipeError, match="'lovins'"):
        stem("a", kind="lovins")
