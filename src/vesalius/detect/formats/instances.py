"""Label maps whose values number the objects, pictures and volumes (PNG, TIFF, NIfTI, NRRD).

The layouts are those of `images.layout` (images/ beside masks/ or labels/, nnU-Net folders, tables,
`_mask` files), all objects being of one class; for several classes the folder of masks has one
folder per class (labels/RBC/a.png, labels/WBC/a.png), where an image without a file in a folder has
no object of that class. Boxes are those around the objects. A number stands for one object, however
many pieces it has; 0 is background.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vesalius.detect.formats.drafts import Draft, Findings, Request
from vesalius.detect.formats.pictures import Folder, image_size
from vesalius.detect.formats.target import Target
from vesalius.detect.scene import Scene
from vesalius.errors import DataError
from vesalius.images import layout
from vesalius.images.image import Image, stem
from vesalius.images.manifest import SPLITS, is_table
from vesalius.images.read import can_read, read_image, read_mask
from vesalius.images.write import mask_suffix_for, write_mask

if TYPE_CHECKING:
    from vesalius.detect.rle import Runs

IMAGES, MASKS = "images", "labels"
ONLY_CLASS = "object"
"""Name of the class where nothing names it."""


def is_dataset(source: Path) -> bool:
    """Return whether there are images with masks, by the names of files and folders."""
    if source.is_file():
        return is_table(source) or source.name == "dataset.json"
    if _class_folders(source):
        return True
    try:
        return any(case.target is not None for case in layout.find_cases(source))
    except DataError as error:
        # Masks that do not match are masks all the same: `read` lists what is wrong with them.
        told = set(error.problems) - set(layout.LAYOUTS)
        return any("mask" in problem for problem in told)


def _class_folders(source: Path) -> list[tuple[Path, list[Path], str | None]]:
    """Return (folder of images, folders of masks by class, split) of a layout by class."""
    parts = [p for p in sorted(source.iterdir()) if p.is_dir() and p.name.lower() in SPLITS]
    found = []
    for root in [source, *parts]:
        split = SPLITS.get(root.name.lower()) if root is not source else None
        inner = {p.name.lower(): p for p in root.iterdir() if p.is_dir()}
        images = next((inner[n] for n in layout.IMAGE_FOLDERS if n in inner), None)
        masks = _mask_folder(root)
        if images is not None and masks != root and masks != images and _classes_in(masks):
            found.append((images, _classes_in(masks), split))
    return found


def _mask_folder(root: Path) -> Path:
    """Return the folder of masks in `root`, or `root` where it has none."""
    inner = {p.name.lower(): p for p in root.iterdir() if p.is_dir()}
    return next((inner[name] for name in layout.MASK_FOLDERS if name in inner), root)


def _classes_in(masks: Path) -> list[Path]:
    """Return the folders of a folder of masks if each holds the masks of one class."""
    found = [p for p in sorted(masks.iterdir()) if p.is_dir() and p.name.lower() not in SPLITS]
    return found if all(any(can_read(p) for p in folder.iterdir()) for folder in found) else []


def read(request: Request, findings: Findings) -> tuple[list[Draft], list[str]]:
    """Return drafts and the class names: the folders', else `classes` if it is one, "object"."""
    by_class = _class_folders(request.source) if request.source.is_dir() else []
    masks = None if request.images is None else _mask_folder(request.source)
    if masks is not None:
        by_class = [(request.images, _classes_in(masks), None)] if _classes_in(masks) else []
    if by_class:
        names = sorted({folder.name for _, folders, _ in by_class for folder in folders})
        drafts = [d for images, folders, split in by_class
                  for d in _read_folders(images, folders, split, findings)]  # fmt: skip
        return drafts, names
    names = list(request.classes or (ONLY_CLASS,))
    if len(names) > 1:
        findings.add(
            request.source,
            "",
            f"numbered masks are of one class, {len(names)} are given. Make one folder of masks "
            "per class, named after it.",
        )
    if masks is not None:
        return _read_folders(request.images, [masks], None, findings, name=names[0]), names[:1]
    return _read_cases(request, names[0], findings), names[:1]


def _read_cases(request: Request, name: str, findings: Findings) -> list[Draft]:
    try:
        cases = layout.find_cases(request.source)
    except DataError as error:
        unknown = error.problems == list(layout.LAYOUTS)
        findings.problems += [str(error)] if unknown or not error.problems else error.problems
        return []
    drafts = []
    for case in cases:
        if len(case.input) > 1:
            findings.add(case.input[0], "", "has channels in several files. Join them in one.")
            continue
        if case.target is None:
            findings.add(case.input[0], "", "has no mask. Add one, or remove the image.")
            continue
        extra = {"split": case.extra["split"]} if case.extra.get("split") else {}
        draft = _draft(case.id, case.input[0], extra, findings)
        if draft is not None:
            draft.group = case.group
            _add_objects(draft, case.target, name, findings)
            drafts.append(draft)
    return drafts


def _read_folders(
    images: Path,
    folders: Sequence[Path],
    split: str | None,
    findings: Findings,
    *,
    name: str | None = None,
) -> list[Draft]:
    """Match images with the masks of folders by name; the folders name the classes."""
    drafts: dict[str, Draft] = {}
    pictures = Folder(images)
    for path in pictures.paths:
        extra = {"split": split} if split else {}
        draft = _draft(stem(path), path, extra, findings)
        if draft is not None:
            drafts[stem(path)] = draft
    for folder in folders:
        for mask in Folder(folder).paths:
            if stem(mask) in drafts:
                _add_objects(drafts[stem(mask)], mask, name or folder.name, findings)
            elif pictures.find(mask.name) is None:
                findings.add(mask, "", f"has no image in {images}. Remove it or add it.")
    return list(drafts.values())


