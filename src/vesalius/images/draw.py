"""Figures of images, masks and errors for reports: matplotlib's object interface, no pyplot.

Volumes are drawn as slices. Their axes are taken as NIfTI's usual order (right, front, up), so a
slice is shown with its first axis to the right and its second upwards. The painting itself is in
`paint`, whose functions can be had from here too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vesalius.errors import DataError
from vesalius.images.encode import palette as distinct_colours
from vesalius.images.figures import (
    cjk_font,
    enlarged,
    figure_to_png,
    heading,
    lay_out,
    montage,
)
from vesalius.images.paint import (
    COLOURS,
    CORRECT,
    ERRORS,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    WRONG_CLASS,
    best_slice,
    contours,
    error_map,
    overlay,
    to_rgb,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "best_slice", "cjk_font", "contours", "error_map", "figure_to_png", "montage", "overlay",
    "sheet", "to_rgb",
]  # fmt: skip

_LEGEND_ENTRIES = 12
_PLANES = (("sagittal", "矢状面"), ("coronal", "冠状面"), ("axial", "横断面"))


@dataclass(frozen=True)
class _View:
    """One row of a sheet: a plane with its masks, where it is, and the shape of its pixels."""

    rgb: np.ndarray
    truth: np.ndarray | None
    prediction: np.ndarray | None
    errors: np.ndarray | None
    spacing: tuple[float, float]
    caption: str


def sheet(
    image: np.ndarray,
    truth: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    *,
    names: Sequence[str] | Mapping[int, str] | None = None,
    title: str | None = None,
    spacing: Sequence[float] | None = None,
    planes: bool = False,
    axis: int = 2,
    instances: bool = False,
    ignore: int | None = None,
) -> "Figure":
    """Draw image, truth, prediction and where they differ, side by side.

    Args:
        image: `(C, H, W)` or a volume `(C, three axes)`, see `to_rgb`.
        truth: label map `(*size)`, or None: that column and the errors are left out.
        prediction: label map `(*size)`, or None likewise.
        names: label names, by position (0 is the background) or by label.
        title: heading.
        spacing: millimetres per spatial axis; pixels are drawn in these proportions.
        planes: draw a volume in its three orthogonal planes, not only across `axis`.
        axis: spatial axis that slices of a volume run along. The slice with the most truth (or
            prediction, or bright image) is shown.
        instances: labels number things of one kind: no legend of labels, and errors concern the
            foreground only.
        ignore: label of the truth that is not judged.

    Raises:
        DataError: shapes do not fit each other.
    """
    image, truth, prediction = np.asarray(image), _array(truth), _array(prediction)
    _check_shapes(image, truth, prediction, spacing)
    truth = truth if truth is None or ignore is None else np.where(truth == ignore, -1, truth)
    errors = None
    if truth is not None and prediction is not None:
        errors = error_map(truth, prediction, ignore=-1, instances=instances)
    spacing = tuple(spacing) if spacing is not None else (1.0,) * (image.ndim - 1)
    views = _views(image, (truth, prediction, errors), spacing, planes, axis)
    legend = [] if instances else _label_legend(truth, prediction, names)
    rows = [_panels(view, instances=instances) for view in views]
    return lay_out(
        [[picture for _, picture in row] for row in rows],
        heads=[[head for head, _ in rows[0]], *[[]] * (len(rows) - 1)],
        captions=[view.caption for view in views],
        legends=[legend, _error_legend(errors)],
        title=title,
    )


def _array(labels: np.ndarray | None) -> np.ndarray | None:
    return None if labels is None else np.asarray(labels).astype(np.int64)


def _check_shapes(image, truth, prediction, spacing) -> None:
    size = image.shape[1:]
    if len(size) not in (2, 3):
        raise DataError(f"A sheet needs (C, H, W) or (C, three axes), not {image.shape}.")
    for what, labels in (("truth", truth), ("prediction", prediction)):
        if labels is not None and labels.shape != size:
            raise DataError(f"The {what} has shape {labels.shape}; its image has {size}.")
    if spacing is not None and len(spacing) != len(size):
        raise DataError(f"The spacing {tuple(spacing)} must hold {len(size)} numbers.")


def _views(image, masks, spacing, planes: bool, axis: int) -> list[_View]:
    if image.ndim == 3:
        return [_View(to_rgb(image), *masks, spacing, "")]
    guide = next((mask for mask in masks if mask is not None), image[0])
    # One window for all planes, so that a tissue has one brightness in all of them.
    window = tuple(float(v) for v in np.percentile(image[0], (0.5, 99.5)))
    window = window if image.shape[0] == 1 and window[0] < window[1] else None
    views = []
    for cut in (2, 1, 0) if planes else (axis % 3,):
        index = best_slice(guide, axis=cut)
        picture = to_rgb(_plane(np.take(image, index, axis=cut + 1)), window=window)
        slices = [None if m is None else _plane(np.take(m, index, axis=cut)) for m in masks]
        right, up = (step for a, step in enumerate(spacing) if a != cut)
        caption = f"{heading(*_PLANES[cut])} {index + 1}/{image.shape[cut + 1]}"
        views.append(_View(picture, *slices, (up, right), caption))
    return views


def _plane(array: np.ndarray) -> np.ndarray:
    """Put the first of the last two axes to the right and the second upwards."""
    return np.ascontiguousarray(np.swapaxes(array, -1, -2)[..., ::-1, :])


def _panels(view: _View, *, instances: bool) -> list[tuple[str, np.ndarray]]:
    """Return (heading, picture) of each column, at the size at which they are drawn."""
    rgb = enlarged(view.rgb, view.spacing)
    panels = [(heading("Image", "图像"), rgb)]
    for head, labels in (
        (heading("Truth", "真值"), view.truth),
        (heading("Prediction", "预测"), view.prediction),
    ):
        if labels is not None:
            labels = enlarged(labels, view.spacing)
            panels.append((head, contours(overlay(rgb, labels, alpha=0.3), labels, width=3)))
    if view.errors is not None:
        errors = enlarged(view.errors, view.spacing)
        grey = np.repeat(rgb.mean(axis=-1, keepdims=True) * 0.75, 3, axis=-1).astype(np.uint8)
        panels.append(
            (heading("Errors", "误差"), overlay(grey, errors, alpha=0.75, palette=ERRORS))
        )
    return panels


def _label_legend(truth, prediction, names) -> list[tuple[str, np.ndarray]]:
    masks = [mask for mask in (truth, prediction) if mask is not None]
    present = sorted({int(v) for mask in masks for v in np.unique(mask) if v > 0})
    names = names if isinstance(names, Mapping) else dict(enumerate(names or ()))
    colours = distinct_colours(COLOURS)
    entries = [
        (str(names.get(label, label)), colours[(label - 1) % (COLOURS - 1) + 1])
        for label in present[:_LEGEND_ENTRIES]
    ]
    if len(present) > _LEGEND_ENTRIES:
        more = len(present) - _LEGEND_ENTRIES
        entries.append((heading(f"and {more} more", f"另有 {more} 类"), np.zeros(4)))
    return entries


def _error_legend(errors: np.ndarray | None) -> list[tuple[str, np.ndarray]]:
    if errors is None:
        return []
    kinds = [
        (CORRECT, heading("correct", "正确")),
        (FALSE_POSITIVE, heading("false positive", "假阳性")),
        (FALSE_NEGATIVE, heading("false negative", "假阴性")),
        (WRONG_CLASS, heading("wrong class", "类别错误")),
    ]
    shown = kinds if (errors == WRONG_CLASS).any() else kinds[:3]
    return [(text, ERRORS[kind]) for kind, text in shown]
