"""Cleaning: what changes, what must not, and that a second time changes nothing."""

import pickle
import random
import re
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vesalius.errors import RecipeError
from vesalius.text import CleanOptions, clean, clean_with_report
from vesalius.text.cleaning import Cleaner, difference
from vesalius.text.cleaning_work import EXAMPLES, Report, Work

WIDE = {chr(code - 0xFEE0): chr(code) for code in range(0xFF01, 0xFF5F)}
UNITS = (
    *(
        "mmHg",
        "mmol/L",
        "×10⁹/L",
        "×10^9/L",
        "×10¹²/L",
        "g/L",
        "kg/m²",
        "℃",
        "%",
        "次/分",
        "天",
        "cm",
    ),
    *(
        "μg/L",
        "U/L",
        "mL",
        "kPa",
        "IU/L",
        "mEq/L",
        "ng/ml",
        "℉",
        "‰",
        "cm³",
        "mmH2O",
        "m²",
        "年",
        "岁",
    ),
)
ONE_CHARACTER = {
    "kg": "㎏",
    "mg": "㎎",
    "m²": "㎡",
    "cm³": "㎤",
    "cm": "㎝",
    "μg": "㎍",
    "mL": "mL",
}
BEFORE = ("血压", "，白细胞", "体温：", "（最高", "①血糖", "Ⅱ型，", "WBC ", "尿蛋白", "BP: ", "约")
AFTER = (
    "。",
    "，伴头痛",
    "）5年余",
    "↑",
    "↓↑",
    "；余正常",
    " (高)",
    "→好转",
    ", 后降",
    "±，余（－）",
)


def measurement(rng: random.Random) -> tuple[tuple, str]:
    """Return a measurement as (comparison, numbers, joint, unit), and a way to type it."""
    sign = rng.choice(["", "", "≥", "≤", ">", "<", "±", "约"])
    joint = rng.choice(["", "", "/", "~", "-", "×"])
    places = rng.randrange(3)
    numbers = [f"{rng.uniform(0, 999):.{places}f}" for _ in range(2 if joint else 1)]
    unit = rng.choice(UNITS)
    typed = rng.choice({"~": "~～〜∼", "-": "-－–—−"}.get(joint, [joint]))
    written_unit = unit
    for plain, single in ONE_CHARACTER.items():
        if rng.random() < 0.5:
            written_unit = written_unit.replace(plain, single)
    text, wide = sign + typed.join(numbers) + written_unit, rng.random()
    return (sign, numbers, joint, unit), "".join(
        WIDE.get(character, character) if rng.random() < wide else character for character in text
    )


MEASURE = re.compile(
    r"(?P<sign>[≥≤><±约]?)(?P<a>\d+(?:\.\d+)?)(?:(?P<joint>[/~-]|×(?!10[⁹¹^]))(?P<b>\d+(?:\.\d+)?))?"
)


def read(text: str, unit: str) -> tuple:
    """Parse the measurement at the start of a text that is written in plain characters."""
    match = MEASURE.match(text)
    numbers = [Decimal(match["a"])] + ([Decimal(match["b"])] if match["b"] else [])
    assert text[match.end() :].startswith(unit), (text, unit)
    return match["sign"], numbers, match["joint"] or ""


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_measurements_mean_after_cleaning_what_they_meant_before(seed, lower):
    rng = random.Random(seed)
    for _ in range(50):
        (sign, numbers, joint, unit), typed = measurement(rng)
        text = f"{rng.choice(BEFORE)}测得{typed}{rng.choice(AFTER)}"
        result = clean(text, case="lower" if lower else "keep")
        wanted = sign, [Decimal(number) for number in numbers], joint
        assert read(result.partition("测得")[2], unit) == wanted, text
        for mark in "↑↓→±①Ⅱ":
            assert result.count(mark) == text.count(mark), text


