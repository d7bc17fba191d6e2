"""Cutting into words."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import DataError, RecipeError
from vesalius.text import words
from vesalius.text.lexicons import Lexicon
from vesalius.text.wording import Cutter

TEXTS = st.text("患者慢性阻塞肺疾病2型糖尿Ⅱ，。 \t\n3.5mg/LCTab'-é", max_size=30)


@pytest.mark.parametrize(
    "term",
    [
        *("慢性阻塞性肺疾病", "2型糖尿病", "Ⅱ型糖尿病", "D-二聚体", "C反应蛋白", "IgA肾病", "B超"),
        *("头颅CT", "头颅ct", "维生素B12", "冠状动脉粥样硬化性心脏病"),
    ],
)
def test_medical_terms_stay_whole(term):
    assert term in words(f"患者{term}史10年，复查。")
    assert words(term) == [term]


def test_a_term_is_not_found_inside_a_longer_latin_word():
    assert words("行头颅CTA检查")[1:3] == ["头颅", "CTA"]


def test_a_term_behind_a_number_of_a_list_is_found():
    assert words("诊断：1.2型糖尿病")[-1] == "2型糖尿病"


def test_without_a_lexicon_the_words_are_those_of_rjieba():
    import rjieba

    text = "患者慢性阻塞性肺疾病10年，2型糖尿病，白细胞12.3×10^9/L。"
    assert words(text, lexicon=Lexicon([])) == rjieba.cut(text)
    assert "慢性阻塞性肺疾病" not in words(text, lexicon=Lexicon([]))


def test_the_shared_dictionary_of_rjieba_stays_as_it_is():
    import rjieba

    words("慢性阻塞性肺疾病")
    assert rjieba.cut("慢性阻塞性肺疾病") == ["慢性", "阻塞性", "肺", "疾病"]


def test_english_is_cut_by_expression():
    text = "Patient doesn't take X-ray-guided 5mg b.i.d.; 37.5C, 50% (n=1,200)."
    assert words(text) == [
        *("Patient", "doesn't", "take", "X-ray-guided", "5mg", "b.i.d.", ";", "37.5C", ","),
        *("50%", "(", "n", "=", "1,200", ")", "."),
    ]


def test_accented_words_stay_whole():
    assert words("Ménière's disease") == ["Ménière's", "disease"]


def test_the_language_can_be_given():
    assert words("COPD 10", language="zh") == ["COPD", "10"]
    assert words("患者COPD", language="en") == ["患者COPD"]


def test_other_cutters():
    assert words("患者 ab", cutter="characters") == ["患", "者", "a", "b"]
    assert words("患者 ab", cutter="whitespace") == ["患者", "ab"]
    assert words("患者 ab", cutter="regex") == ["患者", "ab"]
    assert words("a|b", cutter=lambda text: text.split("|")) == ["a", "b"]


def test_jieba_keeps_medical_terms_whole():
    pytest.importorskip("jieba", reason="the cutter jieba is an extra")
    assert words("患有慢性阻塞性肺疾病和Ⅱ型糖尿病", cutter="jieba") == [
        *("患有", "慢性阻塞性肺疾病", "和", "Ⅱ型糖尿病")
    ]


def test_terms_of_ones_own_are_kept_beside_the_packages(tmp_path):
    path = tmp_path / "terms.txt"
    path.write_text("甲乙丙丁症\n", encoding="utf-8")
    text = "甲乙丙丁症与慢性阻塞性肺疾病"
    for lexicon in (path, str(path), ["甲乙丙丁症"]):
        assert words(text, lexicon=lexicon) == ["甲乙丙丁症", "与", "慢性阻塞性肺疾病"]
    assert "慢性阻塞性肺疾病" not in words(text, lexicon=Lexicon(["甲乙丙丁症"]))


@given(TEXTS, st.sampled_from(["rjieba", "characters", "whitespace", "regex"]))
@settings(deadline=None, max_examples=300)
def test_words_lose_nothing_but_white_space(text, cutter):
    cut = words(text, cutter=cutter)
    assert "".join(cut) == "".join(text.split())
    assert all(word and not any(map(str.isspace, word)) for word in cut)
    assert "".join(words(text, cutter=cutter, spaces=True)) == text


def test_a_cutter_goes_to_other_processes():
    cutter = Cutter("rjieba", lexicon=["甲乙丙丁症"])
    again = pickle.loads(pickle.dumps(cutter))
    assert again("甲乙丙丁症") == cutter("甲乙丙丁症") == ["甲乙丙丁症"]


def test_wrong_choices_are_named(tmp_path):
    with pytest.raises(RecipeError, match="'letters'"):
        words("a", cutter="letters")
    with pytest.raises(RecipeError, match="'de'"):
        words("a", language="de")
    with pytest.raises(DataError, match="no lexicon"):
        words("中", lexicon=tmp_path / "none.txt")
    with pytest.raises(RecipeError, match="not in the text"):
        words("ab", cutter=lambda text: ["c"], spaces=True)
