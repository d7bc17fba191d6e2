"""Finding and replacing personal data.

Four sets of marked sentences. The rules were written with the first at hand. Each of the others
was written after the rules and looked at once before anything was mended: recall was then 0.87,
0.72 and 0.89 of the marked spans, and precision 0.99, 0.98 and 0.99. Mended by what was missed, the
rules must keep what is asserted here; on sentences of another kind expect the figures of the first
look.
"""

import random
import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.personal_evaluation import evaluate, read, unmark
from vesalius.errors import RecipeError
from vesalius.text import personal
from vesalius.text.personal import KINDS, Deidentifier, deidentify, find_personal

HERE = Path(__file__).parent
TUNED = read(HERE / "personal_tuned.yaml")
SECOND = read(HERE / "personal_second.yaml")
THIRD = read(HERE / "personal_third.yaml")
FOURTH = read(HERE / "personal_fourth.yaml")
NOTE = (
    "患者张建国，男，92岁，住院号：ZY0012345，身份证号11010519491231002X，电话13812345678，"
    "2023年5月3日于武汉同济医院就诊，5月6日请张医生会诊，血压120/80mmHg，WBC 10.5×10⁹/L。"
)


def kinds(text: str, **options) -> list[tuple[str, str]]:
    return [(span.kind, span.text) for span in find_personal(text, **options)]


@pytest.mark.parametrize(
    ("cases", "recall"),
    [(TUNED, 0.99), (SECOND, 0.99), (THIRD, 0.98), (FOURTH, 0.97)],
    ids=["tuned", "second", "third", "fourth"],
)
def test_recall_and_precision_on_the_marked_sentences(cases, recall):
    counts = evaluate(cases)
    assert counts.recall >= recall, counts.missed
    assert counts.precision >= 0.98, counts.false


def test_the_marked_sentences_cover_all_kinds_and_both_languages():
    marked = {kind for _, spans in TUNED for *_, kind in spans}
    assert marked == set(KINDS)
    assert sum(not spans for _, spans in TUNED) > 30
    english = [text for text, _ in TUNED if not re.search(r"[\u4e00-\u9fff]", text)]
    assert 30 < len(english) < len(TUNED) - 60


def test_marks_are_read_with_their_offsets():
    assert unmark("住{address|北京市海淀区}。") == ("住北京市海淀区。", [(1, 7, "address")])


@pytest.mark.parametrize(
    "text",
    [
        "患者高血压病史10年，黄疸3天，白细胞升高，程度较重，左侧肢体无力。",
        "血压120/80mmHg，WBC 12.3×10⁹/L，血糖3.5mmol/L，心率92次/分。",
        "3/6级收缩期杂音，肌力4/5级，GCS 15分，SpO2 98%，90/60mmHg。",
        "BP 120/80 mmHg, strength 5/5, INR 2.5, 1.2 x 0.8 cm, HbA1c 7.2 %.",
        "Parkinson disease, Murphy sign, Glasgow Coma Scale 15, Foley catheter.",
    ],
)
def test_values_and_diseases_are_not_personal(text):
    assert kinds(text) == []
    assert deidentify(text).text == text


def test_full_width_digits_and_signs_keep_their_offsets():
    text = "电话：１３８１２３４５６７８，姓名：李　明"
    found = find_personal(text)
    assert [span.kind for span in found] == ["telephone", "name"]
    assert all(text[span.start : span.end] == span.text for span in found)


def test_a_name_found_once_is_found_everywhere():
    text = "姓名：张三丰。今日张三丰神志清。"
    assert [span.start for span in find_personal(text)] == [3, 9]


def test_a_known_name_needs_no_cue():
    assert kinds("昨晚游乐未眠") == []
    assert kinds("昨晚游乐未眠", known=["游乐"]) == [("name", "游乐")]


def test_identity_cards_need_their_check_digit_where_nothing_names_them():
    assert kinds("编码11010519491231002X") == [("identity_card", "11010519491231002X")]
    assert kinds("编码110105194912310021") == []
    assert kinds("身份证号：110105194912310021")[0][0] == "identity_card"


def test_ages_are_personal_from_90():
    assert kinds("患者89岁") == []
    assert kinds("患者90岁") == [("age", "90")]
    assert deidentify("患者90岁").text == "患者90+岁"


def test_kinds_can_be_kept():
    text = "3天前于河南省人民医院就诊，电话13812345678"
    assert [kind for kind, _ in kinds(text, keep=["hospital"])] == ["telephone"]
    assert "河南省人民医院" in deidentify(text, keep=["hospital"]).text


@pytest.mark.parametrize("keep", [["hospitals"], "hospital"])
def test_an_unknown_kind_names_the_known_ones(keep):
    with pytest.raises(RecipeError, match="identity_card"):
        find_personal("x", keep=keep)


def test_an_unknown_mode_names_the_known_ones():
    with pytest.raises(RecipeError, match="surrogate, mask, tag"):
        Deidentifier(mode="hide")


