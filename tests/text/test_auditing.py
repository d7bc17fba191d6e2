"""The audit of labelled records: what is planted must be found, and nothing where nothing is."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from vesalius.errors import DataError, RecipeError
from vesalius.text.auditing import PARTS, audit
from vesalius.text.audits import label_errors, labels, lengths, probes
from vesalius.text.audits.entries import collect, folds, holm

SYMPTOMS = {
    "高血压": ["头晕", "头痛", "血压升高", "颈项不适"],
    "肺炎": ["咳嗽", "咳痰", "发热", "气促"],
    "糖尿病": ["多饮", "多尿", "消瘦", "视物模糊"],
    "冠心病": ["胸闷", "胸痛", "心悸", "乏力"],
}
FILLER = ["纳差", "恶心", "睡眠差", "二便正常", "体重无变化", "精神可", "腹胀", "皮肤瘙痒", "夜尿"]


def cohort(number: int = 400, seed: int = 0) -> list[dict]:
    """Records whose labels follow from their symptoms, and from nothing else."""
    generator = random.Random(seed)
    records = []
    for _ in range(number):
        names = generator.sample(sorted(SYMPTOMS), 2)
        words = [word for name in names for word in generator.sample(SYMPTOMS[name], 2)]
        story = generator.sample(FILLER, 5) + words
        generator.shuffle(story)
        fields = {"主诉": words[0] + f"{generator.randint(1, 30)}天", "现病史": "，".join(story)}
        code = generator.randrange(10**8)
        records.append({"id": f"ZY{code:08d}", "fields": fields, "labels": sorted(names)})
    return records


def topics(found) -> dict[str, str]:
    return {finding.topic: finding.severity for finding in found.findings}


def test_clean_records_have_no_finding_that_blocks_or_warns_of_leakage():
    found = audit(cohort(200), permutations=19)
    assert found.worst != "blocks"
    assert not {"id-leakage", "answer-in-text", "contradictory-duplicates"} & set(topics(found))


def test_planted_label_errors_are_what_is_suspected():
    records = cohort(500)
    generator, planted = random.Random(1), set()
    for place in generator.sample(range(len(records)), 25):
        name = generator.choice(sorted(SYMPTOMS))
        records[place]["labels"] = sorted(set(records[place]["labels"]) ^ {name})
        planted.add((records[place]["id"], name))
    found = audit(records, parts=["errors"])
    suspected = {(suspect.record, suspect.label) for suspect in found.suspects}
    assert len(suspected & planted) >= 0.95 * len(suspected)
    assert len(suspected & planted) >= 0.6 * len(planted)
    confidences = [suspect.confidence for suspect in found.suspects]
    assert confidences == sorted(confidences)


def test_confident_suspects_follow_the_definition():
    # Thresholds by hand: mean over the positives (.9 + .8 + .1) / 3 = .6 for yes, and for no
    # (.9 + .8 + .2) / 3 = .6333; the third positive and the last negative are the suspects.
    probabilities = np.array([[0.9], [0.8], [0.1], [0.1], [0.2], [0.8]])
    truth = np.array([[True], [True], [True], [False], [False], [False]])
    found = label_errors.confident_suspects(probabilities, truth)
    assert np.flatnonzero(found[:, 0]).tolist() == [2, 5]


def test_rare_labels_are_compared_by_reading_alike():
    records = cohort(100)
    story = {"主诉": "反复鼻出血伴紫癜三月", "现病史": "关节腔积血，家族中舅舅有类似出血倾向"}
    records += [
        {"id": "R1", "fields": story, "labels": ["血友病"]},
        {"id": "R2", "fields": dict(story), "labels": ["高血压"]},
    ]
    found = audit(records, parts=["errors"])
    (suspect,) = [one for one in found.suspects if one.label == "血友病"]
    assert (suspect.record, suspect.how, suspect.like) == ("R2", "similarity", "R1")
    assert topics(found)["labels-too-rare-to-check"] == "notes"


def test_an_id_that_carries_the_label_blocks():
    records = cohort(300)
    for place, record in enumerate(records):
        ward = (
            "HB" if "高血压" in record["labels"] else "FY" if "肺炎" in record["labels"] else "TN"
        )
        record["id"] = f"{ward}{place:05d}"
    found = audit(records, parts=["leakage"], permutations=19)
    assert found.worst == "blocks"
    assert "id prefix" in {f.details["name"] for f in found.findings if f.topic == "id-leakage"}


def test_an_order_by_label_is_found_as_order_and_as_drift():
    records = sorted(cohort(300), key=lambda record: record["labels"])
    found = audit(records, parts=["leakage"], permutations=19)
    assert "order" in {f.details["name"] for f in found.findings if f.topic == "id-leakage"}
    assert topics(found)["drift"] == "warns"


def test_the_number_of_fields_is_probed():
    records = cohort(300)
    for record in records:
        if "糖尿病" in record["labels"]:
            record["fields"]["辅助检查"] = "空腹血糖升高"
    found = audit(records, parts=["leakage"], permutations=19)
    names = {f.details["name"] for f in found.findings if f.topic == "form-leakage"}
    assert "number of fields" in names


def test_a_diagnosis_copied_into_the_history_blocks():
    records = cohort(300)
    for record in records:
        record["fields"]["出院情况"] = "诊断：" + "、".join(record["labels"])
    found = audit(records, parts=["leakage"], permutations=19)
    (finding,) = [one for one in found.findings if one.topic == "answer-in-text"]
    assert finding.severity == "blocks"
    assert (finding.details["field"], finding.details["recall"]) == ("出院情况", 1.0)


def test_probes_are_calibrated_where_there_is_nothing_to_find():
    generator = np.random.default_rng(0)
    p_values = []
    for seed in range(40):
        truth = generator.random((120, 3)) < 0.3
        features = generator.normal(size=(120, 5))
        fold = folds(truth, np.arange(120), 5, seed)
        one = probes.probe("x", features, truth, np.arange(120), fold, permutations=19, seed=seed)
        p_values.append(one.p)
    # Uniform: about 4 of 40 below 0.1; 11 or more happen once in 1,000 times.
    assert sum(p < 0.1 for p in p_values) < 11
    assert 0.35 < np.mean(p_values) < 0.65


def test_patients_with_many_records_do_not_make_a_leak():
    # All records of a patient share labels and stand together: the order says nothing of others.
    generator = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 5)
    features = probes.one_hot(np.arange(300.0))
    p_values = []
    for seed in range(12):
        truth = (generator.random((60, 4)) < 0.3)[groups]
        fold = folds(truth, groups, 5, seed)
        p_values.append(probes.probe("x", features, truth, groups, fold, permutations=29).p)
    assert sum(p < 0.05 for p in p_values) <= 3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_auroc_is_that_of_scikit_learn(seed):
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 6, (40, 3)).astype(float)  # with many ties
    truth = generator.random((40, 3)) < 0.4
    truth[0], truth[1] = True, False
    assert probes.auroc(scores, truth) == pytest.approx(roc_auc_score(truth, scores, average=None))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_folds_never_split_a_group_and_spread_every_label(seed):
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 80, 200)
    groups = np.unique(groups, return_inverse=True)[1]
    truth = generator.random((200, 4)) < [0.5, 0.3, 0.2, 0.1]
    fold = folds(truth, groups, 5, seed)
    assert all(len(set(fold[groups == group])) == 1 for group in np.unique(groups))
    assert set(fold) == set(range(5))
    shares = np.array([truth[fold == part].sum(0) for part in range(5)]) / truth.sum(0)
    assert abs(shares - 0.2).max() < 0.25


def test_holm_is_the_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_copies_with_other_labels_and_other_patients_are_found():
    records = cohort(60)
    for place, record in enumerate(records):
        record["group"] = f"P{place}"
    twin = {**records[0], "id": "X1", "labels": ["冠心病", "糖尿病", "肺炎"], "group": "PX"}
    found = audit([*records, twin], parts=["duplicates"])
    assert topics(found) == {
        "duplicates-across-groups": "blocks",
        "contradictory-duplicates": "warns",
        "duplicates": "notes",
    }
    (row,) = next(table for table in found.tables if table.name == "contradictions").rows
    assert set(row[:2]) == {records[0]["id"], "X1"}


def test_copies_of_one_patient_with_the_same_labels_are_only_noted():
    records = [{**record, "group": "P"} for record in cohort(20)]
    found = audit([*records, {**records[3], "id": "X1"}], parts=["duplicates"])
    assert topics(found) == {"duplicates": "notes"}


def test_labels_are_counted_and_compared_with_the_expected_ones():
    records = cohort(50)
    records[0]["labels"] = [*records[0]["labels"], "痛风"]
    records[1]["labels"] = []
    found = audit(records, parts=["labels"], labels=[*SYMPTOMS, "肺结核"])
    assert topics(found) == {
        "labels-with-one-case": "warns",
        "labels-without-cases": "warns",
        "unexpected-labels": "warns",
        "records-without-labels": "notes",
    }


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("冠心病", "冠心病 ", "same"),
        ("Type 2 diabetes", "type-2 diabetes", "same"),
        ("急性支气管炎", "支气管炎", "contained"),
        ("慢性阻塞性肺病", "慢性阻塞性肺疾病", "edit"),
        ("脑梗死", "脑梗塞", None),
        ("1型糖尿病", "2型糖尿病", None),
        ("hypertension", "hypotension", "edit"),
    ],
)
def test_names_that_look_alike(one, other, why):
    found = labels.similar_names(sorted([one, other]))
    assert [reason for *_, reason in found] == ([why] if why else [])


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_edit_distance_is_a_distance_up_to_its_limit(one, other):
    distance = labels.edit_distance(one, other, 10)
    assert distance == labels.edit_distance(other, one, 10)
    assert abs(len(one) - len(other)) <= distance <= max(len(one), len(other))
    assert (distance == 0) == (one == other)
    assert labels.edit_distance(one, other, 1) == min(distance, 2)


def test_head_middle_and_tail_follow_the_counts():
    from collections import Counter

    counts = Counter({"a": 60, "b": 30, "c": 8, "d": 2})
    assert labels.parts_of(counts) == {"a": "head", "b": "middle", "c": "middle", "d": "tail"}


def test_lengths_are_measured_against_the_limit():
    records = [{"id": str(n), "fields": {"a": "x" * n}, "labels": []} for n in (10, 20, 30, 40)]
    found = audit(records, parts=["lengths"], limit=25, count_tokens=len)
    table = next(table for table in found.tables if table.name == "lengths")
    row = dict(zip(table.header, table.rows[0], strict=True))
    assert (row["min"], row["median"], row["max"], row["cut"]) == (10, 25, 40, 0.5)
    assert topics(found) == {"long-records": "warns"}


def test_the_estimate_counts_a_han_character_as_one_token():
    assert lengths.approximate_tokens("血压120/80mmHg，") == 2 + 1 + 1 + 1 + 1 + 1


def test_personal_data_are_counted():
    records = cohort(20)
    records[0]["fields"]["主诉"] += "，联系电话13812345678"
    found = audit(records, parts=["personal"])
    assert found.findings[0].details == {"telephone": 1}


def test_everything_is_one_document_a_page_and_a_picture_of_text():
    found = audit(cohort(80), permutations=19)
    document = json.loads(json.dumps(found.to_dict(), ensure_ascii=False))
    assert document["records"] == 80
    assert {"labels", "lengths", "probes", "literal"} <= set(document["tables"])
    page = found.markdown()
    assert page.startswith("# Audit")
    assert "| 高血压 |" in page
    console = Console(record=True, width=140, file=open("/dev/null", "w"))  # noqa: SIM115
    found.show(console)
    assert "高血压" in console.export_text()


def test_messages_come_in_chinese(monkeypatch):
    monkeypatch.setenv("VESALIUS_LANG", "zh")
    records = cohort(30)
    records[0]["labels"] = ["痛风"]
    found = audit(records, parts=["labels"])
    assert "只有一份病历" in found.markdown()


def test_the_same_seed_gives_the_same_audit():
    options = {"permutations": 19, "parts": ["errors", "leakage"]}
    assert audit(cohort(60), **options).to_dict() == audit(cohort(60), **options).to_dict()


def test_unlabelled_records_are_audited_too():
    records = [{"fields": {"text": "发热三天"}}, {"fields": {"text": ""}}]
    assert audit(records).worst is None or audit(records).records == 2


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": "a", "fields": "text"}, "record a: 'fields' must be a mapping"),
        ({"id": "a", "fields": {"x": 3}}, "the field 'x' is no text"),
        ({"id": "a", "fields": {"x": ""}, "labels": "高血压"}, "give a list"),
    ],
)
def test_records_that_cannot_be_audited_are_named(record, message):
    with pytest.raises(DataError, match=message):
        collect([record])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": ["lables"]}, PARTS[0]),
        ({"limit": 0}, "limit"),
        ({"similar": 0.0}, "Jaccard"),
        ({"permutations": 3}, "at least 19"),
    ],
)
def test_wrong_options_say_what_is_right(options, message):
    with pytest.raises(RecipeError, match=message):
        audit(cohort(5), **options)


def test_no_record_is_an_error():
    with pytest.raises(DataError, match="no records"):
        audit([])
