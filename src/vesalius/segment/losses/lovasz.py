"""The Lovasz extension of the Jaccard loss (Berman et al. 2018, arXiv:1705.08790).

The Jaccard loss is a function of the set of wrong pixels; its Lovasz extension is the convex,
piecewise linear function that continues it to pixel errors between right (0) and wrong (1).
Sorted from the largest error down, each pixel's error counts with what the pixel adds to the
Jaccard loss when it joins the set of those before it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vesalius.segment.losses.base import RegionLoss


class LovaszLoss(RegionLoss):
    """Lovasz-softmax (C >= 2) and Lovasz hinge (C = 1), mean over images and classes.

    Ignored pixels are left out exactly. An absent class costs its largest error. Unlike in the
    authors' code the background has no term unless `include_background` says so.

    Args:
        hinge: of a binary model: pixel errors are max(0, 1 - logit x (+1 or -1)), as in the paper;
            without it they are |probability - truth|, as for several classes.
        batch: one set of all pixels of the batch, instead of one per image and then the mean.
        present_only: leave absent classes out of the mean, as the authors' code does for several
            classes; where no class counts the loss is 0, so nothing then speaks against false
            positives.
        include_background, ignore_index, class_weights: see `RegionLoss`. The hinge has one term,
            of the foreground.
    """

    def __init__(
        self,
        *,
        hinge: bool = True,
        batch: bool = False,
        present_only: bool = False,
        include_background: bool = False,
        ignore_index: int | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__(
            include_background=include_background,
            ignore_index=ignore_index,
            class_weights=class_weights,
        )
        self.hinge, self.batch, self.present_only = hinge, batch, present_only

    def compute(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        if self.hinge and logits.shape[1] == 1:
            errors, truth = _hinge_errors(logits, target, valid)
        else:
            probabilities, truth = self.maps(logits, target, valid)
            errors = (probabilities - truth).abs()
        errors, truth = errors.flatten(2), truth.flatten(2)
        if self.batch:
            errors, truth = (x.transpose(0, 1).flatten(1).unsqueeze(0) for x in (errors, truth))
        terms = lovasz_jaccard(errors, truth)
        weights = self._class_weights(terms)
        if self.present_only:
            weights = weights * (truth.amax(dim=-1) > 0)
        total = weights.sum(dim=-1)
        return ((terms * weights).sum(dim=-1) / torch.where(total > 0, total, 1)).mean()

    def _class_weights(self, terms: Tensor) -> Tensor:
        """Return the weights of (..., K) terms; the hinge's only term counts whatever it is."""
        weights = torch.ones_like(terms)
        if self.class_weights is None or terms.shape[-1] == 1:
            return weights
        first = 0 if self.include_background else 1
        return weights * self.class_weights[first:].to(terms.dtype)


def lovasz_jaccard(errors: Tensor, truth: Tensor) -> Tensor:
    """Return the Lovasz extension of the Jaccard loss over the last axis.

    Args:
        errors: (..., N), at least 0. A pixel with the error 0 and the truth 0 counts for nothing.
        truth: (..., N) zeros and ones.
    """
    errors, order = errors.sort(dim=-1, descending=True)
    return (errors * _increments(truth.gather(-1, order))).sum(dim=-1)


@torch.no_grad()
def _increments(truth: Tensor) -> Tensor:
    """Return what each pixel, in this order, adds to the Jaccard loss of those before it.

    With I true pixels not yet wrong and U pixels in the union, both counted with the pixel at
    hand: a true pixel adds 1 / U, another I / (U (U - 1)). Differences of 1 - I / U would cancel.
    """
    true = truth > 0
    area = true.sum(dim=-1, keepdim=True)
    intersection = area - true.cumsum(dim=-1)
    union = area + (~true).cumsum(dim=-1)
    union, intersection = union.to(truth.dtype), intersection.to(truth.dtype)
    added = torch.where(true, 1 / union, intersection / (union * (union - 1).clamp(min=1)))
    # Without a true pixel the first wrong one makes the loss 1.
    added[..., :1] = torch.where(area > 0, added[..., :1], 1.0)
    return added


def _hinge_errors(logits: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    truth = target.unsqueeze(1).to(logits.dtype)
    errors = torch.relu(1 - logits * (2 * truth - 1))
    # The clean target is 0 where ignored; without an error such a pixel counts for nothing.
    return errors if valid is None else errors * valid.unsqueeze(1), truth
