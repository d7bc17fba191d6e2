"""CSV and TSV tables, one line per object: image, x1, y1, x2, y2, label.

Corners are continuous pixels (in volumes also z1 and z2). Headers of many programs are understood
(filename, xmin, xmax, class, ...; x, y, w, h instead of corners), and tables without a header in
the order of keras-retinanet. A line with an image alone stands for an image without objects.
Optional columns: score, split, group or patient, difficult, crowd, truncated.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from vesalius.detect.formats.drafts import Draft, Findings, Request
from vesalius.detect.formats.pictures import IMAGE_FOLDERS, Finder, image_size, unique_ids
from vesalius.detect.formats.target import Target
from vesalius.detect.scene import Scene
from vesalius.errors import DataError
from vesalius.images.manifest import SPLITS, read_text

IMAGES = "images"
NAMES: Mapping[str, tuple[str, ...]] = {
    "image": (
        *("image", "filename", "file_name", "file", "image_path", "imagepath", "path", "img"),
        *("image_name", "image_id", "imageid", "filepath", "image_filename"),
    ),
    "x1": ("x1", "xmin", "x_min", "left", "bbox_x1", "x_1", "bbox_xmin"),
    "y1": ("y1", "ymin", "y_min", "top", "bbox_y1", "y_1", "bbox_ymin"),
    "z1": ("z1", "zmin", "z_min", "front"),
    "x2": ("x2", "xmax", "x_max", "right", "bbox_x2", "x_2", "bbox_xmax"),
    "y2": ("y2", "ymax", "y_max", "bottom", "bbox_y2", "y_2", "bbox_ymax"),
    "z2": ("z2", "zmax", "z_max", "back"),
    "x": ("x", "bbox_x", "x0"),
    "y": ("y", "bbox_y", "y0"),
    "w": ("w", "bbox_width", "bbox_w", "box_width", "width"),
    "h": ("h", "bbox_height", "bbox_h", "box_height", "height"),
    "label": (
        *("label", "class", "class_name", "classname", "label_name", "name", "category"),
        *("category_name", "object", "finding"),
    ),
    "score": ("score", "confidence", "conf", "probability"),
    "split": ("split", "subset", "set"),
    "group": ("group", "patient", "patient_id", "patientid"),
    "difficult": ("difficult",),
    "crowd": ("crowd", "iscrowd", "isgroupof"),
    "truncated": ("truncated", "istruncated"),
}
"""Our column -> header names that mean it, in lower case."""
_CORNERS = (("x1", "y1", "x2", "y2"), ("x1", "y1", "z1", "x2", "y2", "z2"))
_HEADLESS = ("image", "x1", "y1", "x2", "y2", "label")
_TRUE, _FALSE = ("1", "true", "yes", "1.0"), ("", "0", "false", "no", "0.0", "-1")


def annotation_files(source: Path) -> list[Path]:
    """Return the tables of boxes that `source` is or holds."""
    paths = [source] if source.is_file() else sorted(source.glob("*.[ct]sv"))
    return [p for p in paths if p.suffix.lower() in (".csv", ".tsv") and _columns(_rows(p)[:1])]


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return (line number, cells) of the rows that are not empty."""
    text = read_text(path)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    return [(reader.line_num, [c.strip() for c in row]) for row in reader if any(row)]


def _columns(rows: Sequence[tuple[int, list[str]]]) -> dict[str, int] | None:
    """Return our column -> its place, or None where the header names no boxes."""
    if not rows:
        return None
    cells = rows[0][1]
    if len(cells) == len(_HEADLESS) and all(_is_number(cell) for cell in cells[1:5]):
        return {name: k for k, name in enumerate(_HEADLESS)} | {"headless": -1}
    lower = [cell.lower() for cell in cells]
    found = {
        ours: lower.index(name)
        for ours, names in NAMES.items()
        for name in reversed(names)
        if name in lower
    }
    for ours in _CORNERS[0] if "x1" in found else ("x", "y", "w", "h"):
        if ours not in found:
            return None
    return found if "image" in found else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read(request: Request, findings: Findings) -> tuple[list[Draft], None]:
    """Return drafts; the class names are those that occur."""
    drafts: list[Draft] = []
    for path in annotation_files(request.source):
        drafts += _read_file(path, request, findings)
    for draft, name in zip(drafts, unique_ids([d.path or d.id for d in drafts]), strict=True):
        draft.id = name
    return drafts, None


