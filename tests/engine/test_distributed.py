"""Two gloo processes are started once; each does all jobs below and stores what it found."""

import copy
import os
from contextlib import suppress

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from tests.engine.test_loop import train, weights
from vesalius.engine import distributed
from vesalius.engine.data import Batch
from vesalius.engine.distributed import freeze_batch_norm, parallel, unwrapped
from vesalius.engine.steps import FGM, VAT, Passes, PlainStep
from vesalius.errors import RecipeError, TrainingError

# --- jobs ---------------------------------------------------------------------------------------

NORMS = {
    "1d": (lambda: nn.BatchNorm1d(3), (8, 3)),
    "2d": (lambda: nn.BatchNorm2d(3), (8, 3, 4, 5)),
    "3d": (lambda: nn.BatchNorm3d(3), (8, 3, 2, 3, 4)),
    "not affine": (lambda: nn.BatchNorm2d(3, affine=False), (8, 3, 4, 5)),
    "cumulative": (lambda: nn.BatchNorm1d(3, momentum=None), (8, 3)),
    "without statistics": (lambda: nn.BatchNorm1d(3, track_running_stats=False), (8, 3)),
    "double": (lambda: nn.BatchNorm1d(3).double(), (8, 3)),
    "far from zero": (lambda: nn.BatchNorm1d(3), (8, 3)),
}
SHARES = (slice(0, 3), slice(3, 8))  # processes may hold different numbers of cases


def norm_case(name):
    """A norm with its own weights, the joint batch, and what its outputs are weighted with."""
    make, shape = NORMS[name]
    generator = torch.Generator().manual_seed(5)
    norm = make()
    dtype = torch.float64 if name == "double" else torch.float32
    for parameter in norm.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).to(dtype)
    x = torch.randn(shape, generator=generator).to(dtype)
    if name == "far from zero":
        x = 1000 + 0.1 * x
    return norm, x, torch.randn(shape, generator=generator).to(dtype)


def normalised(norm, x, factors):
    """Two training passes: output, gradients, statistics."""
    for _ in range(2):
        norm.zero_grad()
        x = x.detach().clone().requires_grad_(True)
        out = norm(x)
        (out * factors).sum().backward()
    found = {"out": out.detach(), "x.grad": x.grad}
    found |= {f"{name}.grad": p.grad for name, p in norm.named_parameters()}
    return found | dict(norm.named_buffers())


def job_batch_norm(rank, _folder):
    found = {}
    for name in NORMS:
        norm, x, factors = norm_case(name)
        distributed.synchronise_batch_norm(norm)
        found[name] = normalised(norm, x[SHARES[rank]], factors[SHARES[rank]])
        found[name]["eval"] = norm.eval()(x).detach()
    return found


def job_words(rank, _folder):
    mean = distributed.mean(torch.tensor([1.0, 3.0]) * (rank + 1))
    return {
        "world": distributed.world_size(),
        "rank": distributed.rank(),
        "agree": [distributed.agree(True), distributed.agree(rank == 0), distributed.agree(False)],
        "first": distributed.from_first({"from": rank}),
        "gather": distributed.gather(("of", rank)),
        "mean": mean.tolist(),
    }


class Net(nn.Module):
    """Its input's gradient is infinite on the second process; one head is not in the logits."""

    def __init__(self):
        super().__init__()
        self.embedding, self.norm = nn.Linear(4, 5), nn.BatchNorm1d(5)
        self.head, self.side = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x):
        hidden = torch.tanh(self.norm(self.embedding(x)))
        return [self.head(hidden), self.side(hidden)]


