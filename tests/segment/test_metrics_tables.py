"""Tables of scores: what they hold, how they are written, nnU-Net's keys."""

import json
import math

import numpy as np
import pytest

from vesalius.errors import RecipeError
from vesalius.segment.metrics import bootstrap, tables
from vesalius.segment.metrics.evaluate import evaluate

TRUTH = np.zeros((12, 12), np.uint8)
TRUTH[2:6, 2:6] = 1
TRUTH[8:11, 8:11] = 2
FOUND, MISSED = TRUTH.copy(), np.where(TRUTH == 2, 0, TRUTH)
FOUND[2] = 0
EMPTY = np.zeros_like(TRUTH)
PAIRS = [(TRUTH, FOUND), (TRUTH, MISSED), (EMPTY, EMPTY), (EMPTY, TRUTH)]


@pytest.fixture(scope="module")
def cases():
    return [evaluate(*pair, labels=[1, 2]) for pair in PAIRS]


@pytest.fixture(scope="module")
def summary(cases):
    return tables.summarise_with_intervals(cases, names={1: "liver_left", 2: "spleen"})


def test_missed_invented_and_absent_labels_are_counted_and_not_dropped(summary):
    spleen = summary[2]
    assert (spleen["missed"], spleen["invented"], spleen["absent"]) == (1, 1, 1)
    assert spleen["dice"]["mean"] == pytest.approx((1 + 0 + 0) / 3)
    assert spleen["hd95"]["count"] == 1
    diagonal = math.hypot(12, 12)
    assert spleen["hd95"]["penalised_mean"] == pytest.approx((0 + diagonal + diagonal) / 3, rel=0.1)


def test_intervals_are_those_of_the_bootstrap(cases, summary):
    dice = [case[1]["dice"] for case in cases]
    interval = bootstrap(dice)
    cell = summary[1]["dice"]
    assert (cell["low"], cell["high"]) == pytest.approx((interval.low, interval.high))
    assert math.isnan(summary[2]["hd95"]["low"])  # one finite case has no interval
    assert tables.with_interval(summary[2]["hd95"]) == "0"


def test_every_row_of_the_long_table_has_all_columns(summary):
    rows = tables.label_rows(summary)
    assert {tuple(row) for row in rows} == {tables.COLUMNS}
    assert [row["metric"] for row in rows[:2]] == ["dice", "iou"]
    header, *short = tables.short_rows(summary)
    assert len({len(row) for row in [header, *short]}) == 1
    assert [row[1] for row in short[:5]] == ["dice", "iou", "hd95", "assd", "nsd"]


def test_tables_are_written_as_csv_markdown_and_latex(summary):
    rows = tables.label_rows(summary)
    text = tables.to_text(rows, tables.COLUMNS, ".csv")
    assert text.splitlines()[0] == ",".join(tables.COLUMNS)
    assert len(text.splitlines()) == len(rows) + 1
    assert tables.to_text(rows, tables.COLUMNS, ".md").startswith("| label | metric |")
    latex = tables.to_text(rows, tables.COLUMNS, ".tex")
    assert r"\toprule" in latex
    assert r"liver\_left" in latex
    with pytest.raises(RecipeError, match=r"\.xlsx"):
        tables.to_text(rows, tables.COLUMNS, ".xlsx")


def test_json_is_strict():
    value = {1: {"hd": math.inf, "dice": np.float64("nan"), "tp": np.int64(3), "flag": np.bool_(1)}}
    value["list"] = (np.array([1.5, np.nan]), -math.inf)
    text = tables.to_json(value)

    def refuse(word):
        raise AssertionError(word)

    found = json.loads(text, parse_constant=refuse)
    assert found["1"] == {"hd": None, "dice": None, "tp": 3, "flag": True}
    assert found["list"] == [[1.5, None], None]


def test_nnunets_summary_has_its_keys_and_values_and_our_distances(cases):
    found = tables.nnunet_summary(cases, [(f"p{i}.nii.gz", f"t{i}.nii.gz") for i in range(4)])
    assert {"foreground_mean", "mean", "metric_per_case"} <= set(found)
    first = found["metric_per_case"][0]
    assert (first["prediction_file"], first["reference_file"]) == ("p0.nii.gz", "t0.nii.gz")
    row = first["metrics"][1]
    assert {"Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref"} <= set(row)
    assert {"HD", "HD95", "ASSD", "NSD"} <= set(row)
    assert (row["TP"], row["FN"], row["FP"], row["TN"]) == (12, 4, 0, 128)
    assert (row["n_pred"], row["n_ref"]) == (12, 16)
    assert row["Dice"] == pytest.approx(24 / 28)
    dice = [case["metrics"][2]["Dice"] for case in found["metric_per_case"]]
    assert dice == pytest.approx([1, 0, math.nan, 0], nan_ok=True)
    assert found["mean"][2]["Dice"] == pytest.approx(np.nanmean(dice))
    means = [found["mean"][label]["Dice"] for label in (1, 2)]
    assert found["foreground_mean"]["Dice"] == pytest.approx(np.mean(means))
    assert found["metric_per_case"][1]["metrics"][2]["missed"]
    assert found["mean"][2]["missed"] == 1
    assert found["penalised"][2]["HD95"] > found["mean"][2]["HD95"]
    assert "NaN" not in tables.to_json(found)


def test_nnunets_dice_does_not_depend_on_the_profile():
    empty = evaluate(EMPTY, EMPTY, labels=[1], profile="medpy")
    found = tables.nnunet_summary([empty], [("p", "t")])
    assert math.isnan(found["mean"][1]["Dice"])


def test_no_cases_and_no_labels_make_empty_tables():
    assert tables.summarise_with_intervals([]) == {}
    assert tables.label_rows({}) == []
    header, *rows = tables.short_rows({})
    assert rows == []
    assert header[0] == "label"