def _draft(name: str, path: Path, extra: dict, findings: Findings) -> Draft | None:
    try:
        return Draft(name, path, image_size(path), path, extra=extra)
    except DataError as error:
        findings.problems.append(str(error))
        return None


def _add_objects(draft: Draft, path: Path, name: str, findings: Findings) -> None:
    from vesalius.detect import rle

    draft.file = path
    try:
        labels = read_mask(path).array
    except DataError as error:
        findings.problems.append(str(error))
        return
    if labels.shape != draft.size:
        findings.add(
            path,
            "",
            f"has the size {labels.shape}, its image has {draft.size}. Resample the mask, or "
            "remove both.",
        )
        return
    found = list(numbered_runs(labels))
    if len(found) == 1 and found[0][0] == 255 and _pieces(labels) > 1:
        findings.add(
            path,
            "",
            "marks the foreground with 255 in several pieces instead of numbering the objects. "
            "Number them, for example with scipy.ndimage.label.",
        )
        return
    boxes = rle.to_box([runs for _, runs in found]) if found else np.zeros((0, 2 * labels.ndim))
    for (value, runs), box in zip(found, boxes.tolist(), strict=True):
        draft.add(name, box, f"object {value}", outline=runs)


def _pieces(labels: NDArray) -> int:
    from scipy.ndimage import label

    return label(labels, np.ones((3,) * labels.ndim))[1]


def numbered_runs(labels: NDArray) -> "Iterator[tuple[int, Runs]]":
    """Yield (value, run lengths) of every value of a label map but 0, in one pass over it.

    Args:
        labels: (h, w) or (d, h, w) integers.
    """
    from vesalius.detect import rle

    flat = labels.ravel(order="F")
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends = np.concatenate([starts[1:], [flat.size]])
    values = flat[starts]
    filled = np.flatnonzero(values)
    order = filled[np.argsort(values[filled], kind="stable")]
    if not order.size:
        return
    objects, first = np.unique(values[order], return_index=True)
    for value, places in zip(objects.tolist(), np.split(order, first[1:]), strict=True):
        bounds = np.stack([starts[places], ends[places]], axis=1).ravel()
        last = [] if bounds[-1] == flat.size else [flat.size]
        counts = np.diff(np.concatenate([[0], bounds, last]).astype(np.int64))
        yield int(value), rle.Runs(labels.shape, counts.astype(np.uint32))


def image_place(scene: Scene, name: str) -> str:
    """Return where the image of a scene lies beside its mask."""
    return f"{IMAGES}/{name}"


def write(scenes: Sequence[Scene], target: Target) -> None:
    """Write `labels/*`, 16-bit at most; for several classes one folder each."""
    bare = [scene.id for scene in scenes if scene.count and scene.masks is None]
    if bare:
        raise DataError(
            f"{len(bare)} images have boxes without masks ({', '.join(bare[:5])}); a label map "
            "needs masks. Choose another format, such as csv or coco."
        )
    several = len(target.classes) > 1
    for scene in scenes:
        for name in target.classes if several else (None,):
            chosen = [k for k in range(scene.count) if name in (None, scene.labels[k])]
            if chosen or not several:
                place = target.folder / MASKS / (name or "")
                _write_map(scene, chosen, place, target)
        for what in ("crowd", "difficult", "truncated"):
            target.lose(f"{what} flags", getattr(scene, what).sum())
        target.lose("scores", 0 if scene.scores is None else scene.count)
        target.lose("splits", scene.split is not None)
        target.lose("groups", scene.group is not None)
    target.lose("the class's name (give it when reading)", len(target.classes) == 1)


def _write_map(scene: Scene, chosen: Sequence[int], folder: Path, target: Target) -> None:
    from vesalius.detect import rle

    if len(chosen) > np.iinfo(np.uint16).max:
        raise DataError(f"{scene.id} has {len(chosen)} objects; a label map holds 65535.")
    labels = np.zeros(scene.size, np.uint16)
    covered = 0
    masks = {k: rle.decode(scene.masks[k]) for k in chosen}
    # The largest first, so that small objects in front of large ones stay visible.
    for k in sorted(chosen, key=lambda k: -rle.area(scene.masks[k])):
        covered += len(np.setdiff1d(np.unique(labels[masks[k]]), [0]))
        labels[masks[k]] = chosen.index(k) + 1
    target.lose("overlaps (the smaller object is in front)", covered)
    hidden = len(chosen) - len(np.setdiff1d(np.unique(labels), [0]))
    target.lose("objects hidden by others", hidden)
    like = _like(scene)
    write_mask(folder / f"{target.stem(scene)}{mask_suffix_for(like)}", labels, like=like)


def _like(scene: Scene) -> Image:
    """Return what gives a mask its geometry: volumes lie somewhere, pictures do not."""
    if len(scene.size) == 2:
        blank = np.broadcast_to(np.uint8(0), (1, *scene.size))
        return Image(blank, (1.0, 1.0), None, "png", None, scene.path)
    return read_image(scene.path)
