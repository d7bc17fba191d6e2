"""Label maps in other forms: one-hot, colours, and what can be learned from instances.

Label maps are integer arrays `(*size)` of 2 or 3 axes; 0 is the background. Arrays are numpy in
and numpy out; `one_hot` and `from_one_hot` also take and return torch tensors.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vesalius.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

# Okabe and Ito's colour-blind-safe set (2008) without black and grey, which images need.
OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
# Linear-RGB simulation of complete protanopia and deuteranopia (Machado et al. 2009, severity 1).
_PROTANOPIA = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)
_DEUTERANOPIA = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
_SHOWN = 5


def one_hot(labels: Any, classes: int, *, ignore: int | None = None) -> Any:
    """Return one channel per class.

    Args:
        labels: integers `(B, *size)`, numpy or torch, from 0 to `classes - 1` or `ignore`.
        classes: number of channels.
        ignore: label whose pixels are 0 in all channels.

    Returns:
        float32 `(B, classes, *size)` of the same library, on the same device.

    Raises:
        DataError: a label is out of range; the message names it.
    """
    if not isinstance(labels, np.ndarray):
        return _one_hot_torch(labels, classes, ignore)
    known = np.ones(labels.shape, dtype=bool) if ignore is None else labels != ignore
    _check_range(labels[known], classes)
    channels = np.arange(classes).reshape(-1, *[1] * (labels.ndim - 1))
    return ((labels[:, None] == channels) & known[:, None]).astype(np.float32)


def _one_hot_torch(labels: "Tensor", classes: int, ignore: int | None) -> "Tensor":
    import torch

    known = torch.ones_like(labels, dtype=torch.bool) if ignore is None else labels != ignore
    inside = labels[known]
    if inside.numel() and (inside.min() < 0 or inside.max() >= classes):
        _check_range(inside.cpu().numpy(), classes)
    channels = torch.zeros(labels.shape[0], classes, *labels.shape[1:], device=labels.device)
    index = torch.where(known, labels, 0)[:, None].long()
    return channels.scatter_(1, index, known[:, None].float())


def _check_range(labels: np.ndarray, classes: int) -> None:
    wrong = np.unique(labels[(labels < 0) | (labels >= classes)])
    if len(wrong):
        raise DataError(
            f"Label {wrong[0]} is out of range: {classes} classes are numbered 0 to {classes - 1}"
            f" ({len(wrong)} such value(s): {_listed(wrong)}). Renumber the labels, raise the"
            " number of classes, or name the value as the one to ignore."
        )


def _listed(values: Sequence[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:_SHOWN])
    return shown + (", ..." if len(values) > _SHOWN else "")


def from_one_hot(scores: Any, *, ignore: int | None = None) -> Any:
    """Return the class with the largest score: `(B, C, *size)` to int64 `(B, *size)`.

    Pixels that are 0 in every channel become `ignore` where it is given. Ties go to the first.
    """
    if not isinstance(scores, np.ndarray):
        labels = scores.argmax(dim=1)
        return labels if ignore is None else labels.where((scores != 0).any(dim=1), ignore)
    labels = scores.argmax(axis=1).astype(np.int64)
    return labels if ignore is None else np.where((scores != 0).any(axis=1), labels, ignore)


def palette(n: int) -> np.ndarray:
    """Return `n` RGBA colours, uint8 `(n, 4)`; row 0, the background, is transparent black.

    The first seven are Okabe and Ito's. Each further one is, of a fixed grid of colours, the one
    farthest from all before it (in OKLab, Ottosson 2020, and at its smallest over normal sight,
    protanopia and deuteranopia), so `palette(n)` always begins with `palette(n - 1)`.

    Raises:
        ValueError: `n` is not between 1 and 1000.
    """
    if not 1 <= n <= 1000:
        raise ValueError(f"A palette has 1 to 1000 colours, not {n}.")
    length = 8 if n <= 8 else 32 if n <= 32 else 256 if n <= 256 else 1000
    colours = np.zeros((n, 4), dtype=np.uint8)
    colours[1:, :3] = np.array(_distinct(length - 1))[: n - 1]
    colours[1:, 3] = 255
    return colours


@lru_cache(maxsize=4)
def _distinct(n: int) -> tuple[tuple[int, int, int], ...]:
    steps = np.linspace(40, 255, 13).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _as_seen(grid)[:, 0]
    # Dark and greyish colours get lost in medical images.
    vivid = (lab[:, 0] > 0.5) & (np.hypot(lab[:, 1], lab[:, 2]) > 0.09)
    candidates = np.concatenate([OKABE_ITO, grid[vivid]])
    seen = _as_seen(candidates)
    chosen: list[int] = []
    # Black and white count as taken: they are the image's own.
    taken = _as_seen(np.array([[0.0, 0, 0], [255, 255, 255]]))
    nearest = np.min([_distance(seen, colour) for colour in taken], axis=0)
    while len(chosen) < n:
        best = len(chosen) if len(chosen) < len(OKABE_ITO) else int(nearest.argmax())
        chosen.append(best)
        nearest = np.minimum(nearest, _distance(seen, seen[best]))
    return tuple(tuple(int(value) for value in candidates[index]) for index in chosen)


def _distance(seen: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return how far colours `(n, 3 eyes, 3)` are from one, for the eye that tells them worst."""
    return np.linalg.norm(seen - colour, axis=-1).min(axis=-1)


