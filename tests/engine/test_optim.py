import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vesalius.engine.optim import SGD, AdamW, Constant, Cosine, Polynomial, decay_groups
from vesalius.engine.recipe import Recipe
from vesalius.errors import RecipeError


def test_warm_up_rises_linearly_to_the_peak_and_the_curve_begins_there():
    for schedule in (Constant(warmup=4), Cosine(warmup=4), Polynomial(warmup=4)):
        rates = [schedule.factor(step, 100) for step in range(5)]
        assert rates == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_starts_at_the_peak_passes_the_middle_and_ends_at_its_floor():
    schedule = Cosine(floor=0.1)
    assert schedule.factor(0, 100) == 1.0
    assert schedule.factor(50, 100) == pytest.approx(0.55)
    assert schedule.factor(100, 100) == pytest.approx(0.1)
    assert schedule.factor(500, 100) == pytest.approx(0.1)


def test_cosine_without_floor_is_torchs_own():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        assert Cosine(floor=0).factor(step, 20) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


def test_polynomial_is_nnunets_rule():
    # nnU-Net v2: initial_lr * (1 - epoch / max_epochs) ** 0.9, here with 1000 epochs.
    golden = {0: 1.0, 100: 0.9**0.9, 500: 0.535886731268146, 999: 0.001**0.9}
    for epoch, factor in golden.items():
        assert Polynomial().factor(epoch, 1000) == pytest.approx(factor, rel=1e-12)
    assert Polynomial().factor(1000, 1000) == 0.0
    assert Polynomial(power=2).factor(25, 100) == pytest.approx(0.5625)


schedules = (
    st.builds(Constant, warmup=st.integers(0, 50))
    | st.builds(Cosine, warmup=st.integers(0, 50), floor=st.floats(0, 1))
    | st.builds(Polynomial, warmup=st.integers(0, 50), power=st.floats(0.1, 5))
)


@given(schedules, st.integers(1, 200))
def test_every_schedule_stays_between_nothing_and_the_peak_and_falls_after_warm_up(schedule, total):
    rates = [schedule.factor(step, total) for step in range(total)]
    assert all(0 < rate <= 1 and math.isfinite(rate) for rate in rates)
    after = rates[schedule.warmup :]
    assert all(later <= earlier for earlier, later in itertools.pairwise(after))


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.batch = nn.BatchNorm2d(2)
        self.layer = nn.LayerNorm(2)
        self.group = nn.GroupNorm(1, 2)
        self.instance = nn.InstanceNorm2d(2, affine=True)
        self.linear = nn.Linear(2, 2)
        self.words = nn.Embedding(3, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_biases_and_norms_do_not_decay_and_frozen_parameters_are_left_out():
    model = Mixed()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, kept = decay_groups(model.named_parameters(), 0.3)
    assert decayed["weight_decay"] == 0.3
    assert kept["weight_decay"] == 0.0
    assert {names[id(p)] for p in decayed["params"]} == {
        *("conv.weight", "linear.weight", "words.weight")
    }
    assert len(kept["params"]) == 2 + 4 * 2  # biases of conv and linear, and four norms
    assert not any("frozen" in names[id(p)] for group in (decayed, kept) for p in group["params"])


def test_a_group_without_parameters_is_left_out():
    assert len(decay_groups(nn.Linear(2, 2, bias=False).named_parameters(), 0.1)) == 1


@pytest.mark.parametrize(
    ("block", "kind", "expected"),
    [
        (AdamW(learning_rate=0.3, betas=(0.8, 0.9)), torch.optim.AdamW, {"betas": (0.8, 0.9)}),
        (SGD(learning_rate=0.3), torch.optim.SGD, {"momentum": 0.99, "nesterov": True}),
        (SGD(learning_rate=0.3, momentum=0), torch.optim.SGD, {"momentum": 0, "nesterov": False}),
    ],
)
def test_an_optimizer_is_built_as_its_block_says(block, kind, expected):
    optimizer = block.build(Mixed())
    assert type(optimizer) is kind
    for group in optimizer.param_groups:
        assert group["lr"] == 0.3
        assert {key: group[key] for key in expected} == expected
    assert [group["weight_decay"] for group in optimizer.param_groups] == [block.weight_decay, 0.0]


@pytest.mark.parametrize(
    "override",
    [
        "optimizer.learning_rate=0",
        "optimizer.betas=[0.9, 1.0]",
        "optimizer.betas=[-0.1, 0.5]",
        "optimizer.weight_decay=-1",
        "schedule.floor=2",
        "schedule.warmup=-1",
    ],
)
def test_impossible_values_are_refused(override):
    with pytest.raises(RecipeError, match=override.partition("=")[0]):
        Recipe.load(None, [override])
