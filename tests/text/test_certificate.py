"""The certificate tells every change of a fact, and only those."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import RecipeError
from vesalius.text.augmenters.base import Edit
from vesalius.text.certificate import certify

NOTE = "患者3天前出现发热，体温38.5℃，否认糖尿病、冠心病史，服用阿司匹林100mg。"


def kinds(after, **options):
    return {violation.kind for violation in certify(NOTE, after, **options).violations}


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("38.5", "38.6", "number"),
        ("℃", "度", "number"),
        ("mg", "g", "number"),
        ("3天前", "3天后", "number"),
        ("3天", "三天", "number"),
        ("否认", "确认", "negation"),
        ("否认", "", "negation"),
        ("糖尿病", "高血压", "term"),
        ("阿司匹林", "布洛芬", "term"),
        ("发热", "", "term"),
        ("冠心病史", "肺癌史", "term"),
    ],
)
def test_a_changed_fact_is_a_violation(old, new, kind):
    assert kind in kinds(NOTE.replace(old, new, 1))


def test_other_words_may_change():
    assert certify(NOTE, NOTE.replace("患者", "病人").replace("出现", "发生")).ok
    assert certify("a fever for 3 days", "some fever for 3 days").ok


def test_a_word_within_the_scope_of_a_negation_may_not_change():
    assert "negation" in kinds(NOTE.replace("冠心病史", "冠心病家史"))


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("She does not have fever.", "She doesn't have fever."),
        ("He cannot walk.", "He can't walk."),
        ("He can not walk.", "He cannot walk."),
        ("It has not been seen.", "It hasn’t been seen."),
    ],
)
def test_a_contracted_not_is_the_same_negation(long, short):
    assert certify(long, short).ok
    assert not certify(long, long.replace("cannot", "can").replace(" not", "")).ok


def test_a_turned_negation_is_named():
    broken = [str(v) for v in certify("无发热，有咳嗽", "有发热，无咳嗽").violations]
    assert "term negation changed: 发热 (无 -> affirmed)" in broken
    assert "term negation changed: 咳嗽 (affirmed -> 无)" in broken


def test_order_counts_unless_allowed():
    before, after = "先发热。后咳嗽。", "后咳嗽。先发热。"
    assert [v.kind for v in certify(before, after).violations] == ["order"]
    assert certify(before, after, allow=("order",)).ok


def test_what_is_allowed_may_differ_and_nothing_else():
    assert certify("血压120mmHg", "血压130mmHg", allow=("number",)).ok
    assert not certify("血压120mmHg", "脉搏130次", allow=("number",)).ok
    with pytest.raises(RecipeError, match="known: number"):
        certify("a", "b", allow=("numbers",))


def test_a_fact_that_occurs_twice_must_occur_twice():
    assert not certify("发热，再发热", "发热，再次").ok
    assert not certify("发热", "发热，发热").ok


def test_edits_must_lead_to_the_text():
    good = [Edit(0, 2, "患者", "病人")]
    assert certify("患者发热", "病人发热", edits=good).ok
    wrong = [Edit(0, 2, "病人", "患者")]
    assert [v.kind for v in certify("患者发热", "病人发热", edits=wrong).violations] == ["edits"]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=50))
def test_every_text_agrees_with_itself(text):
    assert certify(text, text, edits=[]).ok


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_no_other_number_passes(one, two):
    assert certify(f"脉搏{one}次/分", f"脉搏{two}次/分").ok == (one == two)
