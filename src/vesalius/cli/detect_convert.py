"""`vesalius detect convert`: boxes and masks from one format into another."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from vesalius.language import say

if TYPE_CHECKING:
    from vesalius.detect.formats.writing import Conversion

Format = Literal["coco", "voc", "yolo", "labelme", "csv", "masks"]


def convert(
    source: Path,
    /,
    *,
    to: Format,
    out: Path,
    source_format: Annotated[Format | None, Parameter(name="--from")] = None,
    images: Literal["none", "copy", "link"] = "none",
    image_folder: Path | None = None,
    boxes: Literal["refuse", "repair"] = "refuse",
    classes: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Convert boxes and masks into another format, and say what it cannot express.

    Parameters
    ----------
    source
        COCO json, Pascal VOC, YOLO, LabelMe, CSV, or images with numbered masks: file or folder.
    to
        Format to write.
    out
        Folder to write; it must not exist yet.
    source_format
        Format of the source, where it is not recognised.
    images
        copy or link the images into the folder, or leave them where they are (none).
    image_folder
        Where the images are, if not beside the annotations.
    boxes
        refuse: list wrong boxes and stop; repair: clip them, drop what is left empty, and count.
    classes
        Class names that may occur, in the order of their numbers, with commas between.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.detect.formats import convert as work

    done = work(
        source,
        out,
        format=to,
        from_format=source_format,
        images=images,
        image_folder=image_folder,
        boxes=boxes,
        classes=None if classes is None else _listed(classes),
    )
    if as_json:
        from vesalius.cli.app import emit

        emit(_document(done))
    else:
        _show(done)
    return 0


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.replace("，", ",").split(",") if name.strip()]


def _document(done: "Conversion") -> dict[str, Any]:
    return {
        "source": str(done.source),
        "from": done.read.format,
        "out": str(done.written.folder),
        "to": done.written.format,
        "images": done.written.images,
        "objects": done.written.objects,
        "classes": done.counts,
        "splits": done.splits,
        "repairs": done.read.repairs,
        "losses": done.written.losses,
    }


def _show(done: "Conversion") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)
    table = Table("", say("count", "数量"))
    for name, count in _lines(done).items():
        table.add_row(name, str(count))
    console.print(table)
    _list(console, say("mended while reading:", "读取时修正："), done.read.repairs)
    target = done.written.format
    title = say(f"{target} cannot express:", f"{target} 格式无法表达：")
    _list(console, title, done.written.losses)
    console.print(
        say(
            f"{done.source} ({done.read.format}) written to {done.written.folder} ({target})",
            f"{done.source}（{done.read.format}）已写入 {done.written.folder}（{target}）",
        ),
        soft_wrap=True,
    )


def _lines(done: "Conversion") -> dict[str, int]:
    images, objects = say("images", "图像"), say("objects", "目标")
    return {
        images: done.written.images,
        **{f"  {name}": count for name, count in sorted(done.splits.items())},
        objects: done.written.objects,
        **{f"  {name}": count for name, count in done.counts.items()},
    }


def _list(console: Any, title: str, counts: Mapping[str, int]) -> None:
    if counts:
        console.print(title)
        for what, count in counts.items():
            console.print(f"  {count} {what}", soft_wrap=True)
