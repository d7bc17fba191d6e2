"""Folds of engine cases: what is kept whole, what is balanced, what is warned of."""

import json
import random
from collections import Counter
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.engine.task import Case
from vesalius.errors import DataError, RecipeError
from vesalius.study.folds import FoldPlan, Split, check, folds, holdout, text_clusters


def case(number: int, labels=(), group=None, split=None, text="") -> Case:
    return Case(f"case-{number:03}", text, labels, group, {"split": split})


@st.composite
def sources(draw, *, most: int = 60) -> list[Case]:
    """Cases with up to three of five labels, some with patients, some of them held-out tests."""
    count = draw(st.integers(12, most))
    patients = draw(st.integers(0, 20))
    rng = random.Random(draw(st.integers(0, 2**32)))
    return [
        case(
            number,
            tuple(name for name in "abcde" if rng.random() < 0.3),
            f"p{rng.randrange(patients)}" if patients and rng.random() < 0.7 else None,
            "test" if number >= 6 and rng.random() < 0.1 else None,
        )
        for number in range(count)
    ]


def links(cases: list[Case], seed: int, count: int) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    return [(rng.choice(cases).id, rng.choice(cases).id) for _ in range(count)]


def planned(cases: list[Case], **options) -> FoldPlan | None:
    """Return folds, or None where groups and links leave too few units."""
    try:
        return folds(cases, **options)
    except DataError as error:
        if "cannot be cut" not in str(error):
            raise
        return None


@settings(max_examples=40, deadline=None)
@given(sources(), st.integers(2, 4), st.integers(1, 3), st.integers(0, 2**32), st.integers(0, 4))
def test_every_case_validates_once_per_repeat_and_nothing_leaks(cases, k, repeats, seed, count):
    near = links(cases, seed, count)
    plan = planned(cases, folds=k, repeats=repeats, seed=seed, near_duplicates=near)
    if plan is None:
        return
    usable = sorted(one.id for one in cases if one.extra["split"] != "test")
    group_of = {one.id: one.group or one.id for one in cases}
    splits = list(plan.splits())
    assert [(split.repeat, split.fold) for split in splits] == [
        (repeat, fold) for repeat in range(repeats) for fold in range(k)
    ]
    for repeat in range(repeats):
        held = [name for split in splits if split.repeat == repeat for name in split.valid_ids]
        assert sorted(held) == usable
    for split in splits:
        train, valid = set(split.train_ids), set(split.valid_ids)
        assert sorted(train | valid) == usable
        assert not train & valid
        assert not {group_of[name] for name in train} & {group_of[name] for name in valid}
        assert not any({a, b} & train and {a, b} & valid for a, b in near)
        check(split, cases, near_duplicates=near)
    check(plan, cases, near_duplicates=near)


@settings(max_examples=25, deadline=None)
@given(sources(), st.integers(0, 2**32))
def test_the_order_of_cases_and_of_links_changes_nothing(cases, seed):
    near = links(cases, seed, 3)
    plan = planned(cases, folds=3, seed=seed, near_duplicates=near)
    mixed, turned = cases.copy(), [pair[::-1] for pair in near[::-1]]
    random.Random(seed).shuffle(mixed)
    assert planned(mixed, folds=3, seed=seed, near_duplicates=turned) == plan


@settings(max_examples=25, deadline=None)
@given(sources(), st.integers(2, 4))
def test_label_warnings_are_exact(cases, k):
    plan = planned(cases, folds=k)
    if plan is None:
        return
    targets = {one.id: set(one.target) for one in cases}
    expected = set()
    for split in plan.splits():
        for name in "abcde":
            held = sum(name in targets[one] for one in split.valid_ids)
            trained = sum(name in targets[one] for one in split.train_ids)
            if held + trained:
                expected |= {(name, "validation", split.fold)} if not held else set()
                expected |= {(name, "training", split.fold)} if not trained else set()
    assert {found for line in plan.warnings for found in _told(line)} == expected


