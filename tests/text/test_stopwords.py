"""Stop words."""

import pytest

from vesalius.text import clean
from vesalius.text.stopwords import remove_stop_words, stop_words


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("患者的血压是高的，目的在于治疗", "患者血压高，目的在于治疗"),
        ("The patient has a fever and no pain", "patient fever no pain"),
        ("5 mg/a, a/b and vitamin A", "5 mg/a, a/b vitamin "),
    ],
)
def test_words_go_and_what_contains_them_stays(text, left):
    assert remove_stop_words(text) == left


def test_negations_and_numbers_are_no_stop_words():
    chinese = set("不无未非勿一二两余") | {"没有", "否认"}
    english = {"no", "not", "without", "denies", "never", "none", "one", "two"}
    assert not stop_words() & (chinese | english)
    assert (
        clean("患者无发热，未见异常，否认外伤", stop_words=True) == "患者无发热，未见异常，否认外伤"
    )


def test_words_of_ones_own_can_be_added_or_stand_alone():
    assert clean("患者的头痛", extra_stop_words=["患者"]) == "的头痛"
    assert clean("患者的头痛", stop_words=True, extra_stop_words=["患者"]) == "头痛"


def test_the_languages_are_apart():
    assert "的" in stop_words("zh") - stop_words("en")
    assert "the" in stop_words("en") - stop_words("zh")
