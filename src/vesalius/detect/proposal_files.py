"""Proposals in files, of this program and of others.

| file | content |
|---|---|
| .npz | what `write_proposals` writes, or a table per image id |
| .npy | the table of one image, named after the file |
| .json | `{id: table}`, `{id: {"boxes": table, "scores": list}}`, or COCO results (xywh) |
| .csv | columns image, x1, y1, (z1,) x2, y2, (z2,) and perhaps score; an image alone has none |
| .mat | `boxes` and `images` of R-CNN's and Fast R-CNN's selective search data |

A table is N rows of 4 numbers (x1, y1, x2, y2), or 6 (x1, y1, z1, x2, y2, z2), with the score as a
fifth or seventh. Coordinates are continuous pixels; those of .mat files, which count pixels from 1
and name y first, are converted. Where there are scores the best comes first; else the file's order
is the order. Pickles are refused because opening one runs whatever code it holds.
"""

import csv
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from vesalius.detect.proposal_boxes import Proposals
from vesalius.errors import DataError
from vesalius.files import replacing, write_text

_AXES = "xyz"
_IMAGE_NAMES = ("image", "image_id", "id", "file", "filename", "image_name")
Found = Iterator[tuple[str, object, object]]  # image id, boxes (perhaps with scores), scores


def read_proposals(path: str | Path) -> dict[str, Proposals]:
    """Return the proposals of every image in a file, or in the files of a folder.

    Args:
        path: a file of a kind that this module's docstring lists, or a folder with such files.

    Raises:
        DataError: nothing to read, an unknown kind, a pickle, or wrong rows, all of them listed.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"there is no file or folder {path}")
    files = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.suffix in _READERS)
    if not files:
        raise DataError(f"{path} has no proposals; a folder may hold {', '.join(_READERS)} files")
    found: dict[str, Proposals] = {}
    problems: list[str] = []
    for file in files:
        for name, boxes, scores in _rows_of(file):
            where = f"{file}, image '{name}'"
            if name in found:
                problems.append(f"{where}: proposals of this image come twice; keep one table")
                continue
            try:
                found[name] = _sorted(_proposals(boxes, scores))
            except DataError as error:
                problems.append(f"{where}: {error}")
    if problems:
        raise DataError(f"{path}: {len(problems)} tables of proposals cannot be used", problems)
    return found


def _rows_of(file: Path) -> Found:
    if file.suffix.lower() in (".pkl", ".pickle"):
        raise DataError(
            f"{file} is a pickle, and opening a pickle runs whatever code it holds. Load it where "
            "you trust it, and save the boxes as .npz, .json or .csv"
        )
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise DataError(f"{file} is no proposals file; known are {', '.join(_READERS)}")
    try:
        yield from reader(file)
    except DataError:
        raise
    except (ValueError, TypeError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} cannot be read as {file.suffix}: {error}") from error


def _proposals(boxes: object, scores: object) -> Proposals:
    """Return a table as proposals; an odd number of columns has the scores last."""
    try:
        table = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the boxes are no table of numbers ({error})") from error
    if table.size == 0:
        columns = table.shape[1] if table.ndim == 2 and table.shape[1] in (4, 5, 6, 7) else 4
        table = np.zeros((0, columns))
    if table.ndim == 2 and table.shape[1] in (5, 7):
        if scores is not None:
            raise DataError("scores are given both beside the boxes and in their last column")
        table, scores = table[:, :-1], table[:, -1]
    return Proposals(table, scores)


def _sorted(proposals: Proposals) -> Proposals:
    if proposals.scores is None:
        return proposals
    order = np.argsort(-proposals.scores, kind="stable")
    return Proposals(proposals.boxes[order], proposals.scores[order])


def _read_npz(file: Path) -> Found:
    with np.load(file, allow_pickle=False) as content:
        if not {"ids", "counts", "boxes"} <= set(content):
            single = {"boxes"} <= set(content) <= {"boxes", "scores"}
            tables = {file.stem: content["boxes"]} if single else dict(content)
            for name, table in tables.items():
                yield name, table, content["scores"] if single and "scores" in content else None
            return
        ends = np.cumsum(content["counts"])
        if len(ends) != len(content["ids"]) or ends[-1:].sum() != len(content["boxes"]):
            raise DataError(f"{file} contradicts itself: counts do not add up to the boxes")
        boxes = np.split(content["boxes"], ends[:-1]) if len(ends) else []
        scores = [None] * len(boxes)
        if "scores" in content:
            scores = np.split(content["scores"], ends[:-1])
        yield from zip(map(str, content["ids"]), boxes, scores, strict=True)


def _read_npy(file: Path) -> Found:
    yield file.stem, np.load(file, allow_pickle=False), None


def _read_json(file: Path) -> Found:
    content = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(content, list):
        yield from _coco_results(content, file)
        return
    if not isinstance(content, dict):
        raise DataError(f"{file} holds neither an object of tables nor a list of COCO results")
    for name, table in content.items():
        if isinstance(table, dict):
            yield name, table["boxes"], table.get("scores")
        else:
            yield name, table, None


def _coco_results(results: list, file: Path) -> Found:
    tables: dict[str, list] = {}
    for number, row in enumerate(results, 1):
        box = row.get("bbox") if isinstance(row, dict) else None
        if not isinstance(box, list) or len(box) != 4 or "image_id" not in row:
            raise DataError(f"{file}: entry {number} has no image_id or no bbox of four numbers")
        x, y, width, height = box
        corners = [x, y, x + width, y + height]
        score = [row["score"]] if "score" in row else []
        tables.setdefault(str(row["image_id"]), []).append(corners + score)
    for name, table in tables.items():
        yield name, table, None


def _read_csv(file: Path) -> Found:
    tables: dict[str, list[list[float]]] = {}
    problems = []
    with open(file, newline="", encoding="utf-8-sig") as lines:
        reader = csv.reader(lines)
        head = [name.strip().lower() for name in next(reader, [])]
        image, columns = _csv_columns(head, file)
        for row in filter(None, reader):
            where = f"{file}, line {reader.line_num}"
            if len(row) != len(head):
                problems.append(f"{where}: {len(row)} values, but {len(head)} columns")
                continue
            table = tables.setdefault(row[image].strip(), [])
            values = [row[column].strip() for column in columns]
            if any(values):
                try:
                    table.append([float(value) for value in values])
                except ValueError as error:
                    problems.append(f"{where}: {error}")
    if problems:
        raise DataError(f"{file}: {len(problems)} lines cannot be read", problems)
    empty = np.zeros((0, len(columns)))
    yield from ((name, table or empty, None) for name, table in tables.items())


def _csv_columns(head: list[str], file: Path) -> tuple[int, list[int]]:
    """Return the column of the image and those of the corners and, if there, the score."""
    image = next((head.index(name) for name in _IMAGE_NAMES if name in head), None)
    dims = 3 if "z1" in head else 2
    wanted = _corner_names(dims)
    missing = [name for name in wanted if name not in head]
    if image is None or missing:
        missing = (["image"] if image is None else []) + missing
        raise DataError(
            f"{file}: the first line has no column {', '.join(missing)}; it should name image, "
            f"{', '.join(wanted)} and, if known, score"
        )
    wanted += ["score"] if "score" in head else []
    return image, [head.index(name) for name in wanted]


def _corner_names(dims: int) -> list[str]:
    return [f"{axis}{end}" for end in (1, 2) for axis in _AXES[:dims]]


def _read_mat(file: Path) -> Found:
    """Read selective search data as R-CNN's and Fast R-CNN's authors published it."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(file)
    except NotImplementedError as error:
        raise DataError(f"{file} is HDF5; save it again in MATLAB with -v7") from error
    except MatReadError as error:
        raise DataError(f"{file} cannot be read as .mat: {error}") from error
    if not {"boxes", "images"} <= set(content):
        raise DataError(f"{file} has no variables 'boxes' and 'images'")
    boxes, images = content["boxes"].ravel(), content["images"].ravel()
    if len(boxes) != len(images):
        raise DataError(f"{file} has boxes of {len(boxes)} images, but {len(images)} names")
    for name, table in zip(images, boxes, strict=True):
        # Rows are y1, x1, y2, x2, counted from 1, with the last pixel inside.
        corners = np.asarray(table, np.float64).reshape(-1, 4)[:, [1, 0, 3, 2]] - (1, 1, 0, 0)
        yield str(np.squeeze(name)), corners, None