def _told(line: str) -> set[tuple[str, str, int]]:
    if not line.startswith("label '"):
        return set()
    name, found = line.split("'")[1], set()
    for part in ("validation", "training"):
        if f"{part} part of fold " in line:
            numbers = line.split(f"{part} part of fold ")[1].split(", and")[0]
            found |= {(name, part, int(number)) for number in numbers.split(",")}
    return found


def test_a_label_with_one_case_is_warned_of_on_both_sides():
    cases = [case(number, ("common",)) for number in range(8)] + [case(9, ("common", "rare"))]
    plan = folds(cases, folds=3)
    own = plan.assignments[0]["case-009"]
    others = ", ".join(str(fold) for fold in range(3) if fold != own)
    assert plan.warnings == (
        f"label 'rare' (1 case) is absent from the validation part of fold {others}, and from the "
        f"training part of fold {own}",
    )


def test_a_giant_group_is_warned_of():
    cases = [case(number, group="big" if number < 20 else None) for number in range(30)]
    plan = folds(cases, folds=3)
    sizes = Counter(plan.assignments[0].values())
    assert sorted(sizes.values()) == [5, 5, 20]
    assert plan.warnings == (
        f"the parts have {sizes[0]}, {sizes[1]}, {sizes[2]} cases where 10.0, 10.0, 10.0 were "
        "wanted; the largest group that must stay together has 20",
    )


def test_warnings_are_told_in_chinese_too(monkeypatch):
    monkeypatch.setenv("VESALIUS_LANG", "zh")
    cases = [case(number, ("a",)) for number in range(8)] + [case(9, ("a", "罕见"))]
    assert folds(cases, folds=2).warnings[0].startswith("标签“罕见”（1 例）不在第")


def test_labels_are_spread_evenly_with_patients_whole():
    rng = random.Random(1)
    cases = [
        case(number, tuple(n for n in "abcdef" if rng.random() < 0.2), f"p{number // 3}")
        for number in range(600)
    ]
    plan = folds(cases, folds=5)
    assert plan.kind == "grouped multilabel"
    totals = Counter(name for one in cases for name in one.target)
    known = {one.id: one for one in cases}
    for split in plan.splits():
        held = Counter(name for one in split.valid_ids for name in known[one].target)
        assert all(abs(held[name] - totals[name] / 5) <= 3 for name in totals)
        assert abs(len(split.valid_ids) - 120) <= 3


def test_repeats_and_seeds_differ_and_the_first_repeat_does_not_depend_on_their_number():
    cases = [case(number, ("ab"[number % 2],)) for number in range(40)]
    plan = folds(cases, repeats=3)
    assert len({json.dumps(dict(one)) for one in plan.assignments}) == 3
    assert folds(cases).assignments[0] == plan.assignments[0]
    assert folds(cases, seed=1).assignments[0] != plan.assignments[0]


@pytest.mark.parametrize(
    ("targets", "grouped", "kind"),
    [
        ([None] * 8, False, "random"),
        ([None] * 8, True, "grouped"),
        (["a", "b"] * 4, False, "stratified"),
        (["a", "b"] * 4, True, "grouped stratified"),
        ([("a", "b"), ("b",)] * 4, False, "multilabel"),
        ([{"a", "b"}, []] * 4, True, "grouped multilabel"),
        ([f"path-{number}" for number in range(8)], False, "random"),
        ([1, 2] * 4, False, "random"),
    ],
)
def test_auto_chooses_what_the_cases_allow(targets, grouped, kind):
    cases = [
        case(number, target, f"p{number // 2}" if grouped else None)
        for number, target in enumerate(targets)
    ]
    assert folds(cases, folds=2).kind == kind


def test_labels_of_other_targets_are_read_by_a_function():
    cases = [case(number, number % 4) for number in range(16)]
    plan = folds(cases, folds=4, labels=lambda one: one.target)
    assert plan.kind == "stratified"
    assert all(len({int(i[-3:]) % 4 for i in split.valid_ids}) == 4 for split in plan.splits())


def test_groups_stay_whole_under_every_kind():
    cases = [case(number, "ab"[number % 2], f"p{number // 4}") for number in range(40)]
    for kind in ("random", "grouped", "stratified", "multilabel", "grouped stratified"):
        check(folds(cases, folds=3, kind=kind), cases)


