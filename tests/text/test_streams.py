"""Streams: order, seeds, formats, rejects, and that nothing is lost."""

import csv
import gzip
import json
import random
import sys
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import DataError, MissingDependencyError, RecipeError, StorageError
from vesalius.text import Output, run
from vesalius.text.streams import Summary


class Shuffle:
    """Shuffle the characters; refuse texts with a cross."""

    def __init__(self, copies=1):
        self.copies = copies

    def __call__(self, text, rng):
        if "✗" in text:
            raise ValueError("crossed out")
        made = []
        for copy in range(self.copies):
            made.append(Output("".join(rng.sample(text, len(text))), {"copy": copy}))
        return made


def same(text, rng):
    return [Output(text)]


def upper(text, rng):
    return [Output(text.upper())]


def nothing(text, rng):
    return []


def needs_a_package(text, rng):
    raise MissingDependencyError("parrot", "This", "pip install parrot")


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def rejects(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_output_is_the_same_for_any_number_of_processes(tmp_path):
    lines = [f"患者{number}年前头痛" if number % 100 else "✗" for number in range(3000)]
    source = write(tmp_path / "in.txt", lines)
    notes: dict[int, list] = {1: [], 2: []}
    for workers, gathered in notes.items():
        summary = run(
            source,
            Shuffle(2),
            out=tmp_path / f"{workers}.txt",
            workers=workers,
            seed=3,
            gather=gathered.append,
        )
        assert (summary.read, summary.written, summary.rejected) == (3000, 5940, 30)
    assert (tmp_path / "1.txt").read_bytes() == (tmp_path / "2.txt").read_bytes()
    assert notes[1] == notes[2]
    assert [note["record"] for note in notes[1]] == list(range(1, 5941))
    assert notes[1][2] == {"line": 3, "record": 3, "field": None, "copy": 0}
    assert (tmp_path / "1.rejects.jsonl").read_bytes() == (
        tmp_path / "2.rejects.jsonl"
    ).read_bytes()


def test_the_seed_decides_and_records_differ(tmp_path):
    source = write(tmp_path / "in.txt", ["abcdefghijklmnop"] * 3)
    results = []
    for seed in (0, 0, 1):
        run(source, Shuffle(), out=tmp_path / "out.txt", seed=seed)
        results.append((tmp_path / "out.txt").read_text().splitlines())
    assert results[0] == results[1] != results[2]
    assert len(set(results[0])) == 3


def test_a_record_that_fails_is_kept_with_its_line_and_reason(tmp_path):
    source = write(tmp_path / "in.txt", ["a", "✗ b", "", "c"])
    summary = run(source, Shuffle(), out=tmp_path / "out.txt")
    assert summary == Summary(4, 3, 1, "utf-8", tmp_path / "out.rejects.jsonl")
    assert (tmp_path / "out.txt").read_text() == "a\n\nc\n"
    reject = {"line": 2, "reason": "ValueError: crossed out", "text": "✗ b"}
    assert rejects(tmp_path / "out.rejects.jsonl") == [reject]


def test_rejects_of_an_earlier_run_do_not_stay(tmp_path):
    source = write(tmp_path / "in.txt", ["a"])
    old = write(tmp_path / "out.rejects.jsonl", ["{}"])
    assert run(source, Shuffle(), out=tmp_path / "out.txt").rejects is None
    assert not old.exists()


def test_jsonl_keeps_other_fields_and_their_order(tmp_path):
    lines = [
        '{"id": 1, "主诉": "a", "标签": ["高血压"], "x": 0.1}',
        "",
        '{"主诉": "b", "现病史": "c"}',
        '{"主诉": null}',
        '{"主诉": 5}',
        "[1]",
        '{"主诉": "x"',
        '{"主诉": "\\ud83d"}',
    ]
    source = write(tmp_path / "in.jsonl", lines)
    summary = run(source, upper, out=tmp_path / "out.jsonl", fields=["主诉", "现病史"])
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines() == [
        '{"id": 1, "主诉": "A", "标签": ["高血压"], "x": 0.1}',
        '{"主诉": "B", "现病史": "C"}',
        '{"主诉": null}',
    ]
    assert (summary.read, summary.rejected) == (7, 4)
    found = rejects(tmp_path / "out.rejects.jsonl")
    assert [item["line"] for item in found] == [5, 6, 7, 8]
    assert "not a text" in found[0]["reason"]
    assert "character 11" in found[2]["reason"]


def test_several_outputs_of_several_fields_make_several_records(tmp_path):
    class Copies:
        def __call__(self, text, rng):
            return [Output(f"{text}{copy}") for copy in range(len(text))]

    source = write(tmp_path / "in.jsonl", ['{"a": "x", "b": "yy"}', '{"a": "", "b": ""}'])
    run(source, Copies(), out=tmp_path / "out.jsonl", fields=["a", "b"])
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert records == [{"a": "x0", "b": "yy0"}, {"a": "x", "b": "yy1"}, {"a": "", "b": ""}]


def test_a_work_without_outputs_drops_the_record(tmp_path):
    source = write(tmp_path / "in.jsonl", ['{"text": "a"}'])
    assert run(source, nothing, out=tmp_path / "out.jsonl") == Summary(1, 0, 0)
    assert (tmp_path / "out.jsonl").read_text() == ""


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_tables_keep_other_columns_and_breaks_inside_of_cells(tmp_path, suffix, delimiter):
    rows = [["id", "text", "note"], ["1", 'a "q", b\nc\td', "x\ty"], ["2", "", ""]]
    source = tmp_path / f"in{suffix}"
    with source.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    summary = run(source, upper, out=tmp_path / f"out{suffix}")
    with (tmp_path / f"out{suffix}").open(newline="", encoding="utf-8") as file:
        found = list(csv.reader(file, delimiter=delimiter))
    rows[1][1] = rows[1][1].upper()
    assert found == rows
    assert (summary.read, summary.encoding) == (2, "utf-8-sig")


def test_broken_rows_are_rejected_with_the_line_they_begin_at(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text('id,text\n1,"a\nb"\n2\n3,c,d\n\n4,e\n5,"open\n6,f\n', encoding="utf-8")
    summary = run(source, upper, out=tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == 'id,text\n1,"A\nB"\n4,E\n'
    found = rejects(tmp_path / "out.rejects.jsonl")
    assert [item["line"] for item in found] == [4, 5, 8]
    assert found[2]["text"] == '5,"open\n6,f'
    assert (summary.read, summary.written, summary.rejected) == (5, 2, 3)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "big5", "utf-16"])
def test_encodings_are_told_apart_and_written_as_utf8(tmp_path, encoding):
    lines = ["患者三年前出現頭痛，血壓高", "否認糖尿病，無發熱", "plain"]
    if encoding == "gb18030":
        lines = ["患者三年前出现头痛，血压高", "否认糖尿病，无发热", "plain"]
    source = tmp_path / "in.txt"
    source.write_bytes("\n".join(lines).encode(encoding))
    summary = run(source, same, out=tmp_path / "out.txt")
    assert summary.encoding == encoding
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines() == lines


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16-le"])
def test_a_line_that_cannot_be_decoded_is_rejected_alone(tmp_path, encoding):
    good = "患者上月头痛，无发热\n".encode(encoding)
    bad = {"utf-8": b"a\xe6\xff\n", "gb18030": b"a\xff\n", "utf-16-le": b"a\0\x00\xd8b\0\n\0"}
    source = tmp_path / "in.txt"
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    source.write_bytes(mark + good * 2 + bad[encoding] + good)
    summary = run(source, same, out=tmp_path / "out.txt")
    assert (summary.read, summary.written, summary.rejected) == (4, 3, 1)
    (reject,) = rejects(tmp_path / "out.rejects.jsonl")
    assert reject["line"] == 3
    assert "character 2" in reject["reason"]


def test_gzipped_files_are_read_and_written_the_same_every_time(tmp_path):
    with gzip.open(tmp_path / "in.txt.gz", "wb") as file:
        file.write("甲\n乙\n".encode())
    seen = []
    total: list[int] = []
    for name in ("a", "b"):
        run(
            tmp_path / "in.txt.gz",
            same,
            out=tmp_path / f"{name}.txt.gz",
            started=total.append,
            progress=seen.append,
        )
    assert gzip.decompress((tmp_path / "a.txt.gz").read_bytes()).decode() == "甲\n乙\n"
    assert (tmp_path / "a.txt.gz").read_bytes() == (tmp_path / "b.txt.gz").read_bytes()
    assert sum(seen) == sum(total)


def test_a_cut_off_gzip_leaves_the_old_output(tmp_path):
    packed = gzip.compress(random.Random(0).randbytes(9000).hex().encode())
    (tmp_path / "in.txt.gz").write_bytes(packed[:5000])
    write(tmp_path / "out.txt.gz", ["old"])
    with pytest.raises(DataError, match="cannot be read"):
        run(tmp_path / "in.txt.gz", same, out=tmp_path / "out.txt.gz")
    assert (tmp_path / "out.txt.gz").read_text() == "old\n"
    assert not list(tmp_path.glob("~*"))


def test_what_is_wrong_for_all_records_stops_the_run(tmp_path):
    source = write(tmp_path / "in.txt", ["a"])
    with pytest.raises(MissingDependencyError):
        run(source, needs_a_package, out=tmp_path / "out.txt")
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize(
    ("name", "content", "options", "error", "says"),
    [
        ("in.txt", "a", {"out": "x.csv"}, RecipeError, "must end with .txt"),
        ("in.doc", "a", {}, DataError, ".jsonl"),
        ("in.txt", "a", {"fields": ["x"]}, DataError, "no fields"),
        ("in.txt", "a", {"workers": 0}, RecipeError, "1 or more"),
        ("in.txt", "a", {"rejects": "in.txt"}, RecipeError, "same file"),
        ("in.txt", "a", {"encoding": "klingon"}, DataError, "gb18030"),
        ("in.csv", "id,note\n1,a\n", {}, DataError, "it has id, note"),
        ("in.csv", "id,id\n1,a\n", {}, DataError, "twice"),
        ("in.jsonl", '{"id": 1}\n', {"fields": ["主诉"]}, DataError, "it has id"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    tmp_path, name, content, options, error, says
):
    (tmp_path / name).write_text(content, encoding="utf-8")
    options = {"out": f"out{(tmp_path / name).suffix}"} | options
    for key in ("out", "rejects"):
        if key in options:
            options[key] = tmp_path / options[key]
    with pytest.raises(error, match=says):
        run(tmp_path / name, same, **options)
    assert not options["out"].exists()


def test_a_missing_file_and_a_folder_that_cannot_be_written_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        run(tmp_path / "none.txt", same, out=tmp_path / "out.txt")
    source = write(tmp_path / "in.txt", ["a"])
    with pytest.raises(StorageError, match=r"out\.txt"):
        run(source, same, out=source / "out.txt")


def test_a_work_that_cannot_travel_is_refused_for_many_processes(tmp_path):
    source = write(tmp_path / "in.txt", ["a"])
    with pytest.raises(RecipeError, match="workers=1"):
        run(source, lambda text, rng: [Output(text)], out=tmp_path / "out.txt", workers=2)


def test_ray_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    source = write(tmp_path / "in.txt", ["a"])
    with pytest.raises(MissingDependencyError, match=r"vesalius\[cluster\]"):
        run(source, same, out=tmp_path / "out.txt", cluster=True)


def test_ray_gets_the_work_once_and_results_keep_their_order(tmp_path, monkeypatch):
    """A stand-in with Ray's few functions that we call: results come late, and in any order."""
    stored: list = []
    ray = types.ModuleType("ray")
    ray.is_initialized = lambda: True
    ray.put = lambda value: stored.append(value) or value
    ray.cluster_resources = lambda: {"CPU": 2.0}
    ray.remote = lambda task: types.SimpleNamespace(remote=lambda *given: lambda: task(*given))
    ray.get = lambda promise: promise()
    monkeypatch.setitem(sys.modules, "ray", ray)
    source = write(tmp_path / "in.txt", map(str, range(9000)))
    run(source, same, out=tmp_path / "out.txt", cluster=True)
    assert (tmp_path / "out.txt").read_bytes() == source.read_bytes()
    assert len(stored) == 1


def test_a_text_with_a_line_break_does_not_fit_into_a_txt(tmp_path):
    source = write(tmp_path / "in.txt", ["a"])
    summary = run(source, lambda text, rng: [Output("a\nb")], out=tmp_path / "out.txt")
    assert summary.rejected == 1


LINES = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r")))


@settings(max_examples=60, deadline=None)
@given(LINES)
def test_doing_nothing_gives_the_file_back(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("stream")
    source = folder / "in.txt"
    source.write_bytes("".join(f"{line}\n" for line in lines).encode())
    run(source, same, out=folder / "out.txt", encoding="utf-8")
    assert (folder / "out.txt").read_bytes() == source.read_bytes()
