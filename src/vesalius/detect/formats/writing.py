"""Write scenes in a format, and convert sources; nothing half-written is left."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vesalius import files
from vesalius.detect.formats import reading
from vesalius.detect.formats.drafts import Policy
from vesalius.detect.formats.target import Target
from vesalius.detect.scene import Scene, class_names
from vesalius.errors import DataError, RecipeError
from vesalius.images.image import suffix

Transfer = Literal["none", "copy", "link"]
_TRANSFERS = ("none", "copy", "link")
_WITHOUT_VOLUMES = ("coco", "voc", "yolo", "labelme")
_DECLARING = ("coco", "yolo")
"""Formats that list classes without objects."""
_REFERRING = ("coco", "csv", "labelme")
"""Formats whose annotations can point to an image anywhere."""
_TINY = 1e-6


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        folder: holds all files.
        format: of the files.
        images, objects: how many.
        classes: names by number.
        losses: what the format cannot express -> how many objects or images it concerned.
    """

    folder: Path
    format: str
    images: int
    objects: int
    classes: tuple[str, ...]
    losses: Mapping[str, int]


@dataclass(frozen=True)
class Conversion:
    """What was read and what was written; `counts` is class -> objects, `splits` -> images."""

    source: Path
    read: reading.DataSet
    written: Written
    counts: Mapping[str, int]
    splits: Mapping[str, int]


def write(
    scenes: Sequence[Scene],
    folder: str | Path,
    *,
    format: str,  # noqa: A002 - the word users know
    classes: Sequence[str] | None = None,
    images: Transfer = "none",
) -> Written:
    """Write scenes as a new folder in a format.

    Args:
        scenes: ids must differ.
        folder: must not exist, or be empty.
        format: "coco", "voc", "yolo", "labelme", "csv" or "masks".
        classes: all names in the order of their numbers; default: those that occur, sorted.
        images: "copy" or "link" (symbolic links) the images into the folder under their ids;
            "none": COCO, LabelMe and CSV point to where they are, the others need `images=` when
            they are read again.

    Returns:
        counts, and what the format could not express.

    Raises:
        DataError: the format cannot hold these scenes at all (volumes in YOLO, boxes as masks).
        RecipeError: an unknown format, classes that do not cover the labels, a folder in use.
        StorageError: the disk is full or the place may not be written. Nothing is left behind.
    """
    folder = Path(folder)
    module = reading.module_of(format)
    names = tuple(classes) if classes is not None else class_names(scenes)
    _check(scenes, format, names, images)
    with _new_folder(folder) as place:
        target = _target(scenes, place, folder, format, names, images)
        _count_general_losses(scenes, format, target)
        module.write(scenes, target)
        for scene in scenes if images != "none" else ():
            inner = module.image_place(scene, target.name(scene))
            _transfer(scene, place / inner, folder / inner, images)
    objects = sum(scene.count for scene in scenes)
    return Written(folder, format, len(scenes), objects, names, dict(target.losses))


def convert(
    source: str | Path,
    folder: str | Path,
    *,
    format: str,  # noqa: A002
    from_format: str | None = None,
    images: Transfer = "none",
    image_folder: str | Path | None = None,
    boxes: Policy = "refuse",
    classes: Sequence[str] | None = None,
) -> Conversion:
    """Read a source and write it in another format; see `reading.read` and `write`.

    Args:
        source: file or folder.
        folder: to write; must not exist, or be empty.
        format: to write.
        from_format: of the source, where it shall not be recognised.
        images: what happens to the images.
        image_folder: where they are, if not beside the annotations.
        boxes: what happens to wrong boxes.
        classes: names that may occur, in the order of their numbers.
    """
    reading.module_of(format)
    _check_free(Path(folder))
    found = reading.read(
        source, format=from_format, images=image_folder, boxes=boxes, classes=classes
    )
    written = write(found.scenes, folder, format=format, classes=found.classes, images=images)
    counts = Counter(name for scene in found.scenes for name in scene.labels)
    splits = Counter(scene.split for scene in found.scenes if scene.split)
    by_class = {name: counts.get(name, 0) for name in found.classes}
    return Conversion(Path(source), found, written, by_class, dict(splits))