def test_patients_and_near_duplicates_are_chained():
    # 0-1 are one patient, 1-2 copies, 2-3 another patient: all four stay together.
    groups = ["p", "p", "q", "q", None, None, None, None]
    cases = [case(number, group=group) for number, group in enumerate(groups)]
    near = [("case-001", "case-002")]
    for seed in range(10):
        fold_of = folds(cases, folds=2, seed=seed, near_duplicates=near).assignments[0]
        assert len({fold_of[f"case-{number:03}"] for number in range(4)}) == 1


def test_copies_of_a_text_are_found_and_kept_together():
    texts = [
        f"患者{n}，主诉反复咳嗽{n * 7}天，查体双肺呼吸音粗，建议{n * 13}日后复查血常规。"
        for n in range(9)
    ]
    cases = [case(number, text={"note": texts[number % 9]}) for number in range(18)]
    plan = folds(cases, folds=3, near_duplicates=partial(text_clusters, threshold=0.95))
    assert len(plan.clusters) == 9
    assert all(
        plan.assignments[0][f"case-{n:03}"] == plan.assignments[0][f"case-{n + 9:03}"]
        for n in range(9)
    )


def test_test_cases_of_the_source_are_in_no_fold_and_their_copies_are_warned_of():
    cases = [case(number, split="test" if number > 7 else None) for number in range(10)]
    plan = folds(cases, folds=2, near_duplicates=[("case-000", "case-009")])
    assert sorted(plan.assignments[0]) == [f"case-{number:03}" for number in range(8)]
    assert plan.clusters == ()
    assert plan.warnings == (
        "the source's test cases leak: the near-duplicates on several sides (folds: case-000; "
        "test: case-009)",
    )


def test_a_plan_survives_json_and_its_fingerprint_is_of_the_assignments():
    cases = [case(number, ("ab"[number % 2],), f"p{number // 2}") for number in range(20)]
    plan = folds(cases, folds=3, repeats=2, near_duplicates=[("case-000", "case-019")])
    again = FoldPlan.from_json(plan.to_json())
    assert again == plan
    assert again.fingerprint == plan.fingerprint
    assert folds(cases, folds=3, repeats=2, seed=5).fingerprint != plan.fingerprint


def test_a_changed_plan_is_noticed():
    plan = folds([case(number) for number in range(6)], folds=2)
    content = json.loads(plan.to_json())
    fold_of = content["assignments"][0]
    swapped = next(name for name in fold_of if fold_of[name] != fold_of["case-000"])
    fold_of["case-000"], fold_of[swapped] = fold_of[swapped], fold_of["case-000"]
    with pytest.raises(DataError, match="were changed since"):
        FoldPlan.from_json(json.dumps(content))
    del content["fingerprint"]
    assert FoldPlan.from_json(json.dumps(content)).fingerprint != plan.fingerprint


@pytest.mark.parametrize(
    ("folds_", "assignments", "problem"),
    [
        (2, [{"a": 0, "b": 2}], "2 is no fold"),
        (3, [{"a": 0, "b": 1}], "no case is in fold 2"),
        (2, [{"a": 0, "b": 1}, {"a": 0, "c": 1}], "'b' is not in all repeats"),
        (2, [], "a repeat at least"),
        (2, [{"a": 0, "b": True}], "True is no fold"),
    ],
)
def test_a_plan_that_is_none_is_refused(folds_, assignments, problem):
    with pytest.raises(DataError, match=problem):
        FoldPlan(folds_, tuple(assignments), "given")


@pytest.mark.parametrize("text", ["[]", "{", '{"folds": 2}', '{"folds": 2, "assignments": [3]}'])
def test_a_file_that_is_no_plan_is_refused(text):
    with pytest.raises(DataError, match="no plan of folds"):
        FoldPlan.from_json(text)


