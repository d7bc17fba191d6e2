"""The list of named data sets, and the one way to turn a name into a folder of plain files.

A finished folder carries `vesalius-dataset.json` (name, version, licence, citation, how the parts
were split). Files are written into a neighbouring folder that is renamed at the end, so an
interrupt leaves either the whole set or nothing under the name that was asked for.
"""

import importlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vesalius import files
from vesalius.errors import DataError, MissingDependencyError
from vesalius.language import say

MARKER = "vesalius-dataset.json"


@dataclass(frozen=True)
class NamedDataset:
    """One entry of the catalogue.

    Attributes:
        name: what `open` takes.
        version: of the written files; a folder of another version is not reused.
        department: the department that reads the written folder.
        english, chinese: description, limits included.
        licence: of the package and of the data inside it.
        citation: references, one string each.
        package: importable name of the package that carries the files.
        requirement: the package as a requirement for pip.
        install: the command that installs it.
        size: what is written, in words.
        builder: module with `build(folder) -> dict`, which writes the files.
    """

    name: str
    version: int
    department: str
    english: str
    chinese: str
    licence: str
    citation: tuple[str, ...]
    package: str
    requirement: str
    install: str
    size: str
    builder: str

    @property
    def description(self) -> str:
        """The description in the user's language."""
        return say(self.english, self.chinese)

    @property
    def available(self) -> bool:
        """Whether the package that carries the files is installed (it is not imported)."""
        return find_spec(self.package) is not None


@cache
def catalogue() -> tuple[NamedDataset, ...]:
    """Return all named data sets, sorted by name."""
    import yaml

    text = Path(__file__).with_name("catalogue.yaml").read_text(encoding="utf-8")
    entries = [_entry(row) for row in yaml.safe_load(text)]
    return tuple(sorted(entries, key=lambda entry: entry.name))


def find(name: str) -> NamedDataset:
    """Return the entry called `name`.

    Raises:
        DataError: there is none; the message has the nearest name and all names.
    """
    entries = {entry.name: entry for entry in catalogue()}
    if name in entries:
        return entries[name]
    near = get_close_matches(name, entries, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise DataError(f"There is no data set '{name}'.{hint} Known: {', '.join(entries)}.")


def open_dataset(name: str, folder: str | Path) -> Path:
    """Write the data set `name` into `folder` as plain files and return the folder.

    Does nothing when `folder` already holds this set in this version.

    Raises:
        DataError: unknown name, or `folder` holds something else.
        MissingDependencyError: the package that carries the data is not installed.
        StorageError: the files cannot be written; nothing is left under `folder`.
    """
    entry, folder = find(name), Path(folder)
    if _is_finished(folder, entry):
        return folder
    carrier_folder(entry)
    partial = folder.parent / f"{folder.name}.{os.getpid()}.partial"
    try:
        with files.storage_errors(folder):
            _build(entry, partial)
            _publish(partial, folder, entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def carrier_folder(entry: NamedDataset) -> Path:
    """Return the folder of the installed package that carries the files, without importing it.

    Raises:
        MissingDependencyError: it is not installed.
    """
    spec = find_spec(entry.package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            entry.requirement, f"The data set '{entry.name}'", entry.install
        )
    return Path(next(iter(spec.submodule_search_locations)))


def carried_file(name: str, relative: str) -> Path:
    """Return a file inside the package that carries the data set `name`.

    Raises:
        DataError: the installed version of the package does not have it.
    """
    entry = find(name)
    path = carrier_folder(entry) / relative
    if not path.is_file():
        raise DataError(
            f"The installed {entry.package} {_version_of(entry.package)} has no {relative}, from "
            f"which '{name}' is made. Install a version that has it: {entry.install}"
        )
    return path


def _entry(row: dict[str, Any]) -> NamedDataset:
    words = {key: value.strip() for key, value in row.items() if isinstance(value, str)}
    citation = tuple(reference.strip() for reference in row["citation"])
    # Chinese wraps without spaces: YAML folds a line break into one, which is taken out again
    return NamedDataset(
        **{**row, **words, "citation": citation, "chinese": _unfold(words["chinese"])}
    )


def _unfold(text: str) -> str:
    for mark in "，。：；、":
        text = text.replace(f"{mark} ", mark)
    return text


def _is_finished(folder: Path, entry: NamedDataset) -> bool:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    found = _read_marker(folder)
    if found.get("name") == entry.name and found.get("version") == entry.version:
        return True
    holds = (
        f"'{found['name']}' version {found.get('version')}" if "name" in found else "other files"
    )
    raise DataError(
        f"{folder} holds {holds}, not '{entry.name}' version {entry.version}. "
        "Choose another folder, or remove this one first."
    )


def _read_marker(folder: Path) -> Mapping[str, Any]:
    path = folder / MARKER
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{path} is no JSON: {error}. Remove {folder} and open it again."
        ) from error
    return found if isinstance(found, dict) else {}


def _build(entry: NamedDataset, partial: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    facts = importlib.import_module(entry.builder).build(partial)
    marker = {
        "name": entry.name,
        "version": entry.version,
        "description": entry.english,
        "licence": entry.licence,
        "citation": list(entry.citation),
        "made_from": f"{entry.package} {_version_of(entry.package)}",
        **facts,
    }
    text = json.dumps(marker, indent=2, ensure_ascii=False)
    (partial / MARKER).write_text(text + "\n", encoding="utf-8")


def _publish(partial: Path, folder: Path, entry: NamedDataset) -> None:
    if folder.exists():
        # `rename` onto an empty folder is an error on Windows
        if _is_finished(folder, entry):
            return
        folder.rmdir()
    try:
        partial.rename(folder)
    except OSError:
        # another process may have finished the same set meanwhile: theirs is as good as ours
        if not _is_finished(folder, entry):
            raise


def _version_of(package: str) -> str:
    try:
        return package_version(package)
    except PackageNotFoundError:
        return "(version unknown)"
