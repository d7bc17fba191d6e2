"""The synthetic cohort: its rules, its noise, and that it is neither trivial nor hopeless."""

import json
import random
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.diagnose import records
from vesalius.diagnose.cohort import synthetic_records, write_cohort
from vesalius.diagnose.cohort.noise import untidy
from vesalius.diagnose.cohort.tables import VITALS, diseases, phrases, with_faker
from vesalius.diagnose.labels import EXAMPLE, LabelRules
from vesalius.errors import MissingDependencyError, RecipeError

FIELDS = ("性别", "年龄", "主诉", "现病史", "既往史", "体格检查", "辅助检查")
NEGATIONS = re.compile("否认|未诉|未见|未及|不伴|无|阴性|均无|（-）|排除|不支持|未证实")


@pytest.fixture(scope="module")
def cohort():
    return synthetic_records(500, label_noise=0.2)


def test_the_tables_agree_with_one_another():
    table, wording = diseases(), phrases()
    assert len(table) >= 60
    names = [alias for name, row in table.items() for alias in (name, *row.aliases)]
    assert len(names) == len(set(names))
    assert set(LabelRules.read(EXAMPLE).drop) <= set(table)
    for row in table.values():
        assert set(row.with_) <= set(table)
        assert set(row.signs) <= set(wording.examination)
        assert set(row.vitals) <= set(VITALS)
        assert row.ages[0] <= row.ages[1] <= row.ages[2]
        assert set(row.sex) <= {"男", "女"}
        assert all(0 < often <= 1 for often in row.symptoms.values())
    assert set(wording.symptoms) <= {name for row in table.values() for name in row.symptoms}


def test_every_record_has_the_seven_fields_and_the_length_of_a_note(cohort):
    assert all(tuple(record.fields) == FIELDS for record in cohort)
    assert all(text for record in cohort for text in record.fields.values())
    lengths = records.describe(cohort)[""]
    assert 600 < lengths["median"] < 1200
    assert lengths["max"] < 2500
    assert min(len(record.text) for record in cohort) > 200


def test_sex_and_age_rule_out_diseases(cohort):
    table = diseases()
    for record in cohort:
        age = int(record.fields["年龄"].removesuffix("岁"))
        for name in record.truth:
            assert table[name].sex.get(record.fields["性别"], 1) > 0
            # a chronic disease goes on to a later admission
            assert table[name].ages[0] <= age <= table[name].ages[2] + 2


def test_frequencies_have_a_long_tail_and_diseases_come_together(cohort):
    counts = [count for _, count in Counter(n for r in cohort for n in r.truth).most_common()]
    assert counts[0] > 20 * counts[-1] > 0
    assert 1.8 < sum(counts) / len(cohort) < 3.5
    failing = [r for r in cohort if "心力衰竭" in r.truth]
    share = sum("冠心病" in r.truth for r in failing) / len(failing)
    assert share > 1.5 * sum("冠心病" in r.truth for r in cohort) / len(cohort)


def test_the_same_seed_gives_the_same_records_however_many_are_drawn():
    few, many = synthetic_records(20, seed=4), synthetic_records(60, seed=4)
    assert few == many[:20]
    assert few != synthetic_records(20, seed=5)


def test_the_records_are_the_same_on_every_machine():
    # golden: changes only where the tables or the writing change
    found = synthetic_records(3)
    assert [record.id for record in found] == ["ZY000001", "ZY000002", "ZY000003"]
    assert found[0].truth == ("癫痫",)


def test_label_noise_changes_labels_alone_and_is_written_down(cohort):
    clean = synthetic_records(500, label_noise=0.0)
    assert [r.fields for r in clean] == [r.fields for r in cohort]
    assert [r.truth for r in clean] == [r.truth for r in cohort]
    assert all(r.labels == r.truth and not r.changes for r in clean)
    assert all((r.labels != r.truth) == bool(r.changes) for r in cohort)
    assert 0.15 < sum(bool(r.changes) for r in cohort) / len(cohort) < 0.25
    assert {change.split(":")[0] for r in cohort for change in r.changes} == {
        "label lost",
        "label gained",
        "label exchanged",
    }
    assert all(r.labels for r in cohort)


def test_label_variants_are_other_names_of_the_same_disease():
    table = diseases()
    for record in synthetic_records(60, label_noise=0, label_variants=1):
        for name, label in zip(record.truth, record.labels, strict=True):
            assert label in table[name].aliases or not table[name].aliases


def test_absent_diseases_are_named_unless_distractors_are_off(cohort):
    table = diseases()

    def named_but_absent(record):
        words = "".join(record.fields.values())
        return [
            name
            for name, row in table.items()
            if name not in record.truth and any(n in words for n in (name, *row.aliases))
        ]

    plain = synthetic_records(100, distractors=0, noise=0)
    loud = synthetic_records(100, noise=0)
    assert sum(map(len, map(named_but_absent, loud))) > 5 * sum(
        map(len, map(named_but_absent, plain))
    )
    assert len(NEGATIONS.findall("".join(r.text for r in loud))) > 1.3 * len(
        NEGATIONS.findall("".join(r.text for r in plain))
    )