@settings(max_examples=10, deadline=None)
@given(sources(), st.integers(0, 100))
def test_nested_folds_lie_within_the_training_part(cases, seed):
    cases = [Case(one.id, one.input, one.target, None, one.extra) for one in cases]
    plan = folds(cases, folds=3, seed=seed)
    nested = list(plan.nested(cases, inner=2))
    assert [split for split, _ in nested] == list(plan.splits())
    for split, inner in nested:
        assert tuple(sorted(inner.assignments[0])) == split.train_ids
        check(inner, cases)


def test_nested_folds_keep_near_duplicates_together():
    cases = [case(number, "ab"[number % 2]) for number in range(24)]
    near = [("case-000", "case-001", "case-002")]
    plan = folds(cases, folds=3, near_duplicates=near)
    for _, inner in plan.nested(cases, inner=3):
        check(inner, cases, near_duplicates=near)


@settings(max_examples=25, deadline=None)
@given(sources(), st.integers(0, 2**32), st.sampled_from([0.0, 0.2]))
def test_a_holdout_divides_all_and_keeps_groups_whole(cases, seed, test):
    cases = [Case(one.id, one.input, one.target, one.group) for one in cases]
    try:
        split = holdout(cases, 0.25, test=test, seed=seed)
    except DataError as error:
        if "cannot be cut" not in str(error):
            raise
        return
    assert sorted(split.train_ids + split.valid_ids + split.test_ids) == [one.id for one in cases]
    assert split.train_ids
    assert split.valid_ids
    assert bool(split.test_ids) == bool(test)
    check(split, cases)
    assert holdout(cases[::-1], 0.25, test=test, seed=seed) == split


def test_a_holdout_has_the_share_asked_for_of_cases_and_labels():
    cases = [case(number, ("ab"[number % 2],)) for number in range(100)]
    split = holdout(cases, 0.2, test=0.1)
    assert [len(ids) for ids in split.parts.values()] == [70, 20, 10]
    train, valid, held = split.select(cases)
    assert Counter(one.target[0] for one in valid) == {"a": 10, "b": 10}
    assert Counter(one.target[0] for one in held) == {"a": 5, "b": 5}
    assert split.warnings == ()
    assert len(train) == 70


def test_a_holdout_warns_of_a_label_that_a_part_lacks():
    cases = [case(number, ("a",)) for number in range(9)] + [case(9, ("a", "rare"))]
    split = holdout(cases, 0.3)
    side = "valid" if "case-009" in split.train_ids else "train"
    assert split.warnings == (f"label 'rare' (1 case) is absent from: {side}",)


def test_wrong_requests_say_what_to_do():
    cases = [case(number, ("a", "b"), f"p{number % 2}") for number in range(10)]
    plain = [case(number) for number in range(10)]
    with pytest.raises(RecipeError, match="folds is 1"):
        folds(cases, folds=1)
    with pytest.raises(RecipeError, match="repeats is 0"):
        folds(cases, folds=2, repeats=0)
    with pytest.raises(RecipeError, match="kind 'stratify': choose one of auto"):
        folds(cases, kind="stratify")
    with pytest.raises(DataError, match=r"2 groups .* cannot be cut into 3 folds"):
        folds(cases, folds=3)
    with pytest.raises(DataError, match="name several cases") as caught:
        folds([*plain, plain[3]], folds=2)
    assert caught.value.problems == ["case-003"]
    with pytest.raises(DataError, match="no case has a group"):
        folds(plain, kind="grouped")
    with pytest.raises(DataError, match="no case has labels"):
        folds(plain, kind="multilabel")
    with pytest.raises(DataError, match="one label per case"):
        folds(cases, folds=2, kind="stratified")
    with pytest.raises(DataError, match="0 cases cannot be cut"):
        folds([])
    with pytest.raises(RecipeError, match="together less than 1"):
        holdout(plain, 0.8, test=0.3)
    with pytest.raises(DataError, match="names its own test cases"):
        holdout([*plain, case(11, split="test")], test=0.1)
    with pytest.raises(DataError, match=r"2 case\(s\) of the split are not in the data"):
        Split(0, 0, ("case-000", "x"), ("y",)).select(plain)