@pytest.mark.parametrize(
    "kept",
    [
        "白细胞12.3×10⁹/L，10^9/L，10×10*9/L",
        "①高血压3级（最高180/110mmHg）②2型糖尿病",
        "尿蛋白+++，血钾≥5.5mmol/L↑↑，Ⅱ度，Ⅲ型，½片",
        "体表面积1.73m²，Ca²⁺ 2.3mmol/L，H₂O，37℃，98.6℉",
        "年龄六十五岁，二〇〇〇年，第三三三号，一一九",
        "AAA术后，SSS，DDD起搏，VIII因子，III度房室传导阻滞",
        "电话138****5678，姓名张××，×××医院",
        "P<0.05，BP<140/90mmHg，a<140/90>c，CRP>100mg/L & ESR快",
        "3~5天，3-5次，约10余年，0.9%氯化钠100ml",
        "He was 45. BP 120/80 mmHg, pH 7.35 (1,200 ml at 10:30).",
        "分别为5，6，7及1,234元；比例1:2",
        "naïve café, Sjögren, Ménière, Å, × and ÷",
        "显著改善，乾隆年间，薹草，合并症，妈妈的爸爸常常咳嗽",
    ],
)
def test_clean_clinical_text_stays_as_it_is(kept):
    assert clean(kept) == kept


@pytest.mark.parametrize(
    ("dirty", "wanted"),
    [
        ("血压１２０／８０ｍｍＨｇ，体温３６．５℃", "血压120/80mmHg，体温36.5℃"),
        (
            "ＢＭＩ　２４㎏/㎡，尿蛋白（＋＋），氧饱和度９８％",
            "BMI 24kg/m²，尿蛋白（++），氧饱和度98%",
        ),
        ("头痛,头晕;无发热(轻度).", "头痛，头晕；无发热（轻度）。"),
        ("血压:120/80mmHg,心率:80次/分", "血压：120/80mmHg，心率：80次/分"),
        ("患者於三年前出現頭暈、乾咳", "患者于三年前出现头晕、干咳"),
        ("啊啊啊啊好痛soooo", "啊啊好痛soo"),
        ("真的？？？。。。。", "真的？。"),
        ("等待......", "等待..."),
        ("白细胞 10×10<sup>9</sup>/L<br/>H<sub>2</sub>O", "白细胞 10×10⁹/L\nH₂O"),
        ("<p class='x'>血压</p><td>120</td><td>80</td>", "血压\n120 80"),
        ("P&lt;0.05&nbsp;&plusmn;2&deg; &amp;amp; &#8593; &unknown;", "P<0.05 ±2° & ↑ &unknown;"),
        ("见https://a.cn/120?x=1，后www.b.org/80好转", "见 ，后 好转"),
        ("A\u200bB\x00C\r\nD\ufeff\u3000\u00a0E", "ABC\nD E"),
        ("æ‚£è€…é«˜è¡€åŽ‹ 37Â°C", "患者高血压 37°C"),
        (
            "⾼⾎压 ﬁbrosis",
            "高血压 fibrosis",
        ),
        ("3—5天，3–5天，3 — 5天——好", "3-5天，3-5天，3-5天——好"),
        ("--------- ======", "--- ==="),
        ("  a  b \n\n\n\n c ", "a b\n\nc"),
    ],
)
def test_what_is_dirty_becomes_clean(dirty, wanted):
    assert clean(dirty) == wanted


def read_as_gbk(text: str) -> str:
    """Decode UTF-8 as Windows does with code page 936."""
    raw, characters, at = text.encode(), [], 0
    while at < len(raw):
        width = 2 if raw[at] > 0x80 else 1
        try:
            character = "€" if raw[at] == 0x80 else raw[at : at + width].decode("gb18030")
        except UnicodeDecodeError:
            character, width = "\ufffd", 1
        characters.append(character)
        at += width
    return "".join(characters)


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("查体：神志清", "查体：神志清"),
        ("患者高血压", "患者高血\ufffd"),
        ("患者否认高血压病史，无发热", "患者否认高血压病史，无发\ufffd"),
    ],
)
def test_utf8_read_as_gbk_is_repaired_and_lost_bytes_show(text, repaired):
    assert clean(read_as_gbk(text)) == repaired


@given(st.text("涓的涓涓细流患者高血压头痛", max_size=30))
def test_chinese_text_is_not_taken_for_mojibake(text):
    assert clean(text, repeats=None) == text


