"""Losses that are smooth forms of the score itself: macro F1, sigmoidF1, Hamming.

Most labels have no positive in a small batch (72 % of 50 long-tailed labels in batches of 8), and
their F1 is then constant. So the F1 losses also count over a queue of past batches: three sums per
batch and label, constants for the gradient.
"""

import torch
from torch import Tensor

from vesalius.diagnose.losses.base import MultiLabelLoss
from vesalius.errors import RecipeError


class _CountedF1Loss(MultiLabelLoss):
    """1 - mean over labels of soft F1, counted over this batch and a queue of earlier ones.

    Soft F1 of a label is (2 tp + s) / (sum p + sum y + s), tp = sum p y, with a small s: a label
    that is nowhere true and nowhere predicted has F1 1, and predicting it costs.

    The value: let past be the F1 of the queue alone, all that of queue and batch, k = records of
    both / records of the batch. The batch answers for past + k (all - past), its jackknife
    pseudo-value. Without a queue that is the plain batch F1; with one its gradient is that of the
    F1 of all records times k, so its size does not shrink as the queue fills (it would, by the
    length of the queue, under Adam's long memory). The value itself may lie outside 0 to 1.

    The queue moves in training mode where the logits need a gradient, and is keyed on the targets:
    calls with the targets of the latest call are the same batch (an adversarial step, a gradient
    check) and replace its entry; a batch never counts itself. In eval mode the loss counts its
    batch alone and `eval()` empties the queue. Each process of a distributed run has its own.

    Args:
        queue: how many past batches are counted; 0: none.
        smooth: s, in records.
    """

    sums: Tensor
    records: Tensor
    place: Tensor
    latest: Tensor

    def __init__(self, *, queue: int = 64, smooth: float = 0.1):
        super().__init__()
        if queue < 0 or smooth <= 0:
            raise RecipeError(f"queue is {queue} (at least 0) and smooth {smooth} (above 0)")
        self.queue, self.smooth = queue, smooth
        # One row more than the queue is long: the latest batch lies in it but is not its own past.
        self.register_buffer("sums", torch.zeros(queue + 1, 3, 0))
        self.register_buffer("records", torch.zeros(queue + 1))
        self.register_buffer("place", torch.zeros(1, dtype=torch.long))
        self.register_buffer("latest", torch.zeros(0, 0))

    def activation(self, logits: Tensor) -> Tensor:
        """Return what counts as the probability of a positive answer."""
        return logits.sigmoid()

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return 1 - mean over labels of the batch's pseudo-value of F1."""
        answers = self.activation(logits)
        batch = torch.stack([(answers * targets).sum(0), answers.sum(0), targets.sum(0)])
        if not (self.training and self.queue):
            return 1 - self._f1(batch).mean()
        past, records = self._past(batch, targets)
        factor = 1 + records / len(targets)
        before = self._f1(past)
        return 1 - (before + factor * (self._f1(past + batch) - before)).mean()

    def _f1(self, sums: Tensor) -> Tensor:
        return (2 * sums[0] + self.smooth) / (sums[1] + sums[2] + self.smooth)

    @torch.no_grad()
    def _past(self, batch: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums (3, labels) and the number of records before this batch."""
        self._fit_to(targets)
        place = self._place_of(targets)
        own = torch.arange(self.queue + 1, device=place.device) == place
        past = self.sums.masked_fill(own[:, None, None], 0).sum(0)
        records = self.records.masked_fill(own, 0).sum()
        if batch.requires_grad:
            self.sums.index_copy_(0, place, batch.detach()[None].to(self.sums))
            self.records.index_fill_(0, place, float(len(targets)))
            self.place, self.latest = place, targets.detach().clone()
        return past.to(batch), records.to(batch)

    def _place_of(self, targets: Tensor) -> Tensor:
        """Return the row of this batch, (1,): the latest if it is that batch again, else the next.

        Without a look at values, so that an accelerator need not be waited for.
        """
        if self.latest.shape != targets.shape:
            return (self.place + 1) % (self.queue + 1)
        fresh = (self.latest != targets).any().long()
        return (self.place + fresh) % (self.queue + 1)

    def _fit_to(self, targets: Tensor) -> None:
        if self.sums.shape[2] == 0:
            self.sums = torch.zeros(self.queue + 1, 3, targets.shape[1], device=targets.device)
            self.records, self.place = (
                self.records.to(targets.device),
                self.place.to(targets.device),
            )
        if self.sums.shape[2] != targets.shape[1]:
            raise RecipeError(
                f"the queue counts {self.sums.shape[2]} labels; this batch has {targets.shape[1]}. "
                "Make one loss per model, or call reset()."
            )

    def reset(self) -> None:
        """Forget all past batches."""
        self.sums, self.records = self.sums[:, :, :0], torch.zeros_like(self.records)
        self.latest = self.latest[:0, :0]

    def train(self, mode: bool = True) -> "_CountedF1Loss":
        """Switch between training and evaluation, which empties the queue."""
        if not mode:
            self.reset()
        return super().train(mode)

    def _load_from_state_dict(self, state_dict, prefix, *arguments) -> None:
        # The buffers have the size of the labels, which a new loss does not know yet.
        for name in ("sums", "latest"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, getattr(self, name).new_zeros(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class MacroF1Loss(_CountedF1Loss):
    """Soft macro F1: 1 - mean over labels of 2 tp / (2 tp + fp + fn) with probabilities as counts.

    See the base class for the queue. Mix it with a cross-entropy where training starts slowly:
    where all probabilities are near 0 its gradient is small.

    Args:
        queue: how many past batches are counted; 0: none.
        smooth: added to both sides of the fraction, in records.
    """


class SigmoidF1Loss(_CountedF1Loss):
    """SigmoidF1 (Benedict et al. 2022): soft macro F1 of S(z) = 1 / (1 + exp(-beta (z + eta))).

    The paper's formula on logits. Its published code applies S to probabilities, which leaves it
    between 0.50 and 0.73, so that perfect logits cost 0.86. beta = 1, eta = 0 is soft macro F1.

    Args:
        beta: slope; the larger, the closer to counting decisions.
        eta: offset; the decision is z > -eta.
        queue, smooth: as in `MacroF1Loss`.
    """

    def __init__(
        self, *, beta: float = 2.0, eta: float = 0.0, queue: int = 64, smooth: float = 0.1
    ):
        super().__init__(queue=queue, smooth=smooth)
        if beta <= 0:
            raise RecipeError(f"beta is {beta}; give a slope above 0")
        self.beta, self.eta = beta, eta

    def activation(self, logits: Tensor) -> Tensor:
        """Return S(z)."""
        return torch.sigmoid(self.beta * (logits + self.eta))


class HammingLoss(MultiLabelLoss):
    """Soft Hamming loss: the expected share of wrong labels, mean of p (1 - y) + (1 - p) y."""

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over records and labels."""
        return (logits.sigmoid() * (1 - targets) + logits.neg().sigmoid() * targets).mean()
