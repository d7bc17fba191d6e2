import pytest

from vesalius.diagnose.rules import LabelRule, Rules, matches, parse_age, parse_sex
from vesalius.errors import DataError


def test_the_shipped_rules_are_sound():
    rules = Rules.read("age-sex")
    names = ["良性前列腺增生", "子宫肌瘤", "妊娠期糖尿病", "新生儿肺炎", "高血压"]
    allowed = rules.possible(names, [60.0, 60.0, 0.05], ["male", "female", "male"])
    assert allowed.tolist() == [
        [True, False, False, False, True],
        [False, True, True, False, True],
        [True, False, False, True, True],
    ]


def test_wrong_rule_files_are_explained(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(
        "labels:\n  a: {sexes: [men]}\n  b: {minimum_age: 9, maximum_age: 3}\n", encoding="utf-8"
    )
    with pytest.raises(DataError) as caught:
        Rules.read(path)
    assert any("male" in problem for problem in caught.value.problems)
    assert "labels.b" in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        Rules.read(tmp_path / "none.yaml")


def test_patterns_fit_whatever_their_case():
    assert matches("Prostatic Hyperplasia", "*prostat*")
    assert not matches("高血压", "*前列腺*")


def test_ages_and_sexes_must_be_known_words_and_as_many():
    rules = Rules(labels={"a": LabelRule(sexes=("male",))})
    with pytest.raises(DataError, match="男"):
        rules.possible(["a"], [3.0], ["男"])
    with pytest.raises(DataError, match="2 ages"):
        rules.possible(["a"], [3.0, 4.0], ["male"])


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("56岁", 56), ("５６岁", 56), ("56", 56), (56, 56), ("56周岁", 56), ("3岁6个月", 3.5),
        ("3岁6月", 3.5), ("8个月", 8 / 12), ("10天", 10 / 365.25), ("2周", 14 / 365.25),
        ("五十六岁", 56), ("十岁", 10), ("一百零二岁", 102), ("两岁", 2), ("80余岁", 80),
        ("56 years old", 56), ("56-year-old", 56), ("56y", 56), ("8 months", 8 / 12),
        ("6h", 6 / 8766),
        ("患者，女，34岁", 34), ("", None), (None, None), ("不详", None), ("560岁", None),
    ],
)  # fmt: skip
def test_ages_are_read(text, years):
    found = parse_age(text)
    assert found == (None if years is None else pytest.approx(years))


@pytest.mark.parametrize(
    ("text", "sex"),
    [
        ("男", "male"), ("女性", "female"), ("M", "male"), ("Female", "female"), ("女婴", "female"),
        ("a 56-year-old man", "male"), ("", None), (None, None), ("未知", None), ("男/女", None),
        ("Ｆ", "female"),
    ],
)  # fmt: skip
def test_sexes_are_read(text, sex):
    assert parse_sex(text) == sex