def _as_seen(colours: np.ndarray) -> np.ndarray:
    """Return sRGB colours `(n, 3)` of 0 to 255 in OKLab, for three kinds of sight: `(n, 3, 3)`."""
    srgb = colours / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    eyes = np.stack([np.eye(3), np.array(_PROTANOPIA), np.array(_DEUTERANOPIA)])
    seen = np.einsum("nc,edc->ned", linear, eyes).clip(0, 1)
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(seen @ to_cones.T) @ to_lab.T


def labels_to_colours(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return the colour of each label: `(*size)` to uint8 `(*size, 3 or 4)` as the palette has.

    Raises:
        DataError: a label has no row in the palette.
    """
    _check_range(labels, len(palette))
    return np.asarray(palette, dtype=np.uint8)[labels]


def colours_to_labels(
    array: np.ndarray, table: Mapping[Sequence[int], int] | np.ndarray
) -> np.ndarray:
    """Return the label of each pixel's colour.

    Args:
        array: uint8 `(*size, 3)`; a fourth channel (opacity) is not looked at.
        table: colour `(r, g, b)` to label, or a palette whose row number is the label.

    Returns:
        int64 `(*size)`.

    Raises:
        DataError: the array is not one of 8-bit colours, or holds colours that the table has not;
            each is listed with its number of pixels and the position of one. Smoothed edges and
            JPEG files cause this.
    """
    if array.ndim < 2 or array.shape[-1] not in (3, 4) or array.dtype != np.uint8:
        raise DataError(
            f"A coloured mask is uint8 with three or four channels last, not {array.dtype}"
            f" {array.shape}. Save it as an 8-bit RGB picture."
        )
    if not isinstance(table, Mapping):
        table = {tuple(int(value) for value in row[:3]): i for i, row in enumerate(table)}
    wide = array.astype(np.int64)
    codes = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    known = {(int(r) << 16) | (int(g) << 8) | int(b): label for (r, g, b), label in table.items()}
    values, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    unknown = {int(v): int(n) for v, n in zip(values, counts, strict=True) if int(v) not in known}
    if unknown:
        raise DataError("The mask holds colours that the table has not.", _lines(codes, unknown))
    labels = np.array([known[int(value)] for value in values], dtype=np.int64)
    return labels[inverse].reshape(array.shape[:-1])


def _lines(codes: np.ndarray, unknown: Mapping[int, int]) -> list[str]:
    """Return a line for each of the commonest unknown colours."""
    commonest = sorted(unknown, key=unknown.__getitem__, reverse=True)
    lines = []
    for code in commonest[:_SHOWN]:
        where = np.unravel_index(int((codes == code).argmax()), codes.shape)
        colour = (code >> 16, (code >> 8) & 255, code & 255)
        at = tuple(int(index) for index in where)
        lines.append(f"{colour}: {unknown[code]} pixel(s), the first at {at}")
    if len(commonest) > _SHOWN:
        lines.append(f"and {len(commonest) - _SHOWN} more colours; is it a JPEG or smoothed?")
    return lines


def instances_to_foreground(labels: np.ndarray) -> np.ndarray:
    """Return uint8 `(*size)`: 1 where there is any instance, else 0."""
    return (labels > 0).astype(np.uint8)


def instances_to_border(
    labels: np.ndarray, *, width: int = 1, kind: Literal["all", "touching"] = "all"
) -> np.ndarray:
    """Return three classes: 0 background, 1 interior, 2 border.

    Args:
        labels: instances, 0 is the background.
        width: thickness of the border in pixels, measured inwards along axes and diagonals.
        kind: "all" marks each instance's outline; "touching" marks it only within `width` of
            another instance, which is what separates cells that touch.

    Returns:
        uint8 `(*size)`. The picture's own edge is no border.

    Raises:
        ValueError: `width` is below 1 or `kind` unknown.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    if width < 1:
        raise ValueError(f"width must be at least 1 pixel, not {width}")
    if kind not in ("all", "touching"):
        raise ValueError(f"kind must be 'all' or 'touching', not '{kind}'")
    labels = np.asarray(labels).astype(np.int64)
    reach = 2 * width + 1
    others = labels if kind == "all" else np.where(labels > 0, labels, labels.max(initial=0) + 1)
    highest = maximum_filter(labels, reach, mode="nearest")
    lowest = minimum_filter(others, reach, mode="nearest")
    border = (labels > 0) & ((highest != labels) | (lowest != labels))
    return np.where(border, 2, labels > 0).astype(np.uint8)
