"""Folds that a user made: read, renumbered, refused where they leak."""

import json

import pytest

from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.study.folds import FoldPlan, Split, check, folds, read

CASES = [Case(f"c{number}", "", ("a",), f"p{number // 2}") for number in range(8)]
HELD = Case("t0", "", ("a",), None, {"split": "test"})
GOOD = "id,fold\n" + "".join(f"c{number},{number // 2 % 2 + 1}\n" for number in range(8))


def refused(plan, cases, **options) -> list[str]:
    with pytest.raises(DataError, match="the split is not valid") as caught:
        check(plan, cases, **options)
    return caught.value.problems


def test_all_that_is_wrong_with_a_split_is_listed_at_once():
    split = Split(0, 0, ("c0", "c2", "c3", "t0"), ("c1", "c2", "zz"), ("c4", "c4"))
    assert refused(split, [*CASES, HELD], near_duplicates=[("c0", "c4")]) == [
        "'c2' occurs 2 times (train, valid)",
        "'c4' occurs 2 times (test, test)",
        "'zz' is the id of no case",
        "'t0' is a test case of the source; it must not train or validate",
        "group 'p0' on several sides (train: c0; valid: c1)",
        "group 'p1' on several sides (valid: c2; train: c3)",
        "the near-duplicates on several sides (train: c0; test: c4)",
    ]


def test_a_plan_that_leaks_is_refused_with_the_repeat():
    good = {f"c{number}": number // 2 % 2 for number in range(8)}
    bad = good | {"c7": 0}
    assert refused(FoldPlan(2, (good, bad), "given"), CASES) == [
        "repeat 1: group 'p3' on several sides (fold 1: c6; fold 0: c7)"
    ]
    assert refused(FoldPlan(2, (good,), "given", clusters=(("c0", "c2"),)), CASES) == [
        "the near-duplicates on several sides (fold 0: c0; fold 1: c2)"
    ]
    assert refused(FoldPlan(2, (good,), "given"), CASES[:-2]) == [
        "'c6' is the id of no case",
        "'c7' is the id of no case",
    ]
    check(FoldPlan(2, (good,), "given"), CASES)


def test_test_cases_in_a_fold_are_refused():
    plan = FoldPlan(2, ({"c0": 0, "t0": 1},), "given")
    assert refused(plan, [*CASES, HELD]) == [
        "'t0' is a test case of the source; it must not train or validate"
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("folds.csv", GOOD),
        ("folds.csv", "\ufeff" + GOOD.replace("\n", "\r\n")),
        ("folds.tsv", GOOD.replace(",", "\t")),
        ("folds.json", json.dumps({f"c{n}": n // 2 % 2 + 1 for n in range(8)})),
        ("f.json", json.dumps([{"id": f"c{n}", "fold": str(n // 2 % 2)} for n in range(8)])),
    ],
)
def test_folds_are_read_from_tables_and_json(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode())
    plan = read(tmp_path / name, CASES)
    assert plan.assignments == ({f"c{number}": number // 2 % 2 for number in range(8)},)
    assert (plan.folds, plan.kind, plan.warnings) == (2, "given", ())


def test_repeats_are_read_in_their_order(tmp_path):
    rows = [f"{r},c{n},{(n // 2 + r) % 2}" for n in range(8) for r in (2, 1)]
    (tmp_path / "folds.csv").write_text("repeat,id,fold\n" + "\n".join(rows))
    plan = read(tmp_path / "folds.csv", CASES)
    assert [fold_of["c0"] for fold_of in plan.assignments] == [1, 0]


def test_a_written_plan_is_read_back(tmp_path):
    plan = folds(CASES, folds=2, repeats=2, near_duplicates=[("c0", "c7")])
    (tmp_path / "folds.json").write_text(plan.to_json(), encoding="utf-8")
    again = read(tmp_path / "folds.json", CASES)
    assert again.fingerprint == plan.fingerprint
    assert again.clusters == plan.clusters
    assert again.kind == plan.kind


def test_cases_that_the_file_leaves_out_are_warned_of(tmp_path):
    (tmp_path / "folds.csv").write_text(GOOD.replace("c0,1\nc1,1\n", ""))
    plan = read(tmp_path / "folds.csv", [*CASES, HELD])
    assert plan.warnings[0] == "2 case(s) are in no fold: c0, c1"


def test_a_label_that_the_given_folds_lack_is_warned_of(tmp_path):
    (tmp_path / "folds.csv").write_text(GOOD)
    plan = read(tmp_path / "folds.csv", CASES, labels=lambda one: "z" if one.id == "c0" else "a")
    assert plan.warnings == (
        "label 'z' (1 case) is absent from the validation part of fold 1, and from the training "
        "part of fold 0",
    )


def test_leaking_folds_of_a_file_are_refused(tmp_path):
    (tmp_path / "folds.csv").write_text(GOOD.replace("c0,1", "c0,2"))
    with pytest.raises(DataError, match="group 'p0' on several sides"):
        read(tmp_path / "folds.csv", CASES)
    (tmp_path / "good.csv").write_text(GOOD)
    with pytest.raises(DataError, match="near-duplicates on several sides"):
        read(tmp_path / "good.csv", CASES, near_duplicates=[("c0", "c2")])


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("f.csv", "name,fold\nc0,1\n", "has no column id"),
        ("f.csv", "", "has no column fold and no column id"),
        ("f.csv", "id,fold\nc0,1\nc0,2\n", "line 3: 'c0' a second time; it has a fold in line 2"),
        ("f.csv", "id,fold\nc0,one\n,2\nc1\n", "line 2: fold 'one'"),
        ("f.csv", "id,fold\n,2\n", "line 2: no id"),
        ("f.csv", "id,fold\nc0,1\nc1,1\n", "2 folds and a repeat"),
        ("f.json", "{", "is not JSON"),
        ("f.json", '[{"id": "c0"}]', "expected a list of objects"),
        ("f.json", '[{"id": 3, "fold": 1}]', "entry 0: no id"),
        ("f.json", '{"c0": 1.5}', "'c0': fold 1.5"),
        ("f.json", '{"assignments": [{"c0": 0}], "folds": 2}', "no case is in fold 1"),
    ],
)
def test_wrong_files_are_refused_with_their_place(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=problem):
        read(tmp_path / name, CASES)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the folds .*none\.csv"):
        read(tmp_path / "none.csv", CASES)
