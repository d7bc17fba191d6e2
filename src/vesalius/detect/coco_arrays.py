"""True and predicted objects of many images as flat arrays: what all scores of detection count.

An object names its image by an index, so nothing here loops over images. Boxes are corners in
continuous pixel coordinates, (x1, y1, x2, y2) or (x1, y1, z1, x2, y2, z2).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError

if TYPE_CHECKING:
    from vesalius.detect.rle import Runs

Objects = TypeVar("Objects", "Truths", "Detections")


@dataclass(frozen=True, eq=False)
class Truths:
    """The annotated objects of all images.

    Attributes:
        images: (N,) int64, the image's index.
        labels: (N,) int64, the class, from 0.
        boxes: (N, 2 * dims) float64 corners.
        areas: (N,) float64 in pixels, as annotated (small, medium or large is decided by it);
            None: of the boxes.
        crowd: (N,) bool, a region of many objects: it absorbs any number of detections, and its
            overlap is the intersection over the detection's area; never counted. None: none.
        ignore: (N,) bool, neither to be found nor to be counted wrong ("difficult"). None: none.
        masks: N run lengths, or None.
        volumes: (N,) float64 area of the boxes; None: from the corners. Given where width and
            height are the source, because x2 - x1 rounds.

    Raises:
        DataError: shapes that do not fit together, negative indices, or boxes with NaN.
    """

    images: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64] = None  # type: ignore[assignment] - filled in below
    crowd: NDArray[np.bool_] = None  # type: ignore[assignment]
    ignore: NDArray[np.bool_] = None  # type: ignore[assignment]
    masks: "Sequence[Runs] | None" = None
    volumes: NDArray[np.float64] = None  # type: ignore[assignment]

    def __post_init__(self):
        _complete(self, "true objects", flags=("crowd", "ignore"))

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in all images.

    Attributes:
        images, labels, boxes, areas, masks, volumes: as of `Truths`.
        scores: (N,) float64, higher is surer.

    Raises:
        DataError: as `Truths`, or a score is NaN.
    """

    images: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    areas: NDArray[np.float64] = None  # type: ignore[assignment] - filled in below
    masks: "Sequence[Runs] | None" = None
    volumes: NDArray[np.float64] = None  # type: ignore[assignment]

    def __post_init__(self):
        object.__setattr__(self, "scores", _numbers(self.scores, np.float64))
        _complete(self, "detections", flags=())
        if np.isnan(self.scores).any():
            row = int(np.flatnonzero(np.isnan(self.scores))[0])
            raise DataError(f"detection {row} has the score NaN. Give every detection a number.")

    def __len__(self) -> int:
        return len(self.images)


def box_volumes(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area of 2D boxes, the volume of 3D ones, (N,)."""
    dims = boxes.shape[1] // 2
    return np.prod(boxes[:, dims:] - boxes[:, :dims], axis=1)


def subset(objects: Objects, keep: NDArray) -> Objects:
    """Return some of the objects, by a bool mask or by indices in the order wanted."""
    chosen = np.flatnonzero(keep) if keep.dtype == bool else keep
    arrays = {item.name: getattr(objects, item.name) for item in fields(objects)}
    masks = arrays.pop("masks")
    if masks is not None:
        masks = tuple(masks[k] for k in chosen.tolist())
    return replace(objects, **{name: a[chosen] for name, a in arrays.items()}, masks=masks)


def check_dims(truths: Truths, detections: Detections) -> None:
    """Refuse 2D truths with 3D detections.

    Raises:
        DataError: both have objects, of different dimensions.
    """
    ours, theirs = truths.boxes.shape[1] // 2, detections.boxes.shape[1] // 2
    if len(truths) and len(detections) and ours != theirs:
        raise DataError(
            f"the true boxes are {ours}D, the detected ones {theirs}D. Give both alike."
        )


def _numbers(values: ArrayLike, kind: Any) -> NDArray:
    array = np.asarray(values, kind)
    return array if array.size else array.reshape(0)


def _complete(objects: Any, what: str, *, flags: tuple[str, ...]) -> None:
    """Convert and fill in the fields of a frozen dataclass, and check that they fit together."""
    boxes = np.asarray(objects.boxes, np.float64)
    boxes = boxes if boxes.size else boxes.reshape(0, boxes.shape[-1] if boxes.ndim == 2 else 4)
    put = object.__setattr__
    put(objects, "boxes", boxes)
    for name in ("images", "labels"):
        put(objects, name, _numbers(getattr(objects, name), np.int64))
    _check_boxes(boxes, what)
    for name in flags:
        given = getattr(objects, name)
        put(objects, name, np.zeros(len(boxes), bool) if given is None else _numbers(given, bool))
    volumes = box_volumes(boxes) if objects.volumes is None else objects.volumes
    put(objects, "volumes", _numbers(volumes, np.float64))
    areas = objects.volumes if objects.areas is None else objects.areas
    put(objects, "areas", _numbers(areas, np.float64))
    _check_lengths(objects, what)


def _check_boxes(boxes: NDArray, what: str) -> None:
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 6):
        raise DataError(
            f"the boxes of the {what} have shape {boxes.shape}. Give (N, 4) corners, or (N, 6) in "
            "volumes."
        )
    bad = np.flatnonzero(np.isnan(boxes).any(1))
    if len(bad):
        raise DataError(f"box {bad[0]} of the {what} has a NaN. Remove it, or give its corners.")


def _check_lengths(objects: Any, what: str) -> None:
    values = {item.name: getattr(objects, item.name) for item in fields(objects)}
    lengths = {name: len(value) for name, value in values.items() if value is not None}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the arrays of the {what} differ in length: {lengths}. Give one per box.")
    for name in ("images", "labels"):
        if (values[name] < 0).any():
            raise DataError(f"the {what} have negative {name}. Number them from 0.")
