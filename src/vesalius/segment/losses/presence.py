"""The loss of U-Net 3+'s classification-guided module: does a class occur in the image?"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.errors import DataError


class PresenceLoss(nn.Module):
    """Binary cross-entropy of presence logits against what occurs in the label maps.

    The logit is the difference of the module's pair (absent, present), so this is the
    cross-entropy of the pair's softmax; the paper takes a binary cross-entropy of its two sigmoids.

    Args:
        ignore_index: label of pixels that count for nothing. An image without any other pixel is
            left out of the mean.
    """

    def __init__(self, *, ignore_index: int | None = None):
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, presence: Tensor, target: Tensor) -> Tensor:
        """Return the loss of presence (B, foreground classes) for target (B, *size)."""
        if presence.ndim != 2 or presence.shape[0] != target.shape[0]:
            raise DataError(
                f"Presence logits of shape {tuple(presence.shape)} do not belong to a target of "
                f"shape {tuple(target.shape)}. Give (B, foreground classes) and (B, *size)."
            )
        pixels = target.flatten(1)
        occurs = torch.stack(
            [(pixels == label).any(dim=1) for label in range(1, presence.shape[1] + 1)], dim=1
        )
        with torch.autocast(presence.device.type, enabled=False):
            terms = F.binary_cross_entropy_with_logits(
                presence.float(), occurs.float(), reduction="none"
            ).mean(dim=1)
            if self.ignore_index is None:
                return terms.mean()
            labelled = (pixels != self.ignore_index).any(dim=1)
            return (terms * labelled).sum() / labelled.sum().clamp(min=1)