def test_a_comma_that_would_make_one_number_of_two_stays():
    assert clean("1,,234") == "1,,234"
    assert clean("5，6、7", punctuation="ascii") == "5, 6, 7"


ALPHABET = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from(
        "患者高血压头痛啊於後著乾１２３，。,.;:!?()（）<>&/％＋㎡ⅡⅢ①⁹↑~～—- \n\t\u200b\u00a0"
        "sSoOmMhHg01ÃÂ©â€œ锛銆"
    ),
    st.sampled_from(
        ["<b>", "</p>", "&lt;", "&amp;", "<sup>9</sup>", "http://a.b", "www.", "......", "mmHg"]
    ),
)


@settings(max_examples=300, deadline=None)
@example(text="＜b＞x", punctuation="chinese")
@example(text="http:::://a.b", punctuation="chinese")
@example(text="&am<b></b>p;lt;", punctuation="chinese")
@example(text="头痛，,,好", punctuation="chinese")
@given(st.lists(ALPHABET, max_size=40).map("".join), st.sampled_from(["chinese", "ascii", "keep"]))
def test_cleaning_twice_is_cleaning_once(text, punctuation):
    for case in ("keep", "lower"):
        once = clean(text, punctuation=punctuation, case=case)
        assert clean(once, punctuation=punctuation, case=case) == once


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(["患者", "的", "目的", "无", "the ", "no ", "pain ", "5", "/a "])).map(
        "".join
    )
)
def test_removing_stop_words_twice_is_removing_them_once(text):
    once = clean(text, stop_words=True)
    assert clean(once, stop_words=True) == once


OPTIONS = ("mojibake", "html", "urls", "control", "width", "simplified", "whitespace")


def test_every_step_can_be_switched_off():
    text = "Â°C <b>http://a.b\u200b１２ 頭  x"
    everything = dict.fromkeys(OPTIONS, False) | {"repeats": None, "punctuation": "keep"}
    assert clean(text, **everything) == text
    for name in OPTIONS:
        assert clean(text, **(everything | {name: True})) != text


def test_lower_case_spares_units_and_roman_numerals():
    text = "Patient BP 120/80mmHg, pH 7.4, WBC 5×10^9/L, 5 U, 2 mL, 3.0T MRI, III度, LDL Élan"
    lower = "patient bp 120/80mmHg, pH 7.4, wbc 5×10^9/L, 5 U, 2 mL, 3.0T mri, III度，ldl élan"
    assert clean(text, case="lower") == lower


def test_wrong_options_are_named_all_at_once():
    with pytest.raises(RecipeError) as caught:
        clean("x", widht=True, case="upper")
    assert len(caught.value.problems) == 2
    assert "width" in str(caught.value)
    assert "lower" in str(caught.value)


def test_the_report_names_steps_and_what_they_changed_first():
    text, changes = clean_with_report("无变化的长长的前文部分血压１２０，后文部分也很长很长")
    assert "120" in text
    assert changes == {
        "width": ("长的前文部分血压１２０，后文部分也很长", "长的前文部分血压120，后文部分也很长")
    }


def test_the_report_of_many_texts_counts_texts_and_keeps_the_first_examples():
    work, report = Work(Cleaner()), Report()
    for number in range(10):
        for output in work(f"１{number}", random.Random()):
            report.add(output.note)
    assert work("正常", random.Random())[0].note is None
    found = report.to_dict()
    assert found["changed"] == 10
    assert found["steps"]["width"]["texts"] == 10
    assert [item["after"] for item in found["steps"]["width"]["examples"]] == ["10", "11", "12"]
    assert len(found["steps"]["width"]["examples"]) == EXAMPLES


def test_a_cleaner_travels_to_other_processes():
    cleaner = Cleaner(CleanOptions(case="lower"))
    assert pickle.loads(pickle.dumps(cleaner))("ＡＢ") == cleaner("ＡＢ") == "ab"


@given(st.text("ab", max_size=60), st.text("ab", max_size=60))
def test_a_difference_shows_the_parts_that_differ(before, after):
    old, new = difference(before, after)
    assert old in before
    assert new in after
    assert (old == new) == (before == after) or len(before) > 100
