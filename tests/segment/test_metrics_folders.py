"""Folders of masks and the two commands: pairing, problems listed at once, what is printed."""

import json
import math

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from vesalius.cli import main
from vesalius.errors import DataError, RecipeError
from vesalius.segment.metrics.case_files import pair_files
from vesalius.segment.metrics.evaluate import evaluate
from vesalius.segment.metrics.folder_comparison import compare_folders
from vesalius.segment.metrics.folders import metrics
from vesalius.segment.metrics.tables import strict

AFFINE = np.diag([0.5, 1.0, 2.0, 1.0])


def volume(seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((14, 16, 12), np.uint8)
    for value in (1, 2):
        corner = rng.integers(1, 6, 3)
        labels[tuple(slice(c, c + 5) for c in corner)] = value
    return labels


def write_volume(path, labels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, affine), path)


@pytest.fixture
def volumes(tmp_path):
    """An nnU-Net data set with five truths, and predictions moved by one voxel; one misses 2."""
    truth, predictions = tmp_path / "set" / "labelsTr", tmp_path / "moved"
    for i in range(5):
        labels = volume(i)
        moved = np.roll(labels, 1, axis=0)
        write_volume(truth / f"case{i}.nii.gz", labels)
        write_volume(
            predictions / f"case{i}.nii.gz", np.where(moved == 2, 0, moved) if i == 3 else moved
        )
    (tmp_path / "set" / "dataset.json").write_text(
        '{"labels": {"background": 0, "liver": 1, "spleen": 2}, "channel_names": {"0": "CT"}}'
    )
    return predictions, tmp_path / "set"