_READERS: dict[str, Callable[[Path], Found]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".json": _read_json,
    ".csv": _read_csv,
    ".mat": _read_mat,
}


def write_proposals(path: str | Path, proposals: Mapping[str, Proposals]) -> None:
    """Write the proposals of images to a .npz, .json or .csv file, atomically.

    `read_proposals` gives the same back: .npz is the smallest and quickest, the others are for
    other programs.

    Raises:
        DataError: another kind of file, or proposals of which some are 3D or have scores while
            others are not or have none.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise DataError(f"cannot write proposals to {path}; known are {', '.join(_WRITERS)}")
    # An image without proposals has no kind: readers cannot tell which one it was.
    some = [part for part in proposals.values() if len(part)]
    kinds = {(part.boxes.shape[1], part.scores is None) for part in some}
    if len(kinds) > 1:
        raise DataError(
            f"{path}: one file holds 2D or 3D boxes, all with scores or all without; write several"
        )
    writer(path, proposals, some)


def _write_npz(path: Path, proposals: Mapping[str, Proposals], some: list[Proposals]) -> None:
    arrays = {
        "ids": np.array(list(proposals), dtype=np.str_),
        "counts": np.array([len(part) for part in proposals.values()], dtype=np.int64),
        "boxes": np.concatenate([part.boxes for part in some]) if some else np.zeros((0, 4)),
    }
    if some and some[0].scores is not None:
        arrays["scores"] = np.concatenate([part.scores for part in some])
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def _write_json(path: Path, proposals: Mapping[str, Proposals], some: list[Proposals]) -> None:
    content = {
        name: {"boxes": part.boxes.tolist()}
        | ({} if part.scores is None else {"scores": part.scores.tolist()})
        for name, part in proposals.items()
    }
    write_text(path, json.dumps(content))


def _write_csv(path: Path, proposals: Mapping[str, Proposals], some: list[Proposals]) -> None:
    names = _corner_names(some[0].boxes.shape[1] // 2 if some else 2)
    scored = bool(some) and some[0].scores is not None
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *names, *(["score"] if scored else [])])
        for name, part in proposals.items():
            if not len(part):
                writer.writerow([name] + [""] * (len(names) + scored))
                continue
            rows = np.column_stack([part.boxes, part.scores]) if scored else part.boxes
            writer.writerows([name, *row] for row in rows.tolist())


_WRITERS: dict[str, Callable[[Path, Mapping[str, Proposals], list[Proposals]], None]] = {
    ".npz": _write_npz,
    ".json": _write_json,
    ".csv": _write_csv,
}