def test_what_the_patient_has_is_never_denied():
    table = diseases()
    for record in synthetic_records(150, noise=0):
        for clause in re.findall(
            r"(?:否认|无)([^。，]*?)(?:病史|等慢性病史|史)", record.fields["既往史"]
        ):
            denied = set(clause.split("、"))
            for name in record.truth:
                assert not denied & {name, *table[name].aliases}


def test_readmissions_share_the_patient_and_keep_chronic_diseases():
    table = diseases()
    found = synthetic_records(200, readmissions=1.0, label_noise=0)
    pairs = [(a, b) for a, b in pairwise(found) if a.group == b.group]
    assert len(pairs) == 100
    for first, second in pairs:
        assert first.fields["性别"] == second.fields["性别"]
        chronic = {name for name in first.truth if table[name].chronic}
        assert chronic <= set(second.truth)
    alone = synthetic_records(50, readmissions=0)
    assert len({record.group for record in alone}) == 50


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 1))
def test_slips_change_no_value_and_no_negation(seed, amount):
    text = "无发热，否认高血压病史，血压152/94mmHg，白细胞11.2×10^9/L，（-），体温36.5℃，咳嗽、腹痛"
    found = untidy(text, amount, phrases(), random.Random(seed))
    half = found.translate(str.maketrans("０１２３４５６７８９⁹", "01234567899"))
    half = half.replace("10E9", "10^9").replace("109", "10^9")
    assert re.findall(r"\d+(?:\.\d+)?", half) == re.findall(r"\d+(?:\.\d+)?", text)
    for cue in ("无", "否认", "（-）"):
        assert found.count(cue) == text.count(cue)


def test_no_noise_leaves_the_text(cohort):
    assert untidy("血压120/80mmHg", 0, phrases(), random.Random(0)) == "血压120/80mmHg"
    assert synthetic_records(30, noise=0)[0].fields != synthetic_records(30, noise=1)[0].fields


def test_wrong_arguments_are_named_at_once():
    with pytest.raises(RecipeError) as error:
        synthetic_records(0, noise=2, label_noise=-1)
    assert len(error.value.problems) == 3


def test_the_file_is_read_back_and_the_truth_lies_beside_it(tmp_path):
    made = synthetic_records(40, label_noise=0.5)
    beside = write_cohort(made, tmp_path / "cohort.jsonl")
    found = records.read(tmp_path / "cohort.jsonl")
    assert [(r.id, r.fields, r.labels, r.group) for r in found] == [
        (r.id, r.fields, r.labels, r.group) for r in made
    ]
    truth = [json.loads(line) for line in beside.read_text("utf-8").splitlines()]
    assert [tuple(row["truth"]) for row in truth] == [r.truth for r in made]


def test_diseases_of_the_package_are_added_where_it_is_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faker_healthcare", None)
    monkeypatch.setitem(__import__("sys").modules, "faker_healthcare.zh_CN", None)
    name = "faker_healthcare.zh_CN.disease_correlations"
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingDependencyError, match="faker-healthcare-provider"):
        with_faker()
    monkeypatch.undo()
    pytest.importorskip("faker_healthcare")
    assert len(with_faker()) > len(diseases()) + 100
    assert len({n for r in synthetic_records(300, faker=True) for n in r.truth} - set(diseases()))


def test_the_cohort_is_neither_trivial_nor_hopeless():
    """Frequent diseases are learned from words alone, better where nothing is denied."""
    text = pytest.importorskip("sklearn.feature_extraction.text")
    metrics = pytest.importorskip("sklearn.metrics")

    def score(found):
        """Kernel ridge on TF-IDF, thresholds by its leave-one-out residuals in closed form."""
        names = [n for n, _ in Counter(n for r in found for n in r.truth).most_common(8)]
        truth = np.array([[name in r.truth for name in names] for r in found])
        cut = round(0.7 * len(found))
        vectors = text.TfidfVectorizer(
            analyzer="char", ngram_range=(1, 2), min_df=3, sublinear_tf=True, max_features=4000
        ).fit_transform(r.text for r in found)
        kernel = (vectors @ vectors[:cut].T).toarray()
        inverse = np.linalg.inv(kernel[:cut] + 0.1 * np.eye(cut))
        weights = inverse @ (truth[:cut] - truth[:cut].mean(axis=0))
        held_out = truth[:cut] - weights / np.diag(inverse)[:, None]
        order = np.argsort(-held_out, axis=0)
        hits = np.cumsum(np.take_along_axis(truth[:cut], order, 0), axis=0)
        f1 = 2 * hits / (np.arange(1, cut + 1)[:, None] + truth[:cut].sum(axis=0))
        last = np.take_along_axis(order, f1.argmax(axis=0)[None], 0)
        thresholds = np.take_along_axis(held_out, last, 0) - truth[:cut].mean(axis=0)
        return metrics.f1_score(truth[cut:], kernel[cut:] @ weights >= thresholds, average="macro")

    real = score(synthetic_records(500))
    easy = score(synthetic_records(500, distractors=0))
    assert 0.35 < real < 0.85
    assert easy > real + 0.03
