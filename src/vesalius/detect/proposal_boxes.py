"""The proposals of one image."""

from dataclasses import dataclass

import numpy as np

from vesalius.errors import DataError


@dataclass(frozen=True)
class Proposals:
    """The proposals of one image, best first.

    Attributes:
        boxes: (N, 4) or (N, 6) float64 corners, x first; the ends are beyond the last pixel.
        scores: (N,) float64, higher is better, or None where only the order is known.

    Raises:
        DataError: wrong shapes, values that are not finite, boxes without extent.
    """

    boxes: np.ndarray
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        boxes = _numbers(self.boxes, "boxes")
        if boxes.ndim != 2 or boxes.shape[1] not in (4, 6):
            raise DataError(f"boxes have the shape {boxes.shape}; expected (N, 4) or (N, 6)")
        _refuse_rows(~np.isfinite(boxes).all(axis=1), "has a number that is not finite")
        dims = boxes.shape[1] // 2
        flat = (boxes[:, dims:] <= boxes[:, :dims]).any(axis=1)
        _refuse_rows(flat, "ends where it begins or before; the order is x1, y1, ..., x2, y2, ...")
        object.__setattr__(self, "boxes", boxes)
        if self.scores is None:
            return
        scores = _numbers(self.scores, "scores")
        if scores.shape != (len(boxes),):
            raise DataError(f"{len(boxes)} boxes have scores of the shape {scores.shape}")
        _refuse_rows(~np.isfinite(scores), "has a score that is not finite")
        object.__setattr__(self, "scores", scores)

    def __len__(self) -> int:
        return len(self.boxes)

    def best(self, count: int) -> "Proposals":
        """Return the first `count` of them."""
        return Proposals(self.boxes[:count], None if self.scores is None else self.scores[:count])


def _numbers(values: object, what: str) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} are not a table of numbers: {error}") from error


def _refuse_rows(wrong: np.ndarray, why: str) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        others = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise DataError(f"box {rows[0] + 1} {why}{others}")
