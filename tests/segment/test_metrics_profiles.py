"""Profiles: agreement with the libraries' own values, and what each says of itself."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vesalius.errors import RecipeError
from vesalius.segment.metrics import compare_profiles, evaluate, profiles
from vesalius.segment.metrics.rules import METRICS

GOLDEN = Path(__file__).parents[1] / "acceptance" / "metric_profiles.json"
NAMES = (
    "vesalius",
    "monai",
    "medpy",
    "surface-distance",
    "nnunet",
    "torchmetrics",
    "panoptica",
    "metrics-reloaded",
)


def unpacked(case, side):
    size = math.prod(case["shape"])
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(case[side]), np.uint8), count=size)
    return bits.reshape(case["shape"])


@pytest.mark.parametrize("name", NAMES[1:])
def test_values_are_those_that_the_library_gave(name):
    compared = 0
    for number, case in enumerate(json.loads(GOLDEN.read_text())["cases"]):
        ours = evaluate(
            unpacked(case, "truth"),
            unpacked(case, "prediction"),
            labels=[1],
            spacing=case["spacing"],
            tolerance=case["tolerance"],
            profile=name,
            metrics="all",
        )[1]
        for metric, value in case["values"][name].items():
            np.testing.assert_allclose(
                ours[metric], float(value), 1e-6, 1e-6, err_msg=f"case {number}, {metric}"
            )
            compared += 1
    assert compared > 90


def test_the_profiles_are_the_seven_libraries_and_our_own():
    assert tuple(profiles.PROFILES) == NAMES
    with pytest.raises(RecipeError, match="medpy, surface-distance"):
        profiles.find("MedPy")


@pytest.mark.parametrize("name", NAMES)
def test_a_description_says_every_rule(name):
    text = profiles.describe(name)
    profile = profiles.find(name)
    for metric in METRICS:
        assert metric in text
    assert profile.library in text
    assert all(note in text for note in profile.notes)


@settings(max_examples=15, deadline=None)
@given(hnp.arrays(np.uint8, (2, 6, 7), elements=st.integers(0, 2)), st.sampled_from([None, 2, 255]))
def test_comparing_profiles_gives_what_each_gives_alone(pair, ignore):
    options = {"spacing": (2.0, 0.7), "ignore": ignore, "labels": [1, 2], "metrics": "all"}
    table = compare_profiles(*pair, **options)
    assert list(table) == list(NAMES)
    for name, values in table.items():
        alone = evaluate(*pair, profile=name, **options)
        np.testing.assert_equal(values, alone)


def test_only_the_chosen_profiles_are_compared():
    table = compare_profiles([[1, 0]], [[1, 1]], names=("medpy", "monai"), metrics="hd")
    assert list(table) == ["medpy", "monai"]


def test_the_libraries_disagree_about_one_plain_pair():
    truth = np.zeros((140, 140), int)
    truth[20:120, 20:120] = 1
    prediction = truth.copy()
    prediction[20:60, 116:120] = 0
    prediction[2:12, 2:12] = 1
    table = compare_profiles(truth, prediction, metrics=("hd", "hd95"))
    values = {name: round(row[1]["hd95"], 3) for name, row in table.items()}
    assert values["monai"] == values["metrics-reloaded"]
    assert values["medpy"] == values["panoptica"]
    assert (values["medpy"], values["monai"]) == (4.0, 18.358)
    assert values["surface-distance"] == values["vesalius"] == 18.788
    assert math.isnan(values["nnunet"])
    assert table["medpy"][1]["hd"] == table["torchmetrics"][1]["hd"]


@pytest.mark.parametrize(
    ("name", "both", "missed", "invented"),
    [
        ("vesalius", (math.nan, math.nan), (0, math.inf), (0, math.inf)),
        ("monai", (math.nan, math.nan), (0, math.nan), (math.nan, math.nan)),
        ("medpy", (1, math.nan), (0, math.nan), (0, math.nan)),
        ("surface-distance", (math.nan, math.inf), (0, math.inf), (0, math.inf)),
        ("nnunet", (math.nan, math.nan), (0, math.nan), (0, math.nan)),
        ("torchmetrics", (math.nan, math.nan), (0, math.nan), (0, math.nan)),
        ("panoptica", (0, math.nan), (0, math.nan), (0, math.nan)),
        ("metrics-reloaded", (1, 0), (0, math.nan), (0, math.nan)),
    ],
)
def test_dice_and_hd95_of_empty_masks_are_the_librarys(name, both, missed, invented):
    mask, empty = np.eye(3, dtype=int), np.zeros((3, 3), int)
    for pair, expected in (
        ((empty, empty), both),
        ((mask, empty), missed),
        ((empty, mask), invented),
    ):
        values = evaluate(*pair, labels=[1], profile=name)[1]
        np.testing.assert_equal([values["dice"], values["hd95"]], list(map(float, expected)))


def test_nothing_to_compare_is_no_error_under_any_profile():
    ignored = np.full((4, 5, 6), 255)
    table = compare_profiles(ignored, ignored * 0 + 1, ignore=255, labels=[1], metrics="all")
    for values in table.values():
        assert [values[1][name] for name in ("tp", "tn", "fp", "fn")] == [0] * 4
    assert math.isnan(table["vesalius"][1]["dice"])
