"""One image with its objects: what every format is read into and written from.

Boxes are corners in continuous pixel coordinates: (x1, y1, x2, y2), in volumes (x1, y1, z1, x2,
y2, z2). x runs along the last array axis, then y, then z, so a corner is a reversed array index.
Pixel i covers [i, i + 1): the box of a mask ends one after its last pixel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.engine.task import Case
from vesalius.errors import DataError

if TYPE_CHECKING:
    from vesalius.detect.rle import Runs

_FLAGS = ("crowd", "difficult", "truncated")


@dataclass(frozen=True, eq=False)
class Scene:
    """One image with its objects, small and picklable: the pixels stay in the file.

    Attributes:
        id: unique within a source; names outputs.
        path: the image, or None where there is none.
        size: array shape, (height, width) or (depth, height, width), without channels.
        boxes: (N, 2 * dims) float64 corners in pixels.
        labels: N class names.
        masks: N run lengths of `size`, or None.
        crowd: (N,) bool; one box for many objects, neither to be found nor to be counted wrong.
        difficult: (N,) bool; as crowd, in Pascal VOC.
        areas: (N,) float64, in pixels: as annotated, else of the masks, else of the boxes.
        scores: (N,) float64 from 0 to 1 for predictions, or None.
        group: what must stay on one side of a split (a patient), or None.
        truncated: (N,) bool; the object goes on beyond the image.
        extra: of the image: "split" ("train", "valid", "test") and what a format adds.

    Raises:
        DataError: shapes that do not fit together. Whether boxes lie inside the image is checked
            where they are read (`formats`), not here.
    """

    id: str
    path: Path | None
    size: tuple[int, ...]
    boxes: NDArray[np.float64]
    labels: tuple[str, ...]
    masks: "Sequence[Runs] | None" = None
    crowd: NDArray[np.bool_] = None  # type: ignore[assignment] - filled in below
    difficult: NDArray[np.bool_] = None  # type: ignore[assignment]
    areas: NDArray[np.float64] = None  # type: ignore[assignment]
    scores: NDArray[np.float64] | None = None
    group: str | None = None
    truncated: NDArray[np.bool_] = None  # type: ignore[assignment]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        keep = object.__setattr__
        keep(self, "path", None if self.path is None else Path(self.path))
        keep(self, "size", tuple(int(side) for side in self.size))
        keep(self, "labels", tuple(self.labels))
        keep(self, "boxes", self._numbers("boxes", self.boxes, np.float64, 2 * self.dims))
        for name in _FLAGS:
            given = getattr(self, name)
            flags = np.zeros(self.count, bool) if given is None else given
            keep(self, name, self._numbers(name, flags, np.bool_))
        if self.scores is not None:
            keep(self, "scores", self._numbers("scores", self.scores, np.float64))
        if self.masks is not None and len(self.masks) != self.count:
            raise self._misfit("masks", len(self.masks))
        areas = self._measured() if self.areas is None else self.areas
        keep(self, "areas", self._numbers("areas", areas, np.float64))

    def _numbers(self, name: str, values: ArrayLike, kind: Any, columns: int = 0) -> NDArray:
        array = np.asarray(values, kind)
        if array.size == 0 and self.count == 0:
            return np.zeros((0, columns) if columns else 0, kind)
        if array.shape != ((self.count, columns) if columns else (self.count,)):
            raise self._misfit(name, array.shape)
        return array

    def _misfit(self, name: str, shape: Any) -> DataError:
        return DataError(
            f"scene {self.id}: {name} of shape {shape} do not fit {self.count} labels in an image "
            f"of size {self.size}. Give every object one label and one box of {2 * self.dims} "
            "numbers."
        )

    def _measured(self) -> NDArray[np.float64]:
        if self.masks is None:
            return np.prod(self.boxes[:, self.dims :] - self.boxes[:, : self.dims], axis=1)
        from vesalius.detect import rle

        return np.asarray(rle.area(list(self.masks)), np.float64)

    @property
    def dims(self) -> int:
        """2 for a picture, 3 for a volume."""
        return len(self.size)

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.labels)

    @property
    def split(self) -> str | None:
        """The part of the data set that the image belongs to, or None."""
        return self.extra.get("split")

    def subset(self, keep: ArrayLike) -> "Scene":
        """Return the scene with some of its objects.

        Args:
            keep: (N,) bool, or indices in the order that is wanted.
        """
        keep = np.asarray(keep)
        chosen = np.flatnonzero(keep) if keep.dtype == bool else keep.astype(np.int64)
        if keep.dtype == bool and len(keep) != self.count:
            raise self._misfit("keep", keep.shape)
        arrays = {name: getattr(self, name)[chosen] for name in ("boxes", "areas", *_FLAGS)}
        masks, places = self.masks, chosen.tolist()
        if masks is not None:
            take = getattr(masks, "subset", None)
            masks = take(places) if take else tuple(masks[k] for k in places)
        return replace(
            self,
            **arrays,
            labels=tuple(self.labels[k] for k in places),
            masks=masks,
            scores=None if self.scores is None else self.scores[chosen],
        )

    def with_masks(self, masks: "Sequence[Runs] | None" = None) -> "Scene":
        """Return the scene with its boxes and areas measured on the masks.

        Args:
            masks: N masks to take instead of the scene's own.

        Raises:
            DataError: there are no masks, or one is empty or of another size.
        """
        from vesalius.detect import rle

        masks = self.masks if masks is None else masks
        if masks is None:
            raise DataError(f"scene {self.id} has no masks. Read it from a format that keeps them.")
        wrong = [k for k, runs in enumerate(masks) if runs.size != self.size or not rle.area(runs)]
        if wrong:
            raise DataError(
                f"scene {self.id}: the masks {wrong[:5]} are empty or not of size "
                f"{self.size}. Remove these objects."
            )
        return replace(self, masks=masks, boxes=rle.to_box(list(masks)), areas=None)

    def check_size(self, size: Sequence[int]) -> None:
        """Compare with the size of the image as it was opened.

        Raises:
            DataError: the annotation was made for an image of another size.
        """
        if tuple(size) != self.size:
            raise DataError(
                f"{self.path} has the size {tuple(size)}; its annotation says {self.size}. "
                "Annotate this very file, or correct the size in the annotation."
            )

    def to_case(self) -> Case:
        """Return the case of the engine: input is the image's path, target the scene itself."""
        extra = {"split": None, "row": None, **self.extra}
        return Case(self.id, self.path, self, self.group, extra)

    @classmethod
    def from_case(cls, case: Case) -> "Scene":
        """Return the scene of a case; id, path, group and extra are the case's.

        Raises:
            DataError: the case has no truth.
        """
        if not isinstance(case.target, Scene):
            raise DataError(f"case {case.id} has no objects to learn from. Annotate its image.")
        extra = {key: value for key, value in case.extra.items() if value is not None}
        return replace(case.target, id=case.id, path=case.input, group=case.group, extra=extra)


def class_names(scenes: Sequence[Scene]) -> tuple[str, ...]:
    """Return the class names that occur, sorted."""
    return tuple(sorted({name for scene in scenes for name in scene.labels}))