def _read_file(path: Path, request: Request, findings: Findings) -> list[Draft]:
    rows = _rows(path)
    columns = _columns(rows) or {}
    # A table says itself where its images are; the usual folders are the second guess.
    places = [path.parent, *(path.parent / name for name in IMAGE_FOLDERS)]
    finder = Finder([request.images] if request.images else places)
    drafts: dict[str, Draft | None] = {}
    for line, cells in rows[0 if "headless" in columns else 1 :]:
        fields = {name: cells[k] for name, k in columns.items() if 0 <= k < len(cells)}
        name = fields.get("image", "")
        place = f"line {line}"
        if len(cells) > len(rows[0][1]):
            findings.add(path, place, f"{len(cells)} cells under {len(rows[0][1])} columns.")
            continue
        if not name:
            findings.add(path, place, "no image is named. Fill the column or remove the line.")
            continue
        if name not in drafts:
            drafts[name] = _draft(name, path, place, finder, findings)
        draft = drafts[name]
        if draft is not None:
            try:
                _add(draft, fields, place)
            except ValueError as error:
                findings.add(path, place, f"{error}. Correct or remove the line.")
    return [draft for draft in drafts.values() if draft is not None]


def _draft(name: str, path: Path, place: str, finder: Finder, findings: Findings) -> Draft | None:
    image = finder.find(name)
    if image is None:
        findings.add(path, place, finder.missing(name))
        return None
    try:
        return Draft(name, image, image_size(image), path)
    except DataError as error:
        findings.add(path, place, str(error))
        return None


def _add(draft: Draft, fields: Mapping[str, str], place: str) -> None:
    if fields.get("split"):
        if fields["split"].lower() not in SPLITS:
            raise ValueError(f"the split '{fields['split']}' is none of train, valid, test")
        split = SPLITS[fields["split"].lower()]
        if draft.extra.setdefault("split", split) != split:
            raise ValueError(f"the image is in {draft.extra['split']} and in {split}")
    if fields.get("group"):
        draft.group = draft.group or fields["group"]
        if draft.group != fields["group"]:
            raise ValueError(f"the image belongs to {draft.group} and to {fields['group']}")
    names = _CORNERS[len(draft.size) - 2] if "x1" in fields else ("x", "y", "w", "h")
    texts = [fields.get(name, "") for name in names]
    if not any(texts):
        return
    if not all(texts) or not fields.get("label"):
        raise ValueError(f"needs {', '.join(names)} and label, or none of them")
    box = [_number(text, name) for text, name in zip(texts, names, strict=True)]
    if "x1" not in fields:
        if len(draft.size) == 3:
            raise ValueError("a volume needs x1, y1, z1, x2, y2, z2")
        box[2:] = box[0] + box[2], box[1] + box[3]
    score = _number(fields["score"], "score") if fields.get("score") else None
    flags = {key: _flag(fields.get(key, ""), key) for key in ("difficult", "crowd", "truncated")}
    draft.add(fields["label"], box, place, score=score, **flags)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} is '{text}', no number") from None


def _flag(text: str, name: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError(f"{name} is '{text}', not 0 or 1")
    return text.lower() in _TRUE


def image_place(scene: Scene, name: str) -> str:
    """Return where the image of a scene lies beside the table."""
    return f"{IMAGES}/{name}"


def write(scenes: Sequence[Scene], target: Target) -> None:
    """Write `boxes.csv`; columns that say nothing are left out."""
    volumes = {len(scene.size) for scene in scenes} == {3}
    corners = _CORNERS[volumes] if volumes else _CORNERS[0]
    flags = [key for key in ("difficult", "crowd", "truncated") if _any(scenes, key)]
    scored = any(scene.scores is not None for scene in scenes)
    extra = [key for key in ("split", "group") if any(getattr(s, key) for s in scenes)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *corners, "label", *["score"] * scored, *flags, *extra])
    for scene in scenes:
        name, last = target.reference(scene), [getattr(scene, key) or "" for key in extra]
        for n in range(scene.count):
            score = [] if scene.scores is None else [f"{scene.scores[n]:.10g}"]
            score = score or [""] * scored
            marks = [int(getattr(scene, key)[n]) for key in flags]
            box = [f"{value:.10g}" for value in scene.boxes[n]]
            writer.writerow([name, *box, scene.labels[n], *score, *marks, *last])
        if not scene.count:
            writer.writerow([name, *[""] * (len(corners) + 1 + scored + len(flags)), *last])
        target.lose("masks", 0 if scene.masks is None else scene.count)
    target.write("boxes.csv", text.getvalue())


def _any(scenes: Sequence[Scene], key: str) -> bool:
    return any(getattr(scene, key).any() for scene in scenes)
