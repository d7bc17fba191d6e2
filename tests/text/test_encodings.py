"""Which encoding a file has."""

import pytest

from vesalius.errors import DataError
from vesalius.text.encodings import decoded, detect, open_binary, undecodable

SIMPLIFIED = "患者既往有高血压病史5年，否认糖尿病。\n"
TRADITIONAL = "病人過去有高血壓病史，否認糖尿病，無發熱。\n"


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("plain\n", "ascii", "utf-8"),
        ("", "ascii", "utf-8"),
        (SIMPLIFIED, "utf-8", "utf-8"),
        (SIMPLIFIED, "utf-8-sig", "utf-8-sig"),
        (SIMPLIFIED, "gb18030", "gb18030"),
        (SIMPLIFIED, "gbk", "gb18030"),
        (TRADITIONAL, "gb18030", "gb18030"),
        (TRADITIONAL, "big5", "big5"),
        (SIMPLIFIED, "utf-16", "utf-16"),
        ("BP 120/80\n" + SIMPLIFIED, "utf-16-le", "utf-16-le"),
        ("BP 120/80\n" + SIMPLIFIED, "utf-16-be", "utf-16-be"),
        ("Temperature 37 °C ±0.5, 10 µg, naïve patient\n", "cp1252", "cp1252"),
        # What decides may come late.
        ("plain\n" * 300_000 + SIMPLIFIED, "gb18030", "gb18030"),
    ],
)
def test_encodings_are_recognised(tmp_path, text, encoding, name):
    path = tmp_path / "x.txt"
    path.write_bytes(text.encode(encoding))
    assert detect(path) == name
    with open_binary(path) as binary:
        assert decoded(binary, name).read() == text


def test_one_broken_line_does_not_decide(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(SIMPLIFIED.encode() * 3 + b"\xff\xfe\xfd\n")
    assert detect(path) == "utf-8"


@pytest.mark.parametrize("content", [bytes(range(256)), b"\xff\x80\xff\x80\n" * 9])
def test_what_is_no_text_is_refused(tmp_path, content):
    path = tmp_path / "x.txt"
    path.write_bytes(b"plain\n" + content)
    with pytest.raises(DataError, match=r"x\.txt"):
        detect(path)


def test_the_first_line_that_nothing_fits_is_named(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"plain\n" * 7 + b"\xff\x80\xff\x80\n" * 9)
    with pytest.raises(DataError, match="line 8 "):
        detect(path)


def test_undecodable_bytes_are_named():
    assert undecodable("plain") is None
    assert undecodable("头痛") is None
    assert "byte 0xFF at character 3" in undecodable("头痛\udcff")
