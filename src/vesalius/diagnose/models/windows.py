"""Long records in windows: cut, encode as one batch, put together, average the overlaps.

A window is encoded only if it holds a real token that the one before does not, so neither padding
nor the other records of a batch change a record's vectors.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def encode_in_windows(
    encode: Callable[[Tensor, Tensor], Tensor],
    embedded: Tensor,
    mask: Tensor,
    *,
    window: int,
    stride: int,
) -> Tensor:
    """Return the encoder's vectors of sequences of any length.

    Args:
        encode: (embedded (N, window, E), mask (N, window)) -> vectors (N, window, D).
        embedded: embedded tokens (B, T, E).
        mask: bool (B, T), true on real tokens, which stand before the padding.
        window: tokens per window.
        stride: tokens between the starts of windows, at most `window`.

    Returns:
        (B, T, D); what stands on padding means nothing. A token in several windows has the mean of
        their vectors.
    """
    batch, length = mask.shape
    if length <= window:
        return encode(embedded, mask)
    starts = range(0, length - window + stride, stride)
    beyond = starts[-1] + window - length
    embedded, padded = F.pad(embedded, (0, 0, 0, beyond)), F.pad(mask, (0, beyond))
    places = torch.tensor(starts, device=mask.device)[:, None] + torch.arange(
        window, device=mask.device
    )
    record, number = _needed(padded, starts, window, stride)
    rows, columns = record[:, None], places[number]
    vectors = encode(embedded[rows, columns], padded[rows, columns])
    flat = (rows * padded.shape[1] + columns).flatten()
    total = vectors.new_zeros(batch * padded.shape[1], vectors.shape[-1])
    total = total.index_add(0, flat, vectors.flatten(0, 1))
    count = total.new_zeros(len(total)).index_add(0, flat, total.new_ones(len(flat)))
    mean = total / count.clamp_min(1)[:, None]
    return mean.unflatten(0, (batch, -1))[:, :length]


def _needed(mask: Tensor, starts: range, window: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return the record and the number of each window that must be encoded."""
    lengths = mask.sum(1, keepdim=True)
    covered = torch.tensor(starts, device=mask.device) - stride + window
    covered[0] = -1  # the first window is encoded even of an empty record
    return torch.nonzero(lengths > covered, as_tuple=True)
