"""Paint labels and errors onto pictures: arrays in, arrays out. Figures are in `draw`.

Pictures are uint8 `(H, W, 3)`, label maps integer `(H, W)` with 0 for the background; negative
labels (ignored pixels) are not painted.
"""

import numpy as np

from vesalius.errors import DataError
from vesalius.images.encode import instances_to_border, labels_to_colours
from vesalius.images.encode import palette as distinct_colours

# Colours of the error map, apart from each other for colour-blind readers too.
ERRORS = np.array(
    [
        [0, 0, 0, 0],
        [0, 158, 115, 255],
        [230, 65, 40, 255],
        [60, 105, 245, 255],
        [250, 225, 60, 255],
    ],
    dtype=np.uint8,
)
CORRECT, FALSE_POSITIVE, FALSE_NEGATIVE, WRONG_CLASS = 1, 2, 3, 4
# Colours that labels cycle through: more are hard to tell apart anyway.
COLOURS = 24


def to_rgb(image: np.ndarray, *, window: tuple[float, float] | None = None) -> np.ndarray:
    """Return a picture: `(C, H, W)` or `(H, W)` of any type to uint8 `(H, W, 3)`.

    One channel is grey, two are magenta and green (overlap is white), three are red, green and
    blue; of more the first is shown. Colours in uint8 are returned unchanged. Everything else,
    three equal channels included, is scaled from `window`, which defaults to the 0.5 to 99.5
    percentiles of finite values, jointly over RGB and separately for two channels. NaN is black.

    Raises:
        DataError: the array has no such shape.
    """
    image = np.asarray(image)
    image = image[None] if image.ndim == 2 else image
    if image.ndim != 3:
        raise DataError(f"A picture needs (C, H, W) or (H, W), not {image.shape}; take a slice.")
    if image.shape[0] == 3 and (image[0] == image[1]).all() and (image[0] == image[2]).all():
        image = image[:1]  # grey saved as colour, as much fluorescence is: often far too dark
    if image.shape[0] == 3 and image.dtype == np.uint8 and window is None:
        return np.ascontiguousarray(image.transpose(1, 2, 0))
    if image.shape[0] == 3:
        unit = _unit(image, window)
    elif image.shape[0] == 2:
        magenta, green = (_unit(channel, window) for channel in image)
        unit = np.stack([magenta, green, magenta])
    else:
        unit = np.repeat(_unit(image[:1], window), 3, axis=0)
    return (unit.transpose(1, 2, 0) * 255).round().astype(np.uint8)


def _unit(values: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """Scale to 0..1."""
    values = values.astype(np.float32)
    finite = values[np.isfinite(values)]
    if window is None:
        window = tuple(np.percentile(finite, (0.5, 99.5))) if finite.size else (0.0, 1.0)
        if window[0] == window[1]:  # a few bright pixels on an even ground
            window = (finite.min(), finite.max()) if finite.size else window
    low, high = float(window[0]), float(window[1])
    values = np.where(np.isnan(values), low, values).clip(low, high)
    return (values - low) / max(high - low, 1e-12)


def overlay(
    rgb: np.ndarray, labels: np.ndarray, *, alpha: float = 0.45, palette: np.ndarray | None = None
) -> np.ndarray:
    """Return the picture with labels laid over it; label 0 stays clear.

    Args:
        rgb: uint8 `(H, W, 3)`.
        labels: integers `(H, W)`. Beyond the palette's end its colours repeat.
        alpha: opacity, 0 to 1, times the palette's own.
        palette: uint8 `(n, 4)`, by default `encode.palette`.
    """
    _check_pair(rgb, labels)
    palette = distinct_colours(COLOURS) if palette is None else palette
    colours = labels_to_colours(_wrapped(labels, len(palette)), palette).astype(np.float32)
    weight = alpha * colours[..., 3:] / 255
    mixed = rgb * (1 - weight) + colours[..., :3] * weight
    return mixed.round().astype(np.uint8)


def contours(
    rgb: np.ndarray, labels: np.ndarray, *, width: int = 1, palette: np.ndarray | None = None
) -> np.ndarray:
    """Return the picture with each label's outline, `width` pixels wide, inside the label.

    The outline is what an erosion takes away, so neighbours keep an outline each, with no gap and
    no blending between them.
    """
    _check_pair(rgb, labels)
    border = instances_to_border(np.maximum(labels, 0), width=width) == 2
    return overlay(rgb, np.where(border, labels, 0), alpha=1.0, palette=palette)


def best_slice(volume: np.ndarray, *, axis: int = -1) -> int:
    """Return the slice along `axis` with the most foreground (labels above 0).

    For an image, which has few zeros, the foreground is what lies above its mean. The middle slice
    is the answer where there is none.
    """
    volume = np.asarray(volume)
    whole = np.issubdtype(volume.dtype, np.integer) or volume.dtype == bool
    foreground = volume > (0 if whole else volume.mean())
    counts = np.moveaxis(foreground, axis, 0).reshape(volume.shape[axis], -1).sum(axis=1)
    if counts.max() == 0:
        return volume.shape[axis] // 2
    # The middle one of equals: an object of even thickness is shown at its centre.
    best = np.flatnonzero(counts == counts.max())
    return int(best[len(best) // 2])


def error_map(
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    ignore: int | None = None,
    instances: bool = False,
) -> np.ndarray:
    """Return uint8 `(*size)`: 1 correct, 2 false positive, 3 false negative, 4 wrong class.

    Background that both agree on, and pixels whose truth is `ignore`, are 0. With `instances`
    only the foreground is compared, since two numberings of instances have nothing in common.
    """
    known = np.ones(truth.shape, dtype=bool) if ignore is None else truth != ignore
    there, found = (truth > 0) & known, (prediction > 0) & known
    result = np.zeros(truth.shape, dtype=np.uint8)
    result[there & found] = CORRECT
    result[found & ~there] = FALSE_POSITIVE
    result[there & ~found] = FALSE_NEGATIVE
    if not instances:
        result[there & found & (truth != prediction)] = WRONG_CLASS
    return result


def _check_pair(rgb: np.ndarray, labels: np.ndarray) -> None:
    if rgb.shape[:2] != labels.shape:
        raise DataError(f"The picture is {rgb.shape[:2]}, its label map {labels.shape}.")


def _wrapped(labels: np.ndarray, colours: int) -> np.ndarray:
    """Number labels within the palette, background and negative (ignored) ones as 0."""
    labels = np.asarray(labels).astype(np.int64)
    return np.where(labels > 0, (labels - 1) % (colours - 1) + 1, 0)