def test_clinical_values_survive_and_nothing_personal_does():
    made = deidentify(NOTE, salt="s")
    for span in made.spans:
        assert span.kind == "age" or span.text == "张" or span.text not in made.text
    assert "120/80mmHg，WBC 10.5×10⁹/L" in made.text


def test_masks_keep_every_offset_and_tags_say_the_kind():
    masked = deidentify(NOTE, mode="mask")
    assert len(masked.text) == len(NOTE)
    for span in masked.spans:
        assert set(masked.text[span.start : span.end]) == {"*"}
    assert "[name]" in deidentify(NOTE, mode="tag").text


def test_the_same_name_has_the_same_surrogate_in_all_texts_and_processes():
    first, second = Deidentifier(salt="s"), Deidentifier(salt="s")
    one = first("姓名：张建国").text
    assert one == second("姓名：张建国").text
    assert one.removeprefix("姓名：") in second("患者张建国因咳嗽入院").text


def test_a_title_keeps_the_surname_of_the_surrogate():
    text = Deidentifier(salt="s")("主治医师：张建国。请张医生会诊。").text
    found = re.fullmatch(r"主治医师：(.)..。请(.)医生会诊。", text)
    assert found is not None
    assert found[1] == found[2] != "张"


def test_english_names_stay_one_person():
    text = deidentify("Patient John Smith was seen. Smith denies pain. Mr. Smith left.").text
    found = re.fullmatch(r"Patient (\w+) (\w+) was seen. (\w+) denies pain. Mr. (\w+) left.", text)
    assert found is not None
    assert found[2] == found[3] == found[4] != "Smith"


def test_another_salt_and_another_seed_give_other_surrogates():
    texts = {deidentify(NOTE, salt=salt, seed=seed).text for salt in "ab" for seed in (0, 1)}
    assert len(texts) == 4


def test_dates_of_one_patient_move_together():
    chosen = Deidentifier(salt="s")
    shifts = {chosen.days(f"P{i}") for i in range(50)}
    assert len(shifts) > 30
    assert 0 not in {chosen.days(f"P{i}") for i in range(3000)}
    assert all(abs(days) <= 365 for days in shifts)
    one, other = (chosen(t, patient="P1").text for t in ("2023-05-03", "2023-05-13"))
    assert (date.fromisoformat(other) - date.fromisoformat(one)).days == 10


def test_surrogate_numbers_belong_to_nobody():
    from vesalius.text.identifiers import numbers

    chosen = Deidentifier(salt="s")
    for place in range(50):
        text = chosen(f"身份证号：11010519491231{place:03d}1，手机138{place:08d}").text
        card, phone = re.fullmatch(r"身份证号：(\d{17}[\dX])，手机(\d{11})", text).groups()
        assert numbers.check_character(card[:17]) != card[17]
        assert phone.startswith("142")


def test_check_digits_are_those_of_the_standards():
    from vesalius.text.identifiers import numbers

    # The example of GB 11643-1999, and the one of ISO/IEC 7812-1 as it is usually printed.
    assert numbers.check_character("11010519491231002") == "X"
    assert numbers.luhn_digit("7992739871") == "3"


PIECES = [
    "患者",
    "张三",
    "，",
    "姓名：",
    "李 明",
    "2023年5月3日",
    "5月1日至3日",
    "May 3-5, 2023",
    "医生",
    "高血压",
    "13812345678",
    "住院号",
    "Z12-3",
    "Dr. ",
    "Smith",
    " ",
    "12床",
    "92岁",
    "·",
    "某",
    "武汉市洪山区",
    "120/80",
    "a@b.cn",
    "5/3/23",
    "二〇二三年五月三日",
    "（",
    "）",
    "\n",
]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=14), st.sampled_from(["surrogate", "mask", "tag"])
)
def test_what_is_not_personal_stays_in_its_order(pieces, mode):
    text = "".join(pieces)
    made = deidentify(text, mode=mode, salt="s")
    position, rest = 0, made.text
    for span in [*made.spans, None]:
        kept = text[position : span.start if span else len(text)]
        assert kept in rest
        rest = rest[rest.index(kept) + len(kept) :]
        if span:
            assert text[span.start : span.end] == span.text
            position = span.end


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_arbitrary_text_never_fails(text):
    deidentify(text)


def test_random_names_are_found_after_a_label():
    generator = random.Random(0)
    surnames, characters = (
        "王李张刘陈杨赵周吴徐孙朱郭郑梁谢宋唐韩邓",
        "伟芳娜秀英敏静丽强磊军洋勇艳杰",
    )
    for _ in range(300):
        name = generator.choice(surnames) + "".join(
            generator.sample(characters, generator.choice([1, 2]))
        )
        for form in (
            "姓名：{}  性别：女",
            "患者{}，男，45岁",
            "{}，女，30岁，农民",
            "主治医师：{}",
        ):
            text = form.format(name)
            assert ("name", name) in kinds(text), text


def test_the_package_exports_what_it_documents():
    assert personal.counted(find_personal("电话13812345678")) == {"telephone": 1}
