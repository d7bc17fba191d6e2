"""Which files belong together, in every layout, and what is said where something is missing."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow
from tests.images.synthetic_ct import save, slice_header, write_series

from vesalius.errors import DataError
from vesalius.images.check import check_case
from vesalius.images.layout import declared_channels, declared_labels, find_cases


def picture(path, shape=(4, 5), value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full(shape, value, np.uint8)).save(path)


def volume(path, shape=(3, 4, 5), affine=None, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(shape, value, np.float32)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def dataset_json(folder, **fields):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(fields), encoding="utf-8")


@pytest.fixture
def nnunet(tmp_path):
    for case in ("b", "a"):
        for channel in range(2):
            volume(tmp_path / "imagesTr" / f"{case}_{channel:04d}.nii.gz")
        volume(tmp_path / "labelsTr" / f"{case}.nii.gz")
    for channel in range(2):
        volume(tmp_path / "imagesTs" / f"c_{channel:04d}.nii.gz")
    dataset_json(
        tmp_path,
        channel_names={"0": "T1", "1": "T2"},
        labels={"background": 0, "tumour": 1},
        numTraining=2,
        file_ending=".nii.gz",
    )
    return tmp_path


def test_nnunet_v2_joins_channels_and_finds_the_test_part(nnunet):
    cases = find_cases(nnunet)
    assert [(case.id, case.extra["split"]) for case in cases] == [
        ("a", None), ("b", None), ("c", "test"),
    ]  # fmt: skip
    assert [path.name for path in cases[0].input] == ["a_0000.nii.gz", "a_0001.nii.gz"]
    assert cases[0].target == nnunet / "labelsTr" / "a.nii.gz"
    assert cases[2].target is None
    assert declared_labels(nnunet) == {"background": 0, "tumour": 1}
    assert declared_channels(nnunet) == ["T1", "T2"]
    assert find_cases(nnunet / "dataset.json") == cases


def test_everything_missing_in_nnunet_is_listed_at_once(nnunet):
    (nnunet / "imagesTr" / "a_0001.nii.gz").unlink()
    (nnunet / "labelsTr" / "b.nii.gz").unlink()
    volume(nnunet / "labelsTr" / "z.nii.gz")
    with pytest.raises(DataError) as caught:
        find_cases(nnunet)
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "lacks the channels a_0001" in text
    assert "no mask for the case 'b'" in text
    assert "z.nii.gz has no image" in text


def test_a_training_set_that_is_not_complete_is_noticed(nnunet):
    meta = json.loads((nnunet / "dataset.json").read_text())
    dataset_json(nnunet, **meta | {"numTraining": 3})
    with pytest.raises(DataError, match="declares numTraining 3; imagesTr has 2"):
        find_cases(nnunet)


def test_the_case_list_of_nnunet_may_point_anywhere(tmp_path):
    volume(tmp_path / "scans" / "x.nii.gz")
    volume(tmp_path / "masks" / "y.nii.gz")
    entry = {"images": ["scans/x.nii.gz"], "label": "masks/y.nii.gz"}
    dataset_json(tmp_path, dataset={"first": entry}, labels={"background": 0})
    (case,) = find_cases(tmp_path)
    assert case.id == "first"
    assert case.target == tmp_path / "masks" / "y.nii.gz"


def test_the_decathlon_form_follows_its_list(tmp_path):
    for name in ("p1", "p2"):
        volume(tmp_path / "imagesTr" / f"{name}.nii.gz")
        volume(tmp_path / "labelsTr" / f"{name}.nii.gz")
    volume(tmp_path / "imagesTs" / "p3.nii.gz")
    pairs = [
        {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in ("p1", "p2")
    ]
    labels = {"0": "background", "1": "liver"}
    dataset_json(
        tmp_path, modality={"0": "CT"}, labels=labels, training=pairs, test=["imagesTs/p3.nii.gz"]
    )
    cases = find_cases(tmp_path)
    assert [(c.id, c.extra["split"]) for c in cases] == [("p1", None), ("p2", None), ("p3", "test")]
    assert declared_labels(tmp_path) == {"background": 0, "liver": 1}
    dataset_json(tmp_path, modality={"0": "CT"}, labels=labels, training=pairs[:1])
    with pytest.raises(DataError, match=r"p2\.nii\.gz is not listed"):
        find_cases(tmp_path)


def test_regions_and_broken_json_are_explained(tmp_path):
    dataset_json(tmp_path, labels={"background": 0, "whole": [1, 2]}, training=[])
    with pytest.raises(DataError, match="Regions"):
        declared_labels(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        find_cases(tmp_path)


@pytest.mark.parametrize("folder", ["masks", "labels", "annotations", "gt", "Masks"])
@pytest.mark.parametrize("mask", ["{}", "{}_mask", "{}-mask", "{}_seg", "{}_label", "{}.seg"])
def test_masks_are_found_by_name(tmp_path, folder, mask):
    for name in ("one", "two.x"):
        picture(tmp_path / "images" / f"{name}.png")
        picture(tmp_path / folder / f"{mask.format(name)}.png")
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"")
    (tmp_path / "images" / "._one.png").write_bytes(b"")
    cases = find_cases(tmp_path)
    assert [case.id for case in cases] == ["one", "two.x"]
    assert cases[1].target == tmp_path / folder / f"{mask.format('two.x')}.png"


def test_missing_orphaned_doubled_and_unknown_files_are_listed_together(tmp_path):
    for name in ("a", "b", "c"):
        picture(tmp_path / "images" / f"{name}.png")
    for name in ("a", "a_mask", "b", "z"):
        picture(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "images" / "d.webp").write_bytes(b"")
    with pytest.raises(DataError, match="4 problems") as caught:
        find_cases(tmp_path)
    text = "\n".join(caught.value.problems)
    assert "a.png has 2 masks" in text
    assert "c.png has no mask" in text
    assert "z.png has no image" in text
    assert "d.webp is of an unknown format" in text


def test_many_problems_are_shortened_in_the_message_only(tmp_path):
    (tmp_path / "masks").mkdir()
    for k in range(50):
        picture(tmp_path / "images" / f"{k:02d}.png")
    with pytest.raises(DataError, match="and 30 more") as caught:
        find_cases(tmp_path)
    assert len(caught.value.problems) == 50
    assert len(str(caught.value).splitlines()) == 22


@pytest.mark.parametrize("order", ["{part}/{kind}", "{kind}/{part}"])
def test_parts_of_a_data_set_are_told_from_their_folders(tmp_path, order):
    for part in ("train", "val", "test"):
        picture(tmp_path / order.format(part=part, kind="images") / f"{part}1.png")
        if part != "test":
            picture(tmp_path / order.format(part=part, kind="masks") / f"{part}1.png")
    cases = {case.id: case for case in find_cases(tmp_path)}
    assert {name: case.extra["split"] for name, case in cases.items()} == {
        "train1": "train", "val1": "valid", "test1": "test",
    }  # fmt: skip
    assert cases["test1"].target is None
    assert cases["train1"].target is not None


def test_the_same_name_in_two_parts_is_an_error(tmp_path):
    for part in ("train", "test"):
        picture(tmp_path / part / "images" / "a.png")
        picture(tmp_path / part / "masks" / "a.png")
    with pytest.raises(DataError, match="id 'a' occurs 2 times"):
        find_cases(tmp_path)


def test_masks_beside_their_images_are_paired(tmp_path):
    for name in ("benign (1)", "benign (2)"):
        picture(tmp_path / f"{name}.png")
        picture(tmp_path / f"{name}_mask.png")
    cases = find_cases(tmp_path)
    assert [case.id for case in cases] == ["benign (1)", "benign (2)"]
    assert cases[0].target.name == "benign (1)_mask.png"
    (tmp_path / "benign (2)_mask.png").unlink()
    with pytest.raises(DataError, match=r"benign \(2\)\.png has no mask"):
        find_cases(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "utf-16"])
@pytest.mark.parametrize(("end", "joint"), [(".csv", ","), (".csv", ";"), (".tsv", "\t")])
def test_a_table_names_cases_in_any_encoding(tmp_path, encoding, end, joint):
    picture(tmp_path / "图像" / "甲.png")
    picture(tmp_path / "m" / "a.png")
    rows = [
        ["ID", "Image", "Mask", "Patient", "Split", "note"],
        ["病例1", "图像/甲.png", "m/a.png", "李", "Validation", "x"],
        ["", str(tmp_path / "m" / "a.png"), "", "", "", ""],
    ]
    text = "\r\n".join(joint.join(row) for row in rows)
    (tmp_path / f"table{end}").write_bytes(text.encode(encoding))
    first, second = find_cases(tmp_path / f"table{end}")
    assert (first.id, first.group) == ("病例1", "李")
    assert first.extra == {"row": 2, "split": "valid"}
    assert first.target == tmp_path / "m" / "a.png"
    assert (second.id, second.target, second.group) == ("a", None, None)


def test_channels_come_from_several_columns_or_one_joined(tmp_path):
    for name in ("x", "y"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "a.csv").write_text("image_1,image_0,label\ny.png,x.png,x.png\n")
    (tmp_path / "b.csv").write_text("image,label\nx.png;y.png,x.png\n")
    (tmp_path / "c.jsonl").write_text('{"image": ["x.png", "y.png"], "mask": "x.png"}\n')
    for name in ("a.csv", "b.csv", "c.jsonl"):
        (case,) = find_cases(tmp_path / name)
        assert [path.name for path in case.input] == ["x.png", "y.png"]
        assert case.target.name == "x.png"


def test_files_of_equal_name_are_told_apart_by_their_folder(tmp_path):
    for patient in ("p1", "p2"):
        picture(tmp_path / patient / "scan.png")
    (tmp_path / "manifest.csv").write_text("image\np1/scan.png\np2/scan.png\n")
    assert [case.id for case in find_cases(tmp_path)] == ["p1_scan", "p2_scan"]


def test_wrong_rows_are_named_by_their_line(tmp_path):
    picture(tmp_path / "x.png")
    rows = ["image,mask,split", "x.png,gone.png,", "", "x.png,,sometimes", ",x.png,"]
    rows += ["x.png,x.png,train,more"]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    with pytest.raises(DataError) as caught:
        find_cases(tmp_path / "a.csv")
    text = "\n".join(caught.value.problems)
    assert "line 2" in text
    assert "gone.png does not exist" in text
    assert "line 4: the split 'sometimes'" in text
    assert "line 5: no image" in text
    assert "line 6: 4 cells" in text
    (tmp_path / "b.csv").write_text("path,mask\nx.png,x.png\n")
    with pytest.raises(DataError, match="it needs image"):
        find_cases(tmp_path / "b.csv")
    (tmp_path / "c.jsonl").write_text('{"image": "x.png"}\n{"image"\n[]\n')
    with pytest.raises(DataError, match=r"(?s)line 2: not valid JSON.*line 3: write an object"):
        find_cases(tmp_path / "c.jsonl")


def test_doubled_ids_and_ids_that_name_no_file_are_errors(tmp_path):
    picture(tmp_path / "x.png")
    (tmp_path / "a.csv").write_text("id,image\na,x.png\na,x.png\nb/c,x.png\n")
    with pytest.raises(DataError, match="cannot name a file") as caught:
        find_cases(tmp_path / "a.csv")
    assert any("'a' occurs 2 times" in problem for problem in caught.value.problems)


def test_images_alone_are_cases_without_truth(tmp_path):
    for name in ("b", "a"):
        picture(tmp_path / f"{name}.png")
    assert [(c.id, c.target) for c in find_cases(tmp_path)] == [("a", None), ("b", None)]
    assert find_cases(tmp_path / "a.png")[0].input == (tmp_path / "a.png",)


def test_channel_files_in_a_plain_folder_are_joined(tmp_path):
    for name in ("a_0000", "a_0001", "b_0000", "b_0001"):
        volume(tmp_path / f"{name}.nii.gz")
    assert [(case.id, len(case.input)) for case in find_cases(tmp_path)] == [("a", 2), ("b", 2)]


def test_a_folder_of_series_has_one_case_each(tmp_path):
    write_series(tmp_path / "anna" / "chest", series="chest")
    write_series(tmp_path / "anna" / "head", series="head")
    write_series(tmp_path / "ben", series="ben")
    cases = find_cases(tmp_path)
    assert [(case.id, case.group) for case in cases] == [
        ("anna_chest", "anna"), ("anna_head", "anna"), ("ben", None),
    ]  # fmt: skip
    (alone,) = find_cases(tmp_path / "ben")
    assert alone.id == "ben"
    assert check_case(alone) == []


def test_single_dicom_films_are_one_case_each(tmp_path):
    for name in ("f1", "f2"):
        save(slice_header(0, name), tmp_path / f"{name}.dcm")
    assert [case.id for case in find_cases(tmp_path)] == ["f1", "f2"]


def test_what_is_not_understood_says_what_was_seen_and_what_is_understood(tmp_path):
    (tmp_path / "movies").mkdir()
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(
        DataError, match=r"(?s)it has: a\.txt, movies/.*imagesTr.*images/ and masks/"
    ):
        find_cases(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        find_cases(tmp_path / "gone")
    with pytest.raises(DataError, match="neither an image nor a table"):
        find_cases(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("background\nliver\n", {"background": 0, "liver": 1}),
        ("liver\nspleen\n", {"liver": 1, "spleen": 2}),
        ("0 background\n2: left lung\n", {"background": 0, "left lung": 2}),
        ("背景\n肿瘤\n", {"背景": 0, "肿瘤": 1}),
    ],
)
def test_label_names_are_read_from_a_list(tmp_path, text, expected):
    assert declared_labels(tmp_path) is None
    assert declared_channels(tmp_path) is None
    (tmp_path / "labels.txt").write_text(text, encoding="gbk")
    assert declared_labels(tmp_path) == expected


def test_a_case_is_checked_for_shape_place_labels_and_values(tmp_path):
    for name in ("image", "good"):
        volume(tmp_path / f"{name}.nii.gz")
    volume(tmp_path / "small.nii.gz", shape=(3, 4, 4))
    volume(tmp_path / "moved.nii.gz", affine=np.diag([1, 1, 2, 1]))
    volume(tmp_path / "other.nii.gz", value=9)
    volume(tmp_path / "nan.nii.gz", value=np.nan)
    (tmp_path / "broken.nii.gz").write_bytes(b"no gzip")
    (case,) = find_cases(tmp_path / "image.nii.gz")

    def problems(mask):
        return check_case(replace(case, target=tmp_path / f"{mask}.nii.gz"), labels=[0, 1])

    assert problems("good") == []
    assert "(3, 4, 4)" in problems("small")[0]
    assert "(3, 4, 5)" in problems("small")[0]
    assert "another affine" in problems("moved")[0]
    assert "[9]" in problems("other")[0]
    assert "not finite" in problems("nan")[0]
    assert "cannot be read" in problems("broken")[0]
    (nan,) = find_cases(tmp_path / "nan.nii.gz")
    assert "60 values" in check_case(nan)[0]


def test_the_real_sets_are_found_whole_and_agree(shared_data):
    nuclei, hippocampus = (
        find_cases(shared_data / "nuclei"),
        find_cases(shared_data / "hippocampus"),
    )
    assert len(nuclei) == 561
    assert len(hippocampus) == 205
    assert all(case.target is not None for case in [*nuclei, *hippocampus])
    assert [p for case in nuclei[::40] + hippocampus[::20] for p in check_case(case)] == []
    assert list(declared_labels(shared_data / "hippocampus")) == [
        "background", "Anterior", "Posterior",
    ]  # fmt: skip