class Overflow(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("inf")


def both_heads(model, batch):
    first, second = model(batch.inputs)
    return {
        "first": F.cross_entropy(first, batch.targets),
        "second": F.cross_entropy(second, batch.targets),
    }


def overflowing(model, batch):
    return both_heads(model, Batch(batch.ids, Overflow.apply(batch.inputs), batch.targets))


def net_and_batch():
    generator = torch.Generator().manual_seed(6)
    torch.manual_seed(6)
    net = Net()
    inputs = torch.randn(8, 4, generator=generator)
    return net, Batch(list("abcdefgh"), inputs, torch.arange(8) % 3)


def stepped(step, net, batch, loss):
    def backward(terms):
        torch.stack(list(terms.values())).sum().backward()

    def synchronise(active):
        return distributed.synchronising(net, active)

    for _ in range(2):  # a second step fails where the first left the wrapper waiting
        net.zero_grad()
        terms = step(Passes(net, loss, backward, synchronise), batch)
    inner = unwrapped(net)
    found = {f"{name}.grad": p.grad for name, p in inner.named_parameters()}
    return (
        {"terms": {k: v.detach() for k, v in terms.items()}} | found | dict(inner.named_buffers())
    )


def job_steps(rank, _folder):
    found = {}
    for name, step, loss in (
        ("plain", PlainStep(), both_heads),
        ("vat", VAT(on="inputs"), both_heads),
        ("overflow", FGM(on="inputs"), overflowing if rank == 1 else both_heads),
    ):
        net, batch = net_and_batch()
        net = parallel(net, "replicate", torch.device("cpu"))
        half = slice(4 * rank, 4 * rank + 4)
        own = Batch(batch.ids[half], batch.inputs[half], batch.targets[half])
        torch.manual_seed(rank)
        found[name] = stepped(step, net, own, loss)
    return found


RUNS = {
    "fgm": ("step={name: fgm, on: weights, match: '*weight', epsilon: 0.3}",),
    "pgd": ("step={name: pgd, on: weights, match: '*weight', epsilon: 0.3, alpha: 0.2}",),
    "awp": ("step={name: awp, gamma: 0.2}",),
    "vat": ("step={name: vat, epsilon: 0.3, on: inputs, outputs: categorical}",),
    "freelb": ("step={name: freelb}",),
    "mixup": ("pieces=[{name: mixup}, {name: swa, start: 0.0}]",),
}
COMMON = ("dropout=0", "keep=last", "epochs=2", "batch_norm=false", "optimizer.name=sgd")
COMMON += ("checkpoint_minutes=5",)


def job_fit(rank, folder):
    for sharding in ("replicate", "fsdp"):
        for name, overrides in RUNS.items():
            train(folder / f"{sharding}-{name}", *COMMON, *overrides, f"sharding={sharding}", n=24)
    with suppress(TrainingError):  # on both, although only one of them holds the case
        train(folder / "poison", *COMMON, "poison=p3", n=24)
        return "no error"
    return "error"


JOBS = {"batch_norm": job_batch_norm, "words": job_words, "steps": job_steps, "fit": job_fit}


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = {name: job(rank, folder) for name, job in JOBS.items()}
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes found, by job, and the folder of their runs."""
    folder = tmp_path_factory.mktemp("two")
    torch.multiprocessing.spawn(work, args=(folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)], folder


# --- in two processes ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NORMS)
def test_batch_norm_over_two_processes_is_batch_norm_on_the_joint_batch(two, name):
    norm, x, factors = norm_case(name)
    # In float64 against rounding: the joint batch far from zero is hard for float32 itself.
    expected = normalised(norm.double(), x.double(), factors.double())
    parts = [found["batch_norm"][name] for found in two[0]]
    loose = (
        {"rtol": 2e-3, "atol": 2e-3} if name == "far from zero" else {"rtol": 1e-5, "atol": 1e-5}
    )
    assert parts[0].keys() == expected.keys() | {"eval"}
    for key, value in expected.items():
        if key in ("out", "x.grad"):
            together = torch.cat([part[key] for part in parts])
            torch.testing.assert_close(together.double(), value, **loose)
        elif key.endswith(".grad"):
            summed = parts[0][key] + parts[1][key]
            torch.testing.assert_close(summed.double(), value, **loose)
        else:
            for part in parts:
                torch.testing.assert_close(part[key].to(value.dtype), value, **loose)
    torch.testing.assert_close(parts[0]["eval"].double(), norm.eval()(x.double()), **loose)


def test_processes_agree_gather_and_average(two):
    for rank, found in enumerate(two[0]):
        assert found["words"] == {
            "world": 2,
            "rank": rank,
            "agree": [True, False, False],
            "first": {"from": 0},
            "gather": [("of", 0), ("of", 1)],
            "mean": [1.5, 4.5],
        }


@pytest.mark.parametrize("name", ["plain", "vat", "overflow"])
def test_all_processes_end_a_step_with_the_same_gradients_and_statistics(two, name):
    one, other = (found["steps"][name] for found in two[0])
    for key in one.keys() - {"terms"}:
        assert torch.equal(one[key], other[key]), key
        assert torch.isfinite(one[key]).all()
    assert one["side.weight.grad"].abs().sum() > 0


def test_one_processs_gradient_that_is_not_finite_spares_all_the_perturbation(two):
    plain, found = (two[0][0]["steps"][name] for name in ("plain", "overflow"))
    assert found["terms"]["adversarial_first"] == 0
    assert two[0][1]["steps"]["overflow"]["terms"]["adversarial_first"] == 0
    for key in plain.keys() - {"terms"}:
        torch.testing.assert_close(found[key], plain[key], rtol=1e-5, atol=1e-7)
    net, batch = net_and_batch()
    joint = stepped(PlainStep(), net, batch, both_heads)
    for key in joint.keys() - {"terms"}:
        torch.testing.assert_close(found[key], joint[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["fgm", "pgd", "awp"])
@pytest.mark.parametrize("sharding", ["replicate", "fsdp"])
def test_attacks_on_weights_in_two_processes_are_those_of_one(two, tmp_path, name, sharding):
    # Replicas each attack by their own micro-batch's gradient, as micro-steps do; shards of one
    # model can only move together, by the gradient of the whole batch.
    parts = "accumulate=2" if sharding == "replicate" else "accumulate=1"
    train(tmp_path / "one", *COMMON, *RUNS[name], parts, n=24)
    one, both = weights(tmp_path / "one"), weights(two[1] / f"{sharding}-{name}")
    for key in one:
        torch.testing.assert_close(one[key], both[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["vat", "freelb"])
@pytest.mark.parametrize("sharding", ["replicate", "fsdp"])
def test_random_starts_differ_between_processes_but_training_goes_on(two, name, sharding):
    found = weights(two[1] / f"{sharding}-{name}")
    plain = weights(two[1] / f"{sharding}-mixup")
    assert all(torch.isfinite(value).all() for value in found.values())
    assert not torch.equal(found["head.weight"], plain["head.weight"])


def test_mixup_and_averages_do_not_depend_on_sharding(two):
    one, other = (weights(two[1] / f"{s}-mixup") for s in ("replicate", "fsdp"))
    for key in one:
        torch.testing.assert_close(one[key], other[key], rtol=1e-4, atol=1e-6)


def test_an_error_in_one_process_ends_both(two):
    assert [found["fit"] for found in two[0]] == ["error", "error"]


# --- in one process -----------------------------------------------------------------------------


def test_a_single_process_needs_no_second_version():
    assert distributed.world_size() == 1
    assert distributed.rank() == 0
    assert distributed.agree(False) is False
    assert distributed.gather(3) == [3]
    assert distributed.from_first("x") == "x"
    assert float(distributed.mean(torch.tensor(2.0))) == 2.0
    distributed.barrier()
    net = nn.Linear(1, 1)
    assert parallel(net, "replicate", torch.device("cpu")) is net
    assert unwrapped(net) is net
    with pytest.raises(RecipeError, match="start with torchrun"):
        parallel(net, "fsdp", torch.device("cpu"))


def test_the_first_process_is_known_before_processes_meet(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert not distributed.launched()
    assert distributed.is_first()
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    monkeypatch.setitem(os.environ, "RANK", "1")
    assert distributed.launched()
    assert not distributed.is_first()


def test_synchronised_batch_norm_is_batch_norm_in_a_single_process():
    norm = nn.BatchNorm1d(3)
    other = copy.deepcopy(norm)
    distributed.synchronise_batch_norm(other)
    x = torch.randn(5, 3)
    assert torch.equal(norm(x), other(x))
    assert torch.equal(norm.running_var, other.running_var)


NORMALISED = [
    nn.BatchNorm1d(3),
    nn.BatchNorm1d(3, momentum=None),
    nn.InstanceNorm1d(3, track_running_stats=True),
    nn.BatchNorm1d(3, track_running_stats=False),
]


@pytest.mark.parametrize("norm", NORMALISED, ids=["batch", "cumulative", "instance", "without"])
def test_frozen_statistics_do_not_move_but_batches_are_still_normalised(norm):
    model = nn.Sequential(norm)
    norm(torch.randn(4, 3, 5))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    buffers = list(model.buffers())
    x = torch.randn(4, 3, 5) + 7
    free = copy.deepcopy(model)(x)
    with freeze_batch_norm(model):
        assert torch.equal(model(x), free)
        with freeze_batch_norm(model):  # a frozen pass inside a frozen pass
            model(x)
        model(x)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(one is other for one, other in zip(model.buffers(), buffers, strict=True))
    with pytest.raises(AttributeError), freeze_batch_norm(model):
        model(None)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with freeze_batch_norm(model, False):
        model(x)
    if norm.track_running_stats:
        assert not torch.equal(model.state_dict()["0.running_mean"], before["0.running_mean"])
