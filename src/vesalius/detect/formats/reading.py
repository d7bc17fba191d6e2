"""Recognise the format of a source and read it."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType

from vesalius.detect.formats.drafts import Findings, Policy, Request, finish
from vesalius.detect.scene import Scene, class_names
from vesalius.errors import DataError, RecipeError
from vesalius.images.layout import listed

FORMATS: Mapping[str, str] = {
    "coco": "COCO json: annotations.json, annotations/instances_*.json, train/_annotations.json",
    "labelme": "LabelMe: one .json per image, beside it or in annotations/",
    "voc": "Pascal VOC: Annotations/*.xml, JPEGImages/, ImageSets/Main/*.txt; or a folder of xml",
    "yolo": "YOLO: images/ and labels/*.txt with data.yaml or classes.txt",
    "csv": "CSV or TSV with the columns image, x1, y1, x2, y2, label",
    "masks": "images/ and masks/ (or labels/) whose values number the objects; one class, or one "
    "folder per class inside masks/; pictures or volumes",
}
"""Name -> how it is recognised, in the order in which they are tried."""
_MODULES = {"csv": "tables", "masks": "instances"}


def module_of(name: str) -> ModuleType:
    """Return the module that reads and writes a format.

    Raises:
        RecipeError: there is no such format.
    """
    if name not in FORMATS:
        raise RecipeError(f"there is no format '{name}'. Known are: {', '.join(FORMATS)}.")
    return import_module(f"vesalius.detect.formats.{_MODULES.get(name, name)}")


@dataclass(frozen=True)
class DataSet:
    """A source that was read.

    Attributes:
        scenes: sorted by id.
        classes: all declared names by number, also those without objects; where the format
            declares none those that occur, sorted.
        format: a key of `FORMATS`.
        repairs: what was clipped or dropped -> how often.
    """

    scenes: list[Scene]
    classes: tuple[str, ...]
    format: str
    repairs: Mapping[str, int] = field(default_factory=dict)


def format_of(source: str | Path) -> str:
    """Return the name of the format that a file or folder is in.

    Raises:
        DataError: it does not exist, or is in none; the message lists what is understood.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source} does not exist. Check the path.")
    for name in FORMATS:
        module = module_of(name)
        known = getattr(module, "is_dataset", None) or module.annotation_files
        if known(source):
            return name
    seen = sorted(p.name + "/" * p.is_dir() for p in source.iterdir()) if source.is_dir() else []
    held = f"; it has: {', '.join(seen[:8]) or 'nothing'}" if source.is_dir() else ""
    raise DataError(
        f"{source} holds no boxes or masks in a format that is understood{held}. Understood are:",
        list(FORMATS.values()),
    )


def read(
    source: str | Path,
    *,
    format: str | None = None,  # noqa: A002 - the word users know
    images: str | Path | None = None,
    boxes: Policy = "refuse",
    classes: Sequence[str] | None = None,
    check_sizes: bool = False,
) -> DataSet:
    """Read all images of a source with their objects.

    Args:
        source: a file or a folder; see `FORMATS`.
        format: its name, where it shall not be recognised.
        images: folder of the images, where they do not lie beside the annotations.
        boxes: "refuse" lists every box that is not finite, has no extent or reaches more than a
            pixel beyond its image; "repair" clips them, drops what is left empty, and counts both
            in `repairs`. Up to a pixel is clipped (and counted) in any case.
        classes: names that may occur, in the order of their numbers; None for any.
        check_sizes: compare the sizes that COCO files state with the images' headers. The other
            formats always do.

    Returns:
        scenes, classes, format and repairs.

    Raises:
        DataError: anything is wrong; `problems` lists everything with file, place and remedy.
        RecipeError: no such format or policy.
    """
    source = Path(source)
    if boxes not in ("refuse", "repair"):
        raise RecipeError(f"boxes is '{boxes}'; it is 'refuse' or 'repair'.")
    name = format or format_of(source)
    if not source.exists():
        raise DataError(f"{source} does not exist. Check the path.")
    request = Request(
        source,
        images=None if images is None else Path(images),
        boxes=boxes,
        classes=None if classes is None else tuple(classes),
        check_sizes=check_sizes,
    )
    findings = Findings()
    drafts, declared = module_of(name).read(request, findings)
    scenes = finish(drafts, findings, boxes=boxes, classes=request.classes)
    if findings.problems:
        count = len(findings.problems)
        raise listed(f"{source} ({name}) has {count} problem(s).", findings.problems)
    if not scenes:
        raise DataError(f"{source} has no images in the format {name}: {FORMATS[name]}.")
    scenes.sort(key=lambda scene: scene.id)
    names = request.classes or tuple(declared or ()) or class_names(scenes)
    return DataSet(scenes, names, name, Counter(findings.repairs))


def find_scenes(source: str | Path, *, boxes: Policy = "refuse", **options) -> list[Scene]:
    """Return the images of a source with their objects, sorted by id.

    Args and errors are those of `read`. With boxes="repair" a warning says how many boxes were
    clipped and dropped.
    """
    found = read(source, boxes=boxes, **options)
    if boxes == "repair" and found.repairs:
        counts = ", ".join(f"{count} {what}" for what, count in found.repairs.items())
        warnings.warn(f"{source}: {counts}", stacklevel=2)
    return found.scenes
