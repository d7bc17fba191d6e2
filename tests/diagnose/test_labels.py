"""Rules for labels, and labels as numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.diagnose.labels import EXAMPLE, LabelRules, LabelSet
from vesalius.diagnose.records import Record
from vesalius.errors import DataError, RecipeError


def records(*labels):
    return [
        Record(
            str(number), {"text": "x"}, None if some is None else tuple(some), place=f"a:{number}"
        )
        for number, some in enumerate(labels)
    ]


def rules(tmp_path, text):
    path = tmp_path / "rules.yaml"
    path.write_text(text, "utf-8")
    return LabelRules.read(path)


def test_the_example_drops_the_seven_labels_that_need_no_diagnosis():
    read = LabelRules.read(EXAMPLE)
    assert len(read.drop) == 7
    assert read.apply_to(["高血压", "急性气管炎", "头部外伤"]) == ("高血压",)


def test_rules_are_applied_in_their_order(tmp_path):
    read = rules(
        tmp_path,
        "rename: {高血压病: 高血压}\nmerge: {心脏病: [冠心病, 心衰]}\n"
        "drop: [外伤]\nimplies: {高血压性心脏病: [高血压], 高血压: [血管病]}\n",
    )
    assert read.apply_to(["外伤", "冠心病", "心衰", "高血压性心脏病"]) == (
        "心脏病",
        "高血压性心脏病",
        "高血压",
        "血管病",
    )
    assert read.apply_to(["高血压病"]) == ("高血压", "血管病")


def test_a_renamed_label_is_merged_under_its_new_name():
    read = LabelRules(rename={"a": "b"}, merge={"c": ("b",)})
    assert read.apply_to(["a"]) == ("c",)


def test_rules_that_meet_no_label_are_reported(tmp_path):
    read = rules(
        tmp_path,
        "rename: {a: b, x: y}\nmerge: {c: [b, z]}\ndrop: [d, w]\nimplies: {c: [e], e: [f], v: [e]}",
    )
    changed, report = read.apply(records(["a", "d"], ["d"], None))
    assert [record.labels for record in changed] == [("c", "e", "f"), (), None]
    assert report.unused == ("rename.x", "merge.c.z", "drop.w", "implies.v")
    assert report.used["rename.a"] == report.used["merge.c.b"] == 1
    assert report.used["drop.d"] == 2
    assert report.emptied == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("drop: [no]", "drop.0: False is no text; put it in quotes"),
        ("rename: {12: a}", "rename.12: 12 is no text"),
        ("dropped: [a]", "dropped: unknown"),
        ("merge: {a: [c], b: [c]}", "'c' goes into two labels"),
        ("rename: {a: b}\ndrop: [a]", "drop: 'a' is renamed or merged"),
        ("rename: {a: b, b: c}", "rename.a: 'b' is itself renamed"),
        ("rename: {a: b}\nmerge: {c: [a]}", "merge.c: 'a' is renamed to 'b'"),
        ("drop: [a]\nimplies: {b: [a]}", "implies.b: 'a' is dropped"),
        ("- a", "rename, merge, drop and implies are expected"),
        ("a: [", "holds no label rules"),
    ],
)
def test_wrong_rules_are_named_with_file_and_entry(tmp_path, text, said):
    with pytest.raises(DataError) as error:
        rules(tmp_path, text)
    assert "rules.yaml" in str(error.value)
    assert said in str(error.value)


def test_all_wrong_entries_are_said_at_once(tmp_path):
    with pytest.raises(DataError) as error:
        rules(tmp_path, "drop: [no, 7]\nother: 1\n")
    assert len(error.value.problems) == 3


def test_labels_are_ordered_by_how_often_they_stand():
    found = LabelSet.of(records(["b", "a"], ["b", "c"], ["c", "d"], None))
    assert (found.names, found.counts, found.size) == (("b", "c", "a", "d"), (2, 2, 1, 1), 3)
    assert LabelSet.of(records(["b", "a"], ["b"]), minimum=2).names == ("b",)
    assert LabelSet.from_dict(found.to_dict()) == found
    with pytest.raises(DataError, match="No label stands in at least 2"):
        LabelSet.of(records(["a"]), minimum=2)


def test_encoding_is_the_binarizer_of_scikit_learn():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    rows = records(["b", "a"], [], ["c"], ["a", "c"])
    found = LabelSet.of(rows)
    oracle = preprocessing.MultiLabelBinarizer(classes=found.names)
    expected = oracle.fit_transform([record.labels for record in rows]).astype(bool)
    encoded = found.encode(rows)
    assert encoded.dtype == bool
    np.testing.assert_array_equal(encoded, expected)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.sampled_from("abcdef")), min_size=1))
def test_decoding_undoes_encoding(rows):
    names = LabelSet(tuple("abcdef"), (1,) * 6, 6)
    assert [set(labels) for labels in names.decode(names.encode(rows))] == rows


def test_unknown_labels_are_reported_at_once_with_the_nearest_name():
    names = LabelSet(("高血压", "冠心病"), (1, 1), 2)
    rows = records(["高血压病"], ["高血压病", "肺炎"], None)
    with pytest.raises(DataError) as error:
        names.encode(rows)
    assert error.value.problems == [
        "a:2: has no labels",
        "unknown label '高血压病' in 2 records; did you mean '高血压'?",
        "unknown label '肺炎' in 1 records",
    ]
    assert not names.encode(rows[:2], unknown="ignore").any()
    with pytest.raises(RecipeError):
        names.encode(rows[:2], unknown="drop")


def test_a_name_stands_once_in_a_set():
    with pytest.raises(RecipeError, match="repeated: a"):
        LabelSet(("a", "a"), (1, 1), 2)
    with pytest.raises(DataError, match="2 columns"):
        LabelSet(("a", "b"), (1, 1), 2).decode([[True]])
