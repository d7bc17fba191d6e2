import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.engine.test_loop import train
from vesalius.engine.data import Batch
from vesalius.engine.pieces import BY_NAME, EMA, SWA, Mixup, Piece
from vesalius.engine.recipe import Recipe
from vesalius.errors import RecipeError


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def state(net):
    return {key: value.clone() for key, value in net.state_dict().items()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


def walk(net, *pieces, steps):
    """Move the weights at random; return what they were after each step."""
    generator = torch.Generator().manual_seed(1)
    for piece in pieces:
        piece.start(net, steps)
    visited = []
    for step in range(steps):
        net.train()(torch.randn(6, 3, generator=generator))  # moves the running statistics
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        for piece in pieces:
            piece.after_step(net, step)
        visited.append(state(net))
    return visited


def borrowed(piece, net):
    with piece.evaluating(net):
        return state(net)


def test_ema_equals_the_average_written_out_by_hand():
    net, piece = model(), EMA(decay=0.9)
    average = {key: value.double() for key, value in state(net).items()}
    visited = walk(net, piece, steps=30)
    for n, weights in enumerate(visited):
        decay = min(0.9, (1 + n) / (10 + n))
        for key, value in weights.items():
            if value.is_floating_point():
                average[key] = decay * average[key] + (1 - decay) * value.double()
    found = borrowed(piece, net)
    for key, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), average[key], rtol=1e-5, atol=1e-5)
    assert int(found["1.num_batches_tracked"]) == 30  # counters are copied, not averaged
    assert "1.running_mean" in found


@pytest.mark.parametrize(
    ("start", "every", "entering"), [(0.75, 1, range(15, 20)), (0, 7, (0, 7, 14))]
)
def test_swa_is_the_mean_of_the_last_parts_weights(start, every, entering):
    net, piece = model(), SWA(start=start, every=every)
    visited = walk(net, piece, steps=20)
    found = borrowed(piece, net)
    for key, value in found.items():
        if value.is_floating_point():
            mean = torch.stack([visited[step][key].double() for step in entering]).mean(0)
            torch.testing.assert_close(value.double(), mean, rtol=1e-5, atol=1e-6)


def test_swa_before_its_start_is_the_trained_model_bit_for_bit():
    net, piece = model(), SWA(start=0.9)
    piece.start(net, 100)
    for step in range(3):
        net.train()(torch.randn(6, 3))
        with torch.no_grad():
            net[0].weight.add_(1)
        piece.after_step(net, step)
    assert piece.first == 90
    assert_equal(borrowed(piece, net), state(net))


@pytest.mark.parametrize("piece", [EMA(), SWA(start=0)])
def test_evaluation_borrows_the_average_and_gives_the_weights_back_bit_for_bit(piece):
    net = model()
    walk(net, piece, steps=4)
    before, pointers = state(net), [p.data_ptr() for p in net.parameters()]
    with piece.evaluating(net):
        assert not torch.equal(net.state_dict()["0.weight"], before["0.weight"])
        net.eval()(torch.randn(2, 3))
    assert_equal(state(net), before)
    with pytest.raises(KeyError), piece.evaluating(net):
        raise KeyError
    assert_equal(state(net), before)
    assert [p.data_ptr() for p in net.parameters()] == pointers  # the optimiser still holds them


@pytest.mark.parametrize("piece", [EMA(decay=0.8), SWA(start=0.2)])
def test_a_piece_goes_on_from_its_stored_state(piece):
    net = model()
    walk(net, piece, steps=10)
    other = copy.deepcopy(piece)
    other.average, other.updates = {}, 0
    other.load_state_dict(copy.deepcopy(piece.state_dict()))
    assert_equal(borrowed(other, net), borrowed(piece, net))
    for each in (piece, other):
        each.after_step(net, 10)
    assert_equal(borrowed(other, net), borrowed(piece, net))
    assert Mixup().state_dict() == {}


def test_of_two_averages_the_one_named_last_is_evaluated_and_both_give_back():
    net, first, last = model(), EMA(decay=0.5), SWA(start=0)
    walk(net, first, last, steps=5)
    before = state(net)
    with first.evaluating(net), last.evaluating(net):
        inside = state(net)
    assert_equal(inside, borrowed(last, net))
    assert_equal(state(net), before)


# --- mixup --------------------------------------------------------------------------------------


def batch(n=8):
    generator = torch.Generator().manual_seed(2)
    targets = torch.randint(2, (n,), generator=generator)
    return Batch([str(i) for i in range(n)], torch.randn(n, 3, generator=generator), targets)


def loss(net, part):
    return {
        "ce": F.cross_entropy(net(part.inputs), part.targets),
        "l1": net(part.inputs).abs().mean(),
    }


