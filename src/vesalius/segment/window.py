"""Predict images of any size by a sliding window.

Windows of the patch size overlap; their probabilities are averaged with weights that fall off
like a Gaussian towards the border (sigma: an eighth of the window, nnU-Net's choice), because a
network sees less context there. Probabilities are averaged, not logits, so that a class which a
model rules out with a logit of minus infinity in one window can still be found in another.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


def positions(size: int, window: int, overlap: float) -> list[int]:
    """Return evenly spread window starts that cover `size` with at least the given overlap."""
    if size <= window:
        return [0]
    stride = max(1, int(window * (1 - overlap)))
    count = -(-(size - window) // stride) + 1
    return [round(index * (size - window) / (count - 1)) for index in range(count)]


def gaussian_weights(window: Sequence[int], *, like: Tensor) -> Tensor:
    """Return weights (*window) with maximum 1 and minimum above 0 (a tenth of a thousandth)."""
    weights = torch.ones((), dtype=torch.float32, device=like.device)
    for side in window:
        x = torch.arange(side, dtype=torch.float32, device=like.device) - (side - 1) / 2
        weights = weights[..., None] * torch.exp(-0.5 * (x / (side / 8)) ** 2)
    return (weights / weights.max()).clamp_min(1e-4)


def predict_whole(
    probabilities: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    window: Sequence[int],
    overlap: float = 0.5,
    gaussian: bool = True,
    mirror: bool | Sequence[int] = False,
) -> Tensor:
    """Return the probabilities (labels, *size) of one image (C, *size).

    Args:
        probabilities: maps (1, C, *window) to (1, labels, *window).
        image: an image of any size. Where it is no larger than the window along every axis it is
            predicted in one pass, at its own size.
        window: window size per spatial axis.
        overlap: least share of a window that its neighbour covers too, 0 to below 1.
        gaussian: weight centres more than borders.
        mirror: average over the copies mirrored along these spatial axes; True: along all.
    """
    axes = range(image.ndim - 1) if mirror is True else mirror or ()
    ask = _mirrored(probabilities, axes) if axes else probabilities
    size = tuple(image.shape[1:])
    if all(n <= w for n, w in zip(size, window, strict=True)):
        return ask(image[None])[0].float()
    window = tuple(min(n, w) for n, w in zip(size, window, strict=True))
    weights = gaussian_weights(window, like=image) if gaussian else image.new_ones(window)
    total: Tensor | None = None
    norm = image.new_zeros(size, dtype=torch.float32)
    for place in _places(size, window, overlap):
        found = ask(image[(slice(None), *place)][None])[0].float()
        if total is None:
            total = found.new_zeros((found.shape[0], *size))
        total[(slice(None), *place)].addcmul_(found, weights)
        norm[place] += weights
    return total.div_(norm)


def _places(size, window, overlap: float) -> Iterator[tuple[slice, ...]]:
    starts = [positions(n, w, overlap) for n, w in zip(size, window, strict=True)]
    for corner in itertools.product(*starts):
        yield tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True))


def _mirrored(
    probabilities: Callable[[Tensor], Tensor], axes: Sequence[int]
) -> Callable[[Tensor], Tensor]:
    ways = [
        [axis + 2 for axis, chosen in zip(axes, choice, strict=True) if chosen]
        for choice in itertools.product((False, True), repeat=len(axes))
    ]

    def ask(images: Tensor) -> Tensor:
        found = [probabilities(images.flip(flipped)).flip(flipped) for flipped in ways]
        return torch.stack(found).mean(0)

    return ask
