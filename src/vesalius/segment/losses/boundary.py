"""The boundary loss (Kervadec et al. 2019, arXiv:1812.07032): errors weighted by their distance."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vesalius.errors import RecipeError
from vesalius.segment.losses.base import RegionLoss, one_hot
from vesalius.segment.losses.region import DiceLoss, GeneralisedDiceLoss, IoULoss, TverskyLoss

REGIONS = {
    "dice": DiceLoss,
    "generalised_dice": GeneralisedDiceLoss,
    "iou": IoULoss,
    "tversky": TverskyLoss,
}


class BoundaryLoss(RegionLoss):
    """A region loss + factor x the boundary loss.

    The boundary term is the mean over pixels of phi (p - t), then over images and classes; phi is
    the signed distance to the boundary of the truth, so that each error costs its distance. The
    paper's eq. 5 is phi p alone: the same gradient, without the constant that makes a right answer
    cost 0 and every other more.

    Stated rules, where the paper is silent:
    - phi is the distance to the nearest foreground pixel outside, and minus that to the nearest
      background pixel inside (the authors' code has 1 less inside). Ignored pixels are neither, so
      that the edge of an ignored area is no boundary.
    - Where the labelled pixels of an image are all of the class, or none is, there is no boundary
      and the term is 0; what is wrong there is the region loss's to say.

    The term alone has little to say far from convergence, as the paper finds; so it comes with a
    region loss. There the factor starts at 0.01 and grows; here it is constant. Distances are
    computed on the CPU, in every step.

    Args:
        region: name of the region loss, "generalised_dice" (the paper's), "dice", "iou" or
            "tversky" with its own defaults, or None for the boundary term alone.
        factor: of the boundary term, above 0.
        spacing: distance of neighbouring pixels along each axis, for distances in its unit; None
            for pixels.
        include_background: of the boundary term.
        ignore_index, class_weights: as in every loss, for both terms.

    Raises (when called):
        RecipeError: the number of spacings differs from that of the image's axes.
    """

    def __init__(
        self,
        *,
        region: Literal["dice", "generalised_dice", "iou", "tversky"] | None = "generalised_dice",
        factor: float = 0.01,
        spacing: Sequence[float] | None = None,
        include_background: bool = False,
        ignore_index: int | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        common = {"ignore_index": ignore_index, "class_weights": class_weights}
        super().__init__(include_background=include_background, **common)
        if region is not None and region not in REGIONS:
            raise RecipeError(f"region is '{region}'; give one of {', '.join(REGIONS)}, or None.")
        if not factor > 0:
            raise RecipeError(f"factor is {factor}; it must be above 0.")
        if spacing is not None and not all(0 < step < float("inf") for step in spacing):
            raise RecipeError(f"spacing is {tuple(spacing)}; give numbers above 0.")
        self.region = None if region is None else REGIONS[region](**common)
        self.factor = factor
        self.spacing = None if spacing is None else tuple(spacing)

    def compute(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        loss = self.factor * self._boundary(logits, target, valid)
        return loss if self.region is None else loss + self.region.compute(logits, target, valid)

    def _boundary(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        if self.spacing is not None and len(self.spacing) != target.ndim - 1:
            raise RecipeError(
                f"spacing has {len(self.spacing)} numbers; the images have {target.ndim - 1} axes. "
                "Give one per axis."
            )
        predicted, truth = self.maps(logits, target, valid)
        first = max(logits.shape[1], 2) - truth.shape[1]
        classes = one_hot(target, max(logits.shape[1], 2), dtype=torch.bool)[:, first:]
        distance = signed_distance(classes, valid=valid, spacing=self.spacing).to(logits.dtype)
        sums = (distance * (predicted - truth)).flatten(2).sum(dim=2)
        if valid is None:
            return self.mean_over_classes(sums / target[0].numel())
        return self.mean_over_classes(sums / valid.flatten(1).sum(dim=1, keepdim=True).clamp(min=1))


def signed_distance(
    masks: Tensor, *, valid: Tensor | None = None, spacing: Sequence[float] | None = None
) -> Tensor:
    """Return signed distances to masks, negative inside, 0 where there is no boundary.

    Args:
        masks: (B, K, *size) booleans.
        valid: (B, *size) booleans, which pixels are labelled, or None for all.
        spacing: distance of neighbouring pixels along each axis, or None for 1.

    Returns:
        (B, K, *size) float64 on the device of `masks`: to the nearest labelled pixel of the mask
        outside, minus that to the nearest labelled pixel that is not of the mask inside.
    """
    from scipy.ndimage import distance_transform_edt

    inside = masks.cpu().numpy()
    labelled = None if valid is None else valid.cpu().numpy()
    distances = np.zeros(inside.shape)
    for index in np.ndindex(inside.shape[:2]):
        mask = inside[index]
        outside = ~mask
        if labelled is not None:
            mask, outside = mask & labelled[index[0]], outside & labelled[index[0]]
        if mask.any() and outside.any():
            away = distance_transform_edt(~mask, sampling=spacing)
            within = distance_transform_edt(~outside, sampling=spacing)
            distances[index] = np.where(mask, -within, away)
    return torch.from_numpy(distances).to(masks.device)
