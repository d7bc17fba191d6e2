"""Selective search: class-independent object proposals from a picture.

Uijlings, van de Sande, Gevers and Smeulders, "Selective Search for Object Recognition" (IJCV
2013), as used by R-CNN and Fast R-CNN. Each strategy is a colour space, a threshold k of the
over-segmentation (Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV
2004, sigma 0.8, smallest region k pixels) and a set of similarities for the grouping:

| mode | colour spaces | k | similarities | groupings |
|---|---|---|---|---|
| single | HSV | 100 | C+T+S+F | 1 |
| fast | HSV, Lab | 50, 100 | C+T+S+F, T+S+F | 8 |
| quality | HSV, Lab, rgI, H, I | 50, 100, 150, 300 | C+T+S+F, T+S+F, F, S | 80 |

C is colour, T texture, S size, F fill. These are the settings of the paper and of the MATLAB code
that R-CNN used. OpenCV's modes of the same names differ: single k = 200, fast k = 150, 300, 450,
quality k = 150, 300, 450, 600, all with 5 or fewer colour spaces; its boxes are larger and fewer.

Pictures without colour: a grey one is segmented by intensity and by lightness (hue and
saturation would be constant); one with two or four channels is no RGB picture, so the channels as
they are stand for HSV, their shares of the sum with the intensity for Lab and rgI.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vesalius.detect.grouping import colour_bins, describe, group, texture_bins
from vesalius.errors import DataError, RecipeError

SIGMA = 0.8
_CTSF = frozenset({"colour", "texture", "size", "fill"})
_TSF = frozenset({"texture", "size", "fill"})


@dataclass(frozen=True)
class Strategy:
    """What a mode combines: every colour space with every k and every set of similarities."""

    spaces: tuple[str, ...]
    thresholds: tuple[int, ...]
    similarities: tuple[frozenset[str], ...]


MODES = {
    "single": Strategy(("hsv",), (100,), (_CTSF,)),
    "fast": Strategy(("hsv", "lab"), (50, 100), (_CTSF, _TSF)),
    "quality": Strategy(
        ("hsv", "lab", "rgi", "h", "i"),
        (50, 100, 150, 300),
        (_CTSF, _TSF, frozenset({"fill"}), frozenset({"size"})),
    ),
}


def selective_search(
    image: np.ndarray, mode: str = "fast", seed: int = 0, *, min_size: float = 1
) -> np.ndarray:
    """Return boxes that may hold an object, best first, without duplicates.

    The order is the paper's: the place in the hierarchy, counted from the whole image, times a
    random number. The seed decides that order and nothing else; the set of boxes depends on the
    image alone, and both are the same on every platform.

    Args:
        image: (h, w) or (h, w, c), 1 to 4 channels last (three are RGB). uint8 is taken as 0 to
            255, floats within [0, 1] as they are, anything else is stretched from its minimum and
            maximum to [0, 1].
        mode: single, fast or quality: about 300, 2,000 and 10,000 boxes of a photograph.
        seed: of the order.
        min_size: boxes with a width or height below this many pixels are dropped (R-CNN: 20).

    Returns:
        (N, 4) float64, x1, y1, x2, y2 in continuous pixel coordinates.

    Raises:
        DataError: no picture, or values that are not finite.
        RecipeError: an unknown mode.
    """
    if mode not in MODES:
        raise RecipeError(f"no selective search mode '{mode}'; there are {', '.join(MODES)}")
    picture = as_picture(image)
    found = [group(*pair)[::-1] for pair in _groupings(picture, MODES[mode])]
    boxes = np.concatenate(found)
    # One generator with a name: the default one may change with numpy.
    random = np.random.Generator(np.random.PCG64(seed)).random(len(boxes))
    ranks = np.concatenate([np.arange(1, len(part) + 1) for part in found])
    boxes = _without_duplicates(boxes[np.argsort(ranks * random, kind="stable")])
    large = (boxes[:, 2:] - boxes[:, :2] >= min_size).all(axis=1)
    return boxes[large].astype(np.float64)


def as_picture(image: np.ndarray) -> np.ndarray:
    """Return (h, w, c) float64 in [0, 1]; see `selective_search` for what is taken."""
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or 0 in array.shape or array.shape[2] > 4:
        raise DataError(
            f"selective search takes pictures (h, w) or (h, w, c) with 1 to 4 channels last, not "
            f"an array of shape {np.shape(image)}; move the channels to the end, or choose some"
        )
    if array.dtype == np.uint8:
        return array / 255.0
    if array.dtype.kind not in "buif":
        raise DataError(f"selective search takes numbers, not an array of {array.dtype}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise DataError("the picture has values that are not finite; replace NaN and infinity")
    low, high = array.min(), array.max()
    if np.asarray(image).dtype.kind in "fb" and low >= 0 and high <= 1:
        return array
    return (array - low) / (high - low) if high > low else np.zeros_like(array)


def _groupings(picture: np.ndarray, strategy: Strategy) -> Iterator[tuple]:
    """Yield (regions, similarities) for every distinct grouping of the strategy."""
    names = dict.fromkeys(_space_of(name, picture.shape[2]) for name in strategy.spaces)
    for name in names:
        space = _SPACES[name](picture)
        colour, texture = colour_bins(space), texture_bins(space)
        for k in strategy.thresholds:
            regions = describe(over_segment(space, k), colour, texture)
            for similarities in strategy.similarities:
                yield regions, similarities


def over_segment(space: np.ndarray, k: int) -> np.ndarray:
    """Return the labels (h, w), 0 to R - 1, of Felzenszwalb and Huttenlocher's segmentation.

    Args:
        space: (h, w, c) in [0, 1].
        k: the threshold on the scale of 0 to 255, and the size of the smallest region.
    """
    from skimage.segmentation import felzenszwalb

    if space.shape[0] * space.shape[1] == 1:
        return np.zeros(space.shape[:2], np.int64)  # there are no edges to sort
    # Edges of equal weight are sorted differently by different processors. Noise far below a grey
    # level, the same everywhere, leaves none that are equal.
    noise = np.random.Generator(np.random.PCG64(0)).random(space.shape) * 1e-9
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Got image with third dimension", RuntimeWarning)
        labels = felzenszwalb(space + noise, scale=k, sigma=SIGMA, min_size=k)
    return labels.astype(np.int64)


def _without_duplicates(boxes: np.ndarray) -> np.ndarray:
    first = np.unique(boxes, axis=0, return_index=True)[1]
    return boxes[np.sort(first)]


def _space_of(name: str, channels: int) -> str:
    """Return the colour space that stands for `name` in a picture of so many channels."""
    if channels == 3:
        return name
    if channels == 1:
        return {"lab": "lightness"}.get(name, "grey")
    return {"hsv": "channels", "lab": "shares", "rgi": "shares"}.get(name, "i")


def _hsv(picture: np.ndarray) -> np.ndarray:
    from skimage.color import rgb2hsv

    return rgb2hsv(picture)


def _lab(picture: np.ndarray) -> np.ndarray:
    """Return L, a, b, each scaled to [0, 1] as the 8-bit Lab of the MATLAB and OpenCV codes."""
    from skimage.color import rgb2lab

    return (rgb2lab(picture) * (2.55, 1, 1) + (0, 128, 128)) / 255


def _lightness(picture: np.ndarray) -> np.ndarray:
    return _lab(np.repeat(picture, 3, axis=2))[..., :1]


def _intensity(picture: np.ndarray) -> np.ndarray:
    from skimage.color import rgb2gray

    if picture.shape[2] == 3:
        return rgb2gray(picture)[..., None]
    return picture.mean(axis=2, keepdims=True)


def _shares(picture: np.ndarray) -> np.ndarray:
    """Return the channels' shares of the sum, but for the last, and the intensity."""
    total = picture.sum(axis=2, keepdims=True)
    even = np.full_like(picture, 1 / picture.shape[2])
    shares = np.divide(picture, total, out=even, where=total > 0)
    return np.concatenate([shares[..., :-1], _intensity(picture)], axis=2)


_SPACES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hsv": _hsv,
    "lab": _lab,
    "rgi": _shares,
    "h": lambda picture: _hsv(picture)[..., :1],
    "i": _intensity,
    "channels": lambda picture: picture,
    "shares": _shares,
    "grey": lambda picture: picture,
    "lightness": _lightness,
}