def test_mixup_mixes_inputs_and_losses_in_the_same_shares():
    net, plain, piece = model().eval(), batch(), Mixup(alpha=0.7)
    mixed = piece.on_batch(plain, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    share = rng.beta(0.7, 0.7)
    order = torch.from_numpy(rng.permutation(8))
    expected = share * plain.inputs + (1 - share) * plain.inputs[order]
    torch.testing.assert_close(mixed.inputs, expected)
    logits = net(expected)
    own = F.cross_entropy(logits, plain.targets)
    partner = F.cross_entropy(logits, plain.targets[order])
    terms = piece.on_loss(loss)(net, mixed)
    torch.testing.assert_close(terms["ce"], share * own + (1 - share) * partner)
    # For one-hot targets that is the cross-entropy against the mixed targets.
    soft = share * F.one_hot(plain.targets, 2) + (1 - share) * F.one_hot(plain.targets[order], 2)
    torch.testing.assert_close(terms["ce"], F.cross_entropy(logits, soft.float()))
    torch.testing.assert_close(terms["l1"], logits.abs().mean())
    assert plain.extra == {}


def test_mixup_is_a_pure_function_of_its_generator():
    piece = Mixup()
    one, two = (piece.on_batch(batch(), np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one.inputs, two.inputs)
    assert not torch.equal(one.inputs, piece.on_batch(batch(), np.random.default_rng(6)).inputs)


def test_the_extremes_of_alpha_leave_cases_whole_or_halve_them():
    shares = {
        alpha: [
            Mixup(alpha).on_batch(batch(), np.random.default_rng(i)).extra["mixup"][0]
            for i in range(200)
        ]
        for alpha in (1e-4, 1e6)
    }
    whole, half = np.array(shares[1e-4]), np.array(shares[1e6])
    assert (np.minimum(whole, 1 - whole) < 1e-3).mean() > 0.97
    assert abs(half - 0.5).max() < 0.01
    assert np.isfinite(whole).all()


def test_mixup_reorders_nested_targets_with_their_cases():
    plain = batch(4)
    targets = {"mask": torch.arange(4), "rest": [torch.arange(4) * 2, (torch.arange(4) * 3,)]}
    mixed = Mixup().on_batch(Batch(plain.ids, plain.inputs, targets), np.random.default_rng(0))
    order, seen = mixed.extra["mixup"][1], []

    def spy(_net, part):
        seen.append(part.targets)
        return {"x": part.inputs.sum()}

    Mixup().on_loss(spy)(nn.Identity(), mixed)
    assert torch.equal(seen[0]["mask"], torch.arange(4))
    assert torch.equal(seen[1]["mask"], order)
    assert torch.equal(seen[1]["rest"][0], order * 2)
    assert torch.equal(seen[1]["rest"][1][0], order * 3)


def test_mixup_refuses_what_it_cannot_mix():
    ids = Batch(["a"], torch.tensor([[1, 2]]), torch.tensor([0]))
    with pytest.raises(RecipeError, match="mixes float inputs"):
        Mixup().on_batch(ids, np.random.default_rng(0))
    mixed = Mixup().on_batch(batch(), np.random.default_rng(0))
    with pytest.raises(RecipeError, match="mixup stands twice"):
        Mixup().on_batch(mixed, np.random.default_rng(0))
    words = Mixup().on_batch(Batch(["a"], torch.randn(1, 3), ["word"]), np.random.default_rng(0))
    with pytest.raises(RecipeError, match="cannot reorder targets of type str"):
        Mixup().on_loss(lambda _net, part: {"x": part.inputs.sum()})(nn.Identity(), words)


def test_a_neutral_piece_changes_nothing():
    piece, net = Piece(), model()
    before = state(net)
    plain = batch()
    piece.start(net, 3)
    assert piece.on_batch(plain, np.random.default_rng(0)) is plain
    assert piece.on_loss(loss) is loss
    piece.after_step(net, 0)
    assert_equal(borrowed(piece, net), before)
    piece.load_state_dict(piece.state_dict())


def test_every_piece_of_a_recipe_can_be_built_with_its_defaults():
    for name, made in BY_NAME.items():
        piece = Recipe.load({"pieces": [{"name": name}]}).pieces[0].build()
        assert type(piece) is made
        assert vars(piece) == vars(made())


# --- through the loop ---------------------------------------------------------------------------


def test_the_loop_composes_pieces_in_the_order_of_the_recipe(tmp_path, monkeypatch):
    calls = []

    class Loud(Piece):
        def __init__(self, name):
            self.name = name

        def on_batch(self, part, rng):
            calls.append(f"batch {self.name}")
            return part

        def on_loss(self, inner):
            def wrapped(net, part):
                calls.append(f"loss {self.name}")
                return inner(net, part)

            return wrapped

        def after_step(self, net, step):
            calls.append(f"after {self.name}")

    monkeypatch.setitem(BY_NAME, "ema", lambda **_: Loud("first"))
    monkeypatch.setitem(BY_NAME, "swa", lambda **_: Loud("second"))
    train(tmp_path / "run", "pieces=[{name: ema}, {name: swa}]", "epochs=1", n=12)
    # The batch goes through them in order; the loss of the last one stands outermost.
    assert calls[:6] == [
        *("batch first", "batch second", "loss second", "loss first", "after first", "after second")
    ]


def test_the_stored_weights_are_the_average(tmp_path):
    from safetensors.torch import load_file

    train(tmp_path / "plain", "epochs=2", "keep=last")
    train(tmp_path / "swa", "epochs=2", "keep=last", "pieces=[{name: swa, start: 0.0}]")
    train(tmp_path / "ema", "epochs=2", "keep=last", "pieces=[{name: ema, decay: 0.9}]")
    found = {
        name: load_file(tmp_path / name / "model.safetensors") for name in ("plain", "swa", "ema")
    }
    assert not torch.equal(found["plain"]["head.weight"], found["swa"]["head.weight"])
    assert not torch.equal(found["plain"]["head.weight"], found["ema"]["head.weight"])
    rows = [
        [
            r["loss"]
            for r in train(tmp_path / f"{name}-again", "epochs=2", pieces).history
            if r["kind"] == "train"
        ]
        for name, pieces in (("a", "pieces=[]"), ("b", "pieces=[{name: ema}]"))
    ]
    assert rows[0] == rows[1]  # an average looks on; it does not change training