@pytest.fixture
def cells(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("truth", "found"):
        (tmp_path / name).mkdir()
    for i in range(3):
        labels = np.zeros((40, 40), np.uint16)
        for cell in range(9):
            y, x = 13 * (cell // 3) + 2, 13 * (cell % 3) + 2
            labels[y : y + 8, x : x + rng.integers(5, 9)] = cell + 1
        Image.fromarray(labels).save(tmp_path / "truth" / f"im{i}.png")
        Image.fromarray(np.roll(np.where(labels == 9, 0, labels), 1, 0)).save(
            tmp_path / "found" / f"im{i}.png"
        )
    return tmp_path / "found", tmp_path / "truth"


def test_cases_are_scored_with_the_spacing_and_the_names_of_the_data_set(volumes):
    scores = metrics(*volumes)
    assert scores.names == {1: "liver", 2: "spleen"}
    expected = evaluate(
        volume(0), np.roll(volume(0), 1, axis=0), labels=[1, 2], spacing=(0.5, 1, 2)
    )
    assert strict(scores.values[0]) == strict(expected)
    assert scores.values[0][1]["hd"] == 0.5
    found = scores.summary["labels"][2]
    assert (found["name"], found["missed"], found["hd95"]["count"]) == ("spleen", 1, 4)
    counts = {name: sum(row[1][name] for row in scores.values) for name in ("tp", "fp", "fn")}
    dice = 2 * counts["tp"] / (2 * counts["tp"] + counts["fp"] + counts["fn"])
    assert scores.summary["global"]["dice"][1]["estimate"] == pytest.approx(dice)


def test_options_choose_labels_spacing_and_metrics(volumes):
    scores = metrics(*volumes, labels=["spleen"], spacing=1, which=("dice", "hd"))
    assert list(scores.values[0]) == [2]
    assert scores.values[0][2]["hd"] == 1.0
    assert "nsd" not in scores.values[0][2]
    by_name = metrics(*volumes, labels={"both": 1})
    assert by_name.labels[1]["name"] == "both"
    with pytest.raises(RecipeError, match="liver, spleen"):
        metrics(*volumes, labels=["kidney"])
    with pytest.raises(RecipeError, match="No metric profile"):
        metrics(*volumes, profile="mony")


def test_several_processes_give_the_same_scores(volumes):
    alone, together = metrics(*volumes), metrics(*volumes, workers=2)
    assert strict(alone.to_dict()) == strict(together.to_dict())


def test_labels_that_a_case_lacks_are_absent_there_under_the_profiles_rule(tmp_path):
    for folder in ("a", "b"):
        write_volume(tmp_path / folder / "one.nii.gz", volume(0))
        write_volume(tmp_path / folder / "two.nii.gz", np.zeros((14, 16, 12), np.uint8))
    default = metrics(tmp_path / "a", tmp_path / "b")
    assert list(default.values[1]) == [1, 2]
    assert math.isnan(default.values[1][1]["dice"])
    assert default.values[1][1]["tn"] == 14 * 16 * 12
    medpy = metrics(tmp_path / "a", tmp_path / "b", profile="medpy")
    assert medpy.values[1][1]["dice"] == 1
    assert default.labels[1]["absent"] == 1


def test_all_problems_are_listed_at_once(volumes):
    predictions, truth = volumes
    write_volume(predictions / "case0.nii.gz", volume(0)[:-1])
    write_volume(predictions / "case1.nii.gz", volume(1), affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    write_volume(predictions / "case2.nii.gz", volume(2) + np.uint8(5))
    (predictions / "case3.nii.gz").write_bytes(b"no volume")
    with pytest.raises(DataError, match="4 of 5 cases") as caught:
        metrics(predictions, truth)
    for part in ("(13, 16, 12)", "another affine", "[5, 6, 7]", "case3.nii.gz cannot be read"):
        assert any(part in problem for problem in caught.value.problems), part


def test_files_without_a_partner_are_listed_and_subset_allows_truths_alone(volumes):
    predictions, truth = volumes
    (predictions / "case1.nii.gz").unlink()
    write_volume(predictions / "other.nii.gz", volume(7))
    with pytest.raises(DataError, match="2 places") as caught:
        metrics(predictions, truth)
    assert "other.nii.gz has no truth" in str(caught.value)
    assert "case1.nii.gz has no prediction" in str(caught.value)
    (predictions / "other.nii.gz").unlink()
    assert len(metrics(predictions, truth, subset=True).files) == 4


def test_names_match_over_suffixes_and_endings_and_probabilities_are_left_out(tmp_path):
    labels = volume(0)
    write_volume(tmp_path / "p" / "a.nii.gz", labels)
    write_volume(tmp_path / "p" / "a_probabilities.nii.gz", labels)
    (tmp_path / "p" / "scores.json").write_text("{}")
    write_volume(tmp_path / "data" / "masks" / "a_mask.nii", labels)
    found = pair_files(tmp_path / "p", tmp_path / "data")
    assert [(item.case, item.truth.name) for item in found] == [("a", "a_mask.nii")]
    one = pair_files(tmp_path / "p" / "a.nii.gz", tmp_path / "data" / "masks" / "a_mask.nii")
    assert one[0].case == "a"
    with pytest.raises(DataError, match="two folders, or two files"):
        pair_files(tmp_path / "p", tmp_path / "data" / "masks" / "a_mask.nii")
    with pytest.raises(DataError, match="does not exist"):
        pair_files(tmp_path / "p", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no masks"):
        pair_files(tmp_path / "empty", tmp_path / "data")


def test_an_ignore_label_that_the_data_set_declares_is_ignored(volumes):
    predictions, truth = volumes
    whole = metrics(predictions, truth).values[0][1]
    (truth / "dataset.json").write_text(
        '{"labels": {"background": 0, "liver": 1, "ignore": 2}, "channel_names": {"0": "CT"}}'
    )
    for path in predictions.glob("*.nii.gz"):
        labels = np.asarray(nib.load(path).dataobj)
        write_volume(path, np.where(labels == 2, 0, labels).astype(np.uint8))
    scores = metrics(predictions, truth)
    assert list(scores.names) == [1]
    assert scores.settings.ignore == 2
    row = scores.values[0][1]
    assert row["tp"] + row["fp"] + row["fn"] + row["tn"] < sum(
        whole[name] for name in ("tp", "fp", "fn", "tn")
    )


def test_objects_are_matched_and_pooled(cells):
    scores = metrics(*cells, instances=True)
    row = scores.scores[0].instances
    assert (row["tp"], row["fp"], row["fn"]) == (8, 0, 1)
    assert row["f1"] == pytest.approx(16 / 17)
    found = scores.summary["instances"]
    assert (found["pooled"]["tp"], found["pooled"]["fn"]) == (24, 3)
    pq = found["pooled"]
    assert pq["pq"] == pytest.approx(pq["sq"] * pq["rq"])
    assert list(scores.values[0]) == [1]
    assert found["mean"]["aji"]["low"] <= found["mean"]["aji"]["estimate"]


def test_ignored_pixels_count_neither_for_objects_nor_for_their_area(cells):
    predictions, truth = cells
    path = truth / "im0.png"
    labels = np.array(Image.open(path))
    labels[labels == 9] = 255  # the one that was missed
    Image.fromarray(labels).save(path)
    row = metrics(predictions, truth, instances=True, ignore=255).scores[0]
    assert (row.instances["tp"], row.instances["fn"]) == (8, 0)
    counts = row.profiles["vesalius"][1]
    assert sum(counts[name] for name in ("tp", "fp", "fn", "tn")) == (labels != 255).sum()


def test_numbered_objects_without_the_option_are_an_error_with_the_remedy(tmp_path):
    many = np.arange(400, dtype=np.uint16).reshape(20, 20)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(many).save(tmp_path / folder / "x.png")
    with pytest.raises(DataError, match="say instances"):
        metrics(tmp_path / "a", tmp_path / "b")


def test_patients_are_the_units_of_intervals(volumes):
    groups = {f"case{i}": i // 2 for i in range(5)}
    scores = metrics(*volumes, groups=groups)
    assert scores.summary["interval"]["units"] == 3
    with pytest.raises(DataError, match="no group"):
        metrics(*volumes, groups={"case0": 1})


@pytest.mark.parametrize("name", ["t.csv", "t.md", "t.tex", "t.json", "summary.json"])
def test_every_kind_of_table_is_written(volumes, tmp_path, name):
    predictions, truth = map(str, volumes)
    out = tmp_path / name
    assert main(["segment", "metrics", predictions, truth, "--out", str(out)]) == 0
    text = out.read_text()
    assert "spleen" in text or name == "summary.json"
    if name == "summary.json":
        found = json.loads(text)
        assert found["metric_per_case"][3]["metrics"]["2"]["missed"] is True
        assert found["metric_per_case"][3]["metrics"]["2"]["HD95"] is None


def test_json_is_one_strict_document_with_the_fixed_keys(volumes, capsys):
    assert main(["segment", "metrics", *map(str, volumes), "--json"]) == 0

    def refuse(word):
        raise AssertionError(word)

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert set(found) == {"cases", "summary"}
    assert set(found["cases"][0]) == {"case", "labels"}
    row = found["cases"][0]["labels"]["1"]
    assert {"dice", "iou", "precision", "recall", "hd", "hd95", "assd", "nsd"} <= set(row)
    missed = found["cases"][3]["labels"]["2"]
    assert (missed["hd95"], missed["dice"], missed["missed"]) == (None, 0, True)


def test_the_tables_show_intervals_profiles_and_what_was_missed(volumes, capsys):
    assert main(["segment", "metrics", *map(str, volumes), "--all-profiles"]) == 0
    shown = capsys.readouterr().out
    for part in ("spleen", "[", "medpy", "missed in 1", "penalised"):
        assert part in shown


def test_profiles_are_compared_on_the_users_data(volumes):
    found = metrics(*volumes, all_profiles=True).summary["profiles"]
    assert math.isinf(found["vesalius"][2]["hd95"])
    assert math.isfinite(found["medpy"][2]["hd95"])
    assert found["nnunet"][1]["dice"] == found["vesalius"][1]["dice"]


@pytest.mark.parametrize(
    ("options", "status", "part"),
    [
        (["--spacing", "1,x"], 2, "give numbers"),
        (["--out", "t.xlsx"], 2, ".csv"),
        (["--labels", "kidney"], 2, "kidney"),
        (["--profile", "mony"], 2, "mony"),
        (["--workers", "0"], 2, "at least one process"),
        (["--spacing", "1,1"], 1, "spacing"),
    ],
)
def test_wrong_options_are_said_with_their_status(volumes, capsys, options, status, part):
    assert main(["segment", "metrics", *map(str, volumes), *options]) == status
    assert part in capsys.readouterr().err


@pytest.fixture
def exact(volumes, tmp_path):
    folder = tmp_path / "exact"
    for i in range(5):
        write_volume(folder / f"case{i}.nii.gz", volume(i))
    return folder


def test_two_models_are_compared_case_by_case(volumes, exact):
    predictions, truth = volumes
    found = compare_folders(exact, predictions, truth)
    rows = {(row["metric"], row["label"]): row for row in found.rows()}
    dice = rows["dice", "liver"]
    assert (dice["mean_a"], dice["better"], dice["cases"]) == (1, 1, 5)
    assert dice["difference"] == pytest.approx(1 - dice["mean_b"])
    assert dice["low"] > 0
    spleen = rows["hd95", "spleen"]
    assert (spleen["better"], spleen["unbounded"]) == (1, 1)
    assert spleen["mean_b"] == pytest.approx(0.5)
    assert ("dice", "mean") in rows
    (exact / "case4.nii.gz").unlink()
    with pytest.raises(DataError, match="one model only"):
        compare_folders(exact, predictions, truth, subset=True)


def test_objects_of_two_models_are_compared(cells):
    predictions, truth = cells
    found = compare_folders(truth, predictions, truth, instances=True)
    rows = {row["metric"]: row for row in found.rows()}
    assert rows["instance f1"]["mean_a"] == 1
    assert rows["instance f1"]["better"] == 1


def test_the_command_compares_prints_and_writes(volumes, exact, tmp_path, capsys):
    arguments = ["segment", "compare", str(exact), *map(str, volumes)]
    assert main([*arguments, "--out", str(tmp_path / "c.md")]) == 0
    assert "Wilcoxon" in capsys.readouterr().out
    assert "| dice | liver |" in (tmp_path / "c.md").read_text()
    assert main([*arguments, "--json", "--out", str(tmp_path / "c.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "c.json").read_text())
    assert found["metrics"]["dice"]["liver"]["difference"]["method"] == "expanded bca"


def test_real_labels_are_scored(shared_data, tmp_path):
    from vesalius.images.read import read_mask
    from vesalius.images.write import write_mask

    truth = shared_data / "hippocampus"
    for path in sorted((truth / "labelsTr").glob("*.nii.gz"))[:3]:
        mask = read_mask(path)
        write_mask(tmp_path / path.name, np.roll(mask.array, 1, axis=1), like=mask)
    scores = metrics(tmp_path, truth, subset=True)
    assert set(scores.names.values()) == {"Anterior", "Posterior"}
    assert 0.7 < scores.summary["mean"]["dice"]["mean"] < 1
    assert scores.values[0][1]["hd"] == 1.0
