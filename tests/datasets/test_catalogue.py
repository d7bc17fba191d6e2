import importlib
import json
import os

import pytest

from vesalius import datasets
from vesalius.errors import DataError, MissingDependencyError, StorageError

# the package's attribute of this name is the function
room = importlib.import_module("vesalius.datasets.catalogue")


@pytest.fixture
def carried(monkeypatch):
    """Make the package of every set look installed, and its builder a small one."""
    built = []

    def build(folder):
        built.append(folder)
        (folder / "images").mkdir()
        (folder / "images" / "a.png").write_bytes(b"x")
        return {"labels": {"background": 0}}

    monkeypatch.setattr(room, "carrier_folder", lambda entry: None)
    monkeypatch.setattr("vesalius.datasets.brain_tissue.build", build)
    return built


def test_every_set_says_what_it_is_in_both_languages(monkeypatch):
    names = [entry.name for entry in datasets.catalogue()]
    assert names == sorted(names)
    for entry in datasets.catalogue():
        assert entry.licence
        assert all(entry.citation)
        assert entry.install.startswith("pip install")
        monkeypatch.setenv("VESALIUS_LANG", "zh")
        assert entry.description == entry.chinese
        assert not {" ，", "， "} & set(entry.chinese)
        monkeypatch.setenv("VESALIUS_LANG", "en")
        assert entry.description == entry.english


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(DataError, match="Did you mean 'brain-tissue'"):
        datasets.find("brain-tisue")


def test_a_set_is_built_once_and_then_reused(tmp_path, carried):
    folder = tmp_path / "deep" / "brain"
    assert datasets.open("brain-tissue", folder) == folder
    assert datasets.open("brain-tissue", folder) == folder
    assert len(carried) == 1
    marker = json.loads((folder / room.MARKER).read_text(encoding="utf-8"))
    assert marker["name"] == "brain-tissue"
    assert marker["labels"] == {"background": 0}
    assert [path.name for path in folder.parent.iterdir()] == ["brain"]


def test_an_empty_folder_is_filled(tmp_path, carried):
    (tmp_path / "brain").mkdir()
    datasets.open("brain-tissue", tmp_path / "brain")
    assert (tmp_path / "brain" / "images" / "a.png").exists()


def test_an_interrupt_leaves_nothing_half_made(tmp_path, monkeypatch, carried):
    def interrupted(folder):
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    monkeypatch.setattr("vesalius.datasets.brain_tissue.build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        datasets.open("brain-tissue", tmp_path / "brain")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_do_not_matter(tmp_path, carried):
    partial = tmp_path / f"brain.{os.getpid()}.partial"
    partial.mkdir()
    (partial / "half").write_text("x")
    folder = datasets.open("brain-tissue", tmp_path / "brain")
    assert not (folder / "half").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path, carried):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match="holds other files"):
        datasets.open("brain-tissue", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ({"name": "brain-tissue", "version": 0}, "version 0"),
        ({"name": "other", "version": 1}, "'other'"),
    ],
)
def test_another_set_or_version_is_not_overwritten(tmp_path, carried, marker, said):
    (tmp_path / room.MARKER).write_text(json.dumps(marker))
    with pytest.raises(DataError, match=said):
        datasets.open("brain-tissue", tmp_path)


def test_a_set_that_another_process_finished_first_is_taken(tmp_path, monkeypatch, carried):
    folder = tmp_path / "brain"

    def overtaken(partial):
        folder.mkdir()
        marker = {"name": "brain-tissue", "version": room.find("brain-tissue").version}
        (folder / room.MARKER).write_text(json.dumps(marker))
        return {}

    monkeypatch.setattr("vesalius.datasets.brain_tissue.build", overtaken)
    assert datasets.open("brain-tissue", folder) == folder
    assert [path.name for path in tmp_path.iterdir()] == ["brain"]


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path, carried):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        datasets.open("brain-tissue", tmp_path / "file" / "brain")


def test_a_missing_package_is_named_with_its_install_command(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "vesalius\[datasets\]"'):
        datasets.open("nuclei-stardist", tmp_path / "nuclei")
    assert list(tmp_path.iterdir()) == []


def test_a_package_without_the_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "carrier_folder", lambda entry: tmp_path)
    with pytest.raises(DataError, match=r"has no datasets/x\.nii"):
        room.carried_file("brain-tissue", "datasets/x.nii")