def _check(scenes: Sequence[Scene], name: str, classes: Sequence[str], images: str) -> None:
    if images not in _TRANSFERS:
        raise RecipeError(f"images is '{images}'; it is one of {', '.join(_TRANSFERS)}.")
    beyond = sorted(set(class_names(scenes)) - set(classes))
    if beyond or len(set(classes)) < len(classes):
        raise RecipeError(
            f"classes are {list(classes)}; {beyond or 'a name'} is missing or occurs twice."
        )
    ids = Counter(scene.id for scene in scenes)
    repeated = [key for key, count in ids.items() if count > 1]
    if repeated:
        raise DataError(f"the ids {repeated[:5]} occur twice. Give every image an id of its own.")
    volumes = [scene.id for scene in scenes if scene.dims == 3]
    if volumes and (name in _WITHOUT_VOLUMES or len(volumes) < len(scenes)):
        raise DataError(
            f"{len(volumes)} images are volumes ({', '.join(volumes[:3])}); {name} holds "
            "pictures. Write volumes by themselves, as csv or masks."
        )
    unsafe = [key for key in classes if name == "masks" and set(key) & set('/\\:*?"<>|')]
    if unsafe:
        raise DataError(f"the classes {unsafe} cannot name folders. Rename them.")
    lost = [scene.id for scene in scenes if scene.path is None or not scene.path.exists()]
    if lost and images != "none":
        raise DataError(f"{len(lost)} images do not exist ({lost[:3]}); use images='none'.")


def _target(
    scenes: Sequence[Scene],
    place: Path,
    folder: Path,
    name: str,
    classes: tuple[str, ...],
    images: str,
) -> Target:
    """Return where to write; images are named by id, or as they are if they stay where they are."""
    safe = "".maketrans(dict.fromkeys('/\\:*?"<>|', "_"))
    names = {s.id: s.id.translate(safe) + (suffix(s.path) if s.path else ".png") for s in scenes}
    own = {s.id: s.path.name if s.path else names[s.id] for s in scenes}
    if images == "none" and len({Path(key).stem for key in own.values()}) == len(own):
        names = own
    references = dict(names)
    if name in _REFERRING and images == "none":
        base = folder.resolve()
        references = {
            s.id: Path(os.path.relpath(s.path.resolve(), base)).as_posix()
            if s.path
            else names[s.id]
            for s in scenes
        }
    elif name == "csv":
        references = {key: f"images/{value}" for key, value in names.items()}
    return Target(place, classes, names, references)


def _count_general_losses(scenes: Sequence[Scene], name: str, target: Target) -> None:
    if name not in _DECLARING:
        target.lose("classes without objects", len(set(target.classes) - set(class_names(scenes))))
    if name == "coco":
        return
    for scene in scenes:
        if scene.masks is None:
            sides = scene.boxes[:, scene.dims :] - scene.boxes[:, : scene.dims]
            apart = np.abs(scene.areas - np.prod(sides, axis=1)) > _TINY * scene.areas
            target.lose("annotated areas (taken from the boxes)", apart.sum())
        target.lose("image numbers", "image_id" in scene.extra and name != "coco")


def _transfer(scene: Scene, place: Path, final: Path, how: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if how == "link":
        place.symlink_to(os.path.relpath(scene.path.resolve(), final.resolve().parent))
    elif scene.path.is_dir():
        shutil.copytree(scene.path, place)
    else:
        shutil.copyfile(scene.path, place)


def _check_free(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise RecipeError(f"{folder} is in use. Choose a new folder, or remove it first.")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder`; move it into place if the body succeeds."""
    _check_free(folder)
    temporary = folder.with_name(f"~{os.getpid()}-{folder.name}")
    with files.storage_errors(folder):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if folder.is_dir():
                folder.rmdir()
            os.replace(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        files.flush_folder(folder.parent)
