"""CSV and TSV."""

import numpy as np
import pytest

from tests.detect.formats_kit import picture
from vesalius.detect import formats
from vesalius.errors import DataError


@pytest.fixture
def folder(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "images" / "b.png")
    return tmp_path


def put(folder, *lines, name="boxes.csv"):
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("t.csv", "image,x1,y1,x2,y2,label", "a.png,1,2,3,4,RBC"),
        ("t.csv", "filename,width,height,class,xmin,ymin,xmax,ymax", "a.png,16,12,RBC,1,2,3,4"),
        ("t.csv", "label,x,y,w,h,image", "RBC,1,2,2,2,a.png"),
        ("t.csv", "Path;Left;Top;Right;Bottom;Category", "a.png;1;2;3;4;RBC"),
        ("t.tsv", "image\tx_min\ty_min\tx_max\ty_max\tclass_name", "a.png\t1\t2\t3\t4\tRBC"),
    ],
)
def test_headers_of_many_programs_are_understood(folder, name, header, row):
    scene = formats.find_scenes(put(folder, header, row, name=name))[0]
    assert scene.boxes.tolist() == [[1, 2, 3, 4]]
    assert scene.labels == ("RBC",)


def test_a_table_without_header_and_images_without_objects(folder):
    put(folder, "a.png,1,2,3,4,RBC", "a.png,5,6,7,8,WBC", "b.png,,,,,")
    a, b = formats.find_scenes(folder)
    assert a.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert b.count == 0
    assert b.path == folder / "images" / "b.png"


def test_optional_columns(folder):
    put(
        folder,
        "image,x1,y1,x2,y2,label,score,split,patient,difficult",
        "a.png,1,2,3,4,RBC,0.5,val,p1,1",
        "a.png,1,2,3,4,RBC,0.25,,p1,0",
    )
    scene = formats.find_scenes(folder)[0]
    assert (scene.split, scene.group) == ("valid", "p1")
    assert scene.scores.tolist() == [0.5, 0.25]
    assert scene.difficult.tolist() == [True, False]


def test_everything_that_is_wrong_is_listed_with_its_line(folder):
    put(
        folder,
        "image,x1,y1,x2,y2,label,split",
        "gone.png,1,2,3,4,RBC,",
        "",
        "a.png,1,two,3,4,RBC,",
        "a.png,1,2,3,,RBC,",
        "a.png,3,2,1,4,RBC,",
        "a.png,3,2,30,4,RBC,",
        "a.png,3,2,5,4,,",
        "a.png,3,2,5,4,RBC,sometimes",
        ",3,2,5,4,RBC,",
        "b.png,nan,2,5,4,RBC,",
    )
    with pytest.raises(DataError) as caught:
        formats.find_scenes(folder)
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 9
    for words in (
        "line 2: the image gone.png was not found",
        "line 4: y1 is 'two', no number",
        "line 5: needs x1, y1, x2, y2 and label",
        "line 6: the box (3, 2, 1, 4) has no extent",
        "line 7: the box (3, 2, 30, 4) reaches beyond",
        "line 8: needs x1, y1, x2, y2 and label",
        "line 9: the split 'sometimes'",
        "line 10: no image is named",
        "line 11: the box (nan, 2, 5, 4) has numbers that are not finite",
    ):
        assert words in told


def test_a_volume_needs_six_sides(folder):
    import nibabel

    volume = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4))
    nibabel.save(volume, folder / "v.nii.gz")
    put(folder, "image,x1,y1,z1,x2,y2,z2,label", "v.nii.gz,0,1,2,6,5,4,nodule")
    scene = formats.find_scenes(folder)[0]
    assert scene.size == (4, 5, 6)
    assert scene.boxes.tolist() == [[0, 1, 2, 6, 5, 4]]
    put(folder, "image,x1,y1,x2,y2,label", "v.nii.gz,0,1,6,5,nodule")
    with pytest.raises(DataError, match="line 2: needs x1, y1, z1, x2, y2, z2"):
        formats.find_scenes(folder)
