"""Numbers, negations with their scope, and terms are found in Chinese and English notes."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import DataError
from vesalius.text.facts import clauses, facts
from vesalius.text.lexicons import Lexicon, by_category, default, lower, read, resolve


def found(text, kind, **options):
    return [fact.text for fact in facts(text, **options) if fact.kind == kind]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("咳嗽3天前加重", ["3天前"]),
        ("血压180/110mmHg", ["180/110mmHg"]),
        ("体温最高38.5℃", ["最高38.5℃"]),
        ("白细胞12.3×10^9/L↑", ["12.3×10^9/L", "↑"]),
        ("白细胞10×10⁹/L", ["10×10⁹/L"]),
        ("病史10余年", ["10余年"]),
        ("每日两次", ["两次"]),
        ("疼痛半年", ["半年"]),
        ("三至五天", ["三至五天"]),
        ("3～5天", ["3～5天"]),
        ("２０２１年３月５日入院", ["２０２１年３月５日"]),
        ("2021-03-05入院", ["2021-03-05"]),
        ("心功能Ⅱ级", ["Ⅱ级"]),
        ("分级3级", ["3级"]),
        ("血糖≥7.0mmol/L", ["≥7.0mmol/L"]),
        ("左侧肢体麻木", ["左侧"]),
        ("尿蛋白(+)", ["(+)"]),
        ("阿莫西林0.5g tid后好转", ["0.5g", "tid"]),
        ("metoprolol 25 mg, bilateral edema for three days", ["25 mg", "bilateral", "three days"]),
        ("BP 120/80 mmHg", ["120/80 mmHg"]),
        ("grade II", ["grade II"]),
    ],
)
def test_numbers_carry_sign_range_unit_and_relation(text, expected):
    assert found(text, "number") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("否认高血压、糖尿病、冠心病史，有哮喘", ["否认高血压、糖尿病、冠心病史"]),
        ("未闻及干湿啰音", ["未闻及干湿啰音"]),
        ("无发热，有咳嗽", ["无发热"]),
        ("不伴恶心、呕吐", ["不伴恶心、呕吐"]),
        ("没有胸痛", ["没有胸痛"]),
        ("3天前无明显诱因出现发热", ["无明显诱因"]),
        ("病理征未引出", ["病理征未引出"]),
        ("HBsAg阳性，HCV阴性", ["HCV阴性"]),
        ("墨菲征（-）", ["墨菲征（-）"]),
        ("发热：无", ["发热：无"]),
        ("未再出现胸痛", ["未再出现胸痛"]),
        ("无锡人，不仅头痛，病因不详，未婚", []),
        ("心功能不全，腹部不适，不除外肺癌", []),
        ("denies chest pain, nausea, or vomiting, but has fever", None),
        ("no history of diabetes. Fever", ["no history of diabetes"]),
        ("not only fever", []),
        ("Murphy sign negative", ["Murphy sign negative"]),
        ("negative for malignancy", ["negative for malignancy"]),
        ("without fever, she coughs", ["without fever"]),
    ],
)
def test_negations_reach_to_the_end_of_their_enumeration(text, expected):
    if expected is None:
        expected = ["denies chest pain, nausea, or vomiting"]
    assert found(text, "negation") == expected


def test_terms_know_the_negation_that_governs_them():
    states = {
        fact.text: fact.cue for fact in facts("否认糖尿病、冠心病，有高血压") if fact.kind == "term"
    }
    assert states == {"糖尿病": "否认", "冠心病": "否认", "高血压": ""}


def test_the_longest_term_wins():
    assert found("2型糖尿病肾病", "term")[0] != "糖尿病"
    assert found("急性心肌梗死", "term") == ["急性心肌梗死"]


def test_names_that_no_lexicon_has_are_known_by_their_endings():
    assert "皮肤炭疽病" in found("诊断为皮肤炭疽病", "term", lexicon=Lexicon([]))
    assert found("予泰利霉素治疗", "term", lexicon=Lexicon([])) == ["泰利霉素"]
    assert found("病情平稳，病史同前，体征同前", "term", lexicon=Lexicon([])) == []
    assert found("a rare cardiomyopathy", "term", lexicon=Lexicon([])) == ["cardiomyopathy"]


def test_english_terms_need_word_boundaries_and_may_be_plural():
    lexicon = Lexicon(["ct", "cough", "palpitation"])
    assert found("the doctor acted", "term", lexicon=lexicon) == []
    assert found("CT showed", "term", lexicon=lexicon) == ["CT"]
    assert found("Palpitations, coughing", "term", lexicon=lexicon) == ["Palpitations"]
    assert found("胸部CT示", "term", lexicon=lexicon) == ["CT"]


def test_the_own_lists_have_several_hundred_terms_each_found_whole_by_itself():
    terms = {term for group in by_category().values() for term in group}
    assert len(terms) > 1200
    own = Lexicon(terms)
    assert [term for term in terms if own.scan(lower(term)) != [(0, len(term))]] == []


def test_a_users_terms_come_beside_the_default_ones(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("奇异感\n# a comment\n", encoding="utf-8")
    assert found("感奇异感、发热", "term", lexicon=path) == ["奇异感", "发热"]
    assert found("感奇异感、发热", "term", lexicon=["奇异感"]) == ["奇异感", "发热"]
    path = tmp_path / "mine.yaml"
    path.write_text("drug: [甲药, 乙药]\n", encoding="utf-8")
    assert read(path) == ["甲药", "乙药"]


def test_a_lexicon_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match="no lexicon"):
        resolve(tmp_path / "none.txt")
    with pytest.raises(DataError, match="发热，咳嗽"):
        resolve(["发热，咳嗽", "甲病"])
    path = tmp_path / "bad.yaml"
    path.write_text("drug: 3\n", encoding="utf-8")
    with pytest.raises(DataError, match="lists of terms"):
        resolve(path)


def test_copies_sent_to_a_process_are_one_lexicon_there():
    lexicon = Lexicon(["甲病"], sources=["a list"])
    one, two = (pickle.loads(pickle.dumps(lexicon)) for _ in range(2))
    assert one is two
    assert (one.terms, one.sources) == (lexicon.terms, lexicon.sources)
    assert resolve(None) is default()


NOTES = st.text(alphabet="无否认糖尿病发热3.5天℃，。、；（-） abno fever,.\nİ未", max_size=60)


@settings(max_examples=40, deadline=None)
@given(NOTES)
def test_facts_lie_where_they_say(text):
    for fact in facts(text):
        assert text[fact.start : fact.end] == fact.text
        assert fact.text


@settings(max_examples=40, deadline=None)
@given(NOTES)
def test_clauses_joined_are_the_text_and_have_its_facts(text):
    assert "".join(clauses(text)) == text
    apart = [(f.kind, f.text, f.cue) for clause in clauses(text) for f in facts(clause)]
    assert apart == [(f.kind, f.text, f.cue) for f in facts(text)]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=30))
def test_lowering_keeps_every_place(text):
    assert len(lower(text)) == len(text)
