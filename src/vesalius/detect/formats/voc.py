"""Pascal VOC xml (Everingham et al. 2010), one file per image.

The devkit numbers pixels from 1 and a box includes its last pixel, so a box of xmin = 3, xmax = 5
covers pixels 2, 3, 4 counted from 0: x1 = xmin - 1 = 2, x2 = xmax = 5. Programs that number from 0
(xmin = 0) put a box up to one pixel beyond the border; it is clipped. Splits are
`ImageSets/Main/{train,val,test}.txt`. Volumes, masks, crowds and scores cannot be expressed; an
additional <score> is written and read for predictions, as some programs do.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from vesalius.detect.formats.coco import SPLIT_NAMES
from vesalius.detect.formats.drafts import Draft, Findings, Request
from vesalius.detect.formats.pictures import Finder, Folder, image_places, image_size
from vesalius.detect.formats.target import Target
from vesalius.detect.scene import Scene
from vesalius.errors import DataError
from vesalius.images.manifest import SPLITS

IMAGES = "JPEGImages"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def annotation_files(source: Path) -> list[Path]:
    """Return the xml files of a VOC folder, or of a plain folder of xml files."""
    if source.is_file():
        return [source] if source.suffix.lower() == ".xml" else []
    folder = source / "Annotations"
    return sorted((folder if folder.is_dir() else source).glob("*.xml"))


def read(request: Request, findings: Findings) -> tuple[list[Draft], None]:
    """Return drafts; the class names are those that occur."""
    source = request.source
    paths = annotation_files(source)
    root = source if source.is_dir() else source.parent
    root = root.parent if root.name == "Annotations" else root
    finder = Finder(image_places(root, request.images))
    splits = _splits(root, {path.stem for path in paths}, findings)
    drafts = []
    for path in paths:
        draft = _read_file(path, finder, findings)
        if draft is not None:
            if path.stem in splits:
                draft.extra["split"] = splits[path.stem]
            drafts.append(draft)
    if source.is_dir() and (root / IMAGES).is_dir():
        known = {path.stem for path in paths}
        for image in Folder(root / IMAGES).paths:
            if image.stem not in known:
                findings.add(
                    image, "", "has no xml in Annotations. Add one (empty if nothing is there)."
                )
    return drafts, None


def _splits(root: Path, known: set[str], findings: Findings) -> dict[str, str]:
    """Return stem -> split as ImageSets/Main says."""
    found: dict[str, str] = {}
    for path in sorted((root / "ImageSets" / "Main").glob("*.txt")):
        split = SPLITS.get(path.stem.lower())  # passes over trainval and the lists per class
        if split is None:
            continue
        for line, words in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            name = words.split()[0] if words.split() else ""
            if not name:
                continue
            if name not in known:
                findings.add(path, f"line {line}", f"{name} has no xml in Annotations. Remove it.")
            elif found.setdefault(name, split) != split:
                findings.add(path, f"line {line}", f"{name} is in {found[name]} already.")
    return found


def _read_file(path: Path, finder: Finder, findings: Findings) -> Draft | None:
    try:
        root = ET.fromstring(path.read_bytes())
    except ET.ParseError as error:
        findings.add(path, "", f"cannot be read as xml ({error}). Write it again.")
        return None
    # <filename> is often stale after renaming, so the name of the xml itself comes second
    named = (root.findtext("filename") or "").strip() or path.stem
    image = finder.find(named) or finder.find(path.stem)
    if image is None:
        findings.add(path, "", finder.missing(named))
        return None
    size = _size(root, image, path, findings)
    if size is None:
        return None
    draft = Draft(path.stem, image, size, path)
    for k, element in enumerate(root.findall("object"), start=1):
        _add(draft, element, f"object {k}", findings)
    return draft


def _size(root: ET.Element, image: Path, path: Path, findings: Findings) -> tuple[int, ...] | None:
    """Return the image's own size after comparing it with what is written."""
    try:
        size = image_size(image)
    except DataError as error:
        findings.problems.append(str(error))
        return None
    if len(size) != 2:
        findings.add(path, "", f"{image} is a volume; VOC describes pictures. Use CSV or NIfTI.")
        return None
    written = tuple(int(float(root.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
    # some programs write no size, or 0
    if any(side not in (0, own) for side, own in zip(written, size, strict=True)):
        findings.add(
            path,
            "",
            f"the size {written[1]} x {written[0]} is written, {image.name} has "
            f"{size[1]} x {size[0]} (width x height). Annotate this image, or correct the size.",
        )
    return size


def _add(draft: Draft, element: ET.Element, place: str, findings: Findings) -> None:
    name = (element.findtext("name") or "").strip()
    texts = [(element.findtext(f"bndbox/{side}") or "").strip() for side in _SIDES]
    if not name or not all(texts):
        findings.add(draft.file, place, "needs <name> and <bndbox> with all four sides.")
        return
    try:
        xmin, ymin, xmax, ymax = map(float, texts)
        flags = {key: _flag(element, key) for key in ("difficult", "truncated")}
        score = element.findtext("score")
        score = None if score is None else float(score)
    except ValueError as error:
        findings.add(draft.file, place, f"{error}. Write numbers.")
        return
    draft.add(name, (xmin - 1, ymin - 1, xmax, ymax), place, score=score, **flags)


def _flag(element: ET.Element, key: str) -> bool:
    text = (element.findtext(key) or "0").strip().lower()
    if text in ("0", "1", "true", "false", "unspecified"):
        return text in ("1", "true")
    raise ValueError(f"<{key}> is '{text}', not 0 or 1")


def image_place(scene: Scene, name: str) -> str:
    """Return where the image of a scene lies in a VOC folder."""
    return f"{IMAGES}/{name}"


def write(scenes: Sequence[Scene], target: Target) -> None:
    """Write `Annotations/*.xml` and `ImageSets/Main/*.txt`."""
    for scene in scenes:
        tree = _to_xml(scene, target)
        ET.indent(tree)
        text = ET.tostring(tree, encoding="unicode")
        target.write(f"Annotations/{target.stem(scene)}.xml", text + "\n")
        target.lose("masks", 0 if scene.masks is None else scene.count)
        target.lose("crowds (written as difficult)", scene.crowd.sum())
        target.lose("groups", scene.group is not None)
    for split in {scene.split for scene in scenes if scene.split}:
        names = [target.stem(s) for s in scenes if s.split == split]
        target.write(f"ImageSets/Main/{SPLIT_NAMES[split]}.txt", "\n".join(names) + "\n")


def _to_xml(scene: Scene, target: Target) -> ET.Element:
    root = ET.Element("annotation")
    _text(root, "folder", IMAGES)
    _text(root, "filename", target.name(scene))
    size = ET.SubElement(root, "size")
    for key, value in (("width", scene.size[1]), ("height", scene.size[0]), ("depth", 3)):
        _text(size, key, value)
    _text(root, "segmented", 0)
    for n in range(scene.count):
        element = ET.SubElement(root, "object")
        _text(element, "name", scene.labels[n])
        _text(element, "truncated", int(scene.truncated[n]))
        _text(element, "difficult", int(scene.difficult[n] or scene.crowd[n]))
        box = ET.SubElement(element, "bndbox")
        x1, y1, x2, y2 = scene.boxes[n].tolist()
        for side, value in zip(_SIDES, (x1 + 1, y1 + 1, x2, y2), strict=True):
            _text(box, side, f"{value:.10g}")
        if scene.scores is not None:
            _text(element, "score", f"{scene.scores[n]:.10g}")
    return root


def _text(parent: ET.Element, key: str, value: object) -> None:
    ET.SubElement(parent, key).text = str(value)
