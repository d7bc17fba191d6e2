"""Sentences of Chinese and English notes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.errors import RecipeError
from vesalius.text import sentences


def stripped(text, **options):
    return [sentence.strip() for sentence in sentences(text, **options)]


@pytest.mark.parametrize(
    "parts",
    [
        ["患者头痛3天。", "伴恶心！", "无发热？", "余正常；", "好"],
        ["体温36.5℃，血压120/80mmHg。", "WBC 10.5×10⁹/L。"],
        ["他说：“头痛。”", "随后好转。"],
        ["“好转。”，患者说。", "出院。"],
        ["（无发热。）", "有咳嗽……", "已愈。"],
        ["真的吗？！", "是的。"],
        ["主诉：头痛", "现病史：3天前", "既往史"],
        ["头痛.", "发热!", "咳嗽?", "好转;", "出院"],
        ["一.主诉：头痛。", "二.现病史"],
        ["Seen by Dr. Wang and Mr. Li.", "No fever.", "BP 120/80 mmHg."],
        ["Temp. 37.5 today.", "See Fig. 3 and No. 5 e.g. the second.", "Fine?", "Yes!"],
        ["He was 45.", "She was 38."],
        ["1. Hypertension 2. Diabetes 3. COPD"],
        ["Pain since 3 p.m. yesterday.", "Give 5 mg b.i.d. for 3 days."],
        [
            "Hepatitis B. virus load was high.",
            "J. F. Kennedy came.",
            "He has hepatitis B.",
            "The rest is well.",
        ],
        ['"Is it?" he asked.', '"It is."', "(Not now.)", "Then."],
        ["Approx. 5 days vs. 7 days.", "Wait... then go."],
        ["患者有COPD.", "既往由Dr.王诊治.", "否认糖尿病。"],
    ],
)
def test_sentences_end_where_a_reader_ends_them(parts):
    gap = "\n" if parts[0].startswith("主诉") else " " if parts[0].isascii() else ""
    assert stripped(gap.join(parts)) == parts


def test_only_the_marks_of_the_language_count():
    assert stripped("头痛。发热. Fever. Pain.", language="zh") == [
        "头痛。",
        "发热.",
        "Fever. Pain.",
    ]
    assert stripped("头痛。发热. Fever. Pain.", language="en") == ["头痛。发热.", "Fever.", "Pain."]
    with pytest.raises(RecipeError, match="auto, zh, en"):
        sentences("x", language="fr")


@given(
    st.lists(
        st.sampled_from([*"患者。！；.!?;…”\"') \nAab1一", "Dr", "No", " 2. ", ". ", "\r\n"])
    ).map("".join),
    st.sampled_from(["auto", "zh", "en"]),
)
def test_sentences_join_to_the_text_and_none_is_blank(text, language):
    found = sentences(text, language=language)
    assert "".join(found) == text
    assert all(sentence.strip() for sentence in found) or not text.strip()
