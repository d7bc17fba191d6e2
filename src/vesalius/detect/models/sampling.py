"""Which anchors or proposals a network learns from, and what each of them should find.

Girshick 2015 (Fast R-CNN, arXiv:1504.08083), section 2.3, and Ren et al. 2015 (Faster R-CNN),
sections 3.1.2 and 3.1.3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

BACKGROUND = -1
IGNORED = -2


def match(
    overlaps: Tensor,
    *,
    foreground: float,
    background: Sequence[float],
    keep_best: bool = False,
) -> Tensor:
    """Assign every candidate to an object, to the background, or to neither.

    Args:
        overlaps: IoU (objects, candidates).
        foreground: candidates with at least this IoU belong to the object of the largest one.
        background: (low, high): candidates with low <= IoU < high are background; what lies
            between `high` and `foreground`, or below `low`, is ignored.
        keep_best: also take the candidates whose IoU is an object's largest (all that tie), so
            that no object that touches a candidate is left without one. As in torchvision, such a
            candidate belongs to the object that it overlaps most; unlike there, an object that no
            candidate touches takes none (there it would take all of them).

    Returns:
        (candidates,) int64: index of the object, `BACKGROUND` or `IGNORED`.
    """
    objects, candidates = overlaps.shape
    if objects == 0:
        empty = torch.full((candidates,), BACKGROUND, device=overlaps.device)
        return empty if background[0] <= 0 else empty.fill_(IGNORED)
    values, owners = overlaps.max(dim=0)
    result = torch.full_like(owners, IGNORED)
    result[(values >= background[0]) & (values < background[1])] = BACKGROUND
    positive = values >= foreground
    if keep_best and candidates:
        best = overlaps.amax(dim=1, keepdim=True)
        positive = positive | ((overlaps == best) & (best > 0)).any(dim=0)
    return torch.where(positive, owners, result)


def balanced_sample(
    matches: Tensor, *, count: int, foreground_share: float
) -> tuple[Tensor, Tensor]:
    """Draw candidates at random: at most a share of foreground, the rest background.

    Draws from torch's default generator of the candidates' device.

    Args:
        matches: (candidates,) answer of `match`.
        count: how many to draw; fewer where there are not as many.
        foreground_share: largest share of `count` that is foreground.

    Returns:
        Indices of the foreground and of the background, each in order of the draw.
    """
    foreground = torch.nonzero(matches >= 0).flatten()
    background = torch.nonzero(matches == BACKGROUND).flatten()
    positives = min(int(count * foreground_share), len(foreground))
    negatives = min(count - positives, len(background))
    return _drawn(foreground, positives), _drawn(background, negatives)


def _drawn(indices: Tensor, count: int) -> Tensor:
    return indices[torch.randperm(len(indices), device=indices.device)[:count]]
