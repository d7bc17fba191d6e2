import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.nn import functional as F

from tests.engine.test_loop import torchrun, train, weights
from vesalius.engine import steps
from vesalius.engine.attacks import ActivationAttack
from vesalius.engine.data import Batch
from vesalius.engine.pieces import Mixup
from vesalius.engine.steps import AWP, FGM, PGD, VAT, FreeLB, Passes, PlainStep
from vesalius.errors import RecipeError


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


# --- models and passes --------------------------------------------------------------------------


class Words(nn.Module):
    """Integer ids -> embedding -> BatchNorm -> dropout -> logits, with a part that never runs."""

    def __init__(self, classes=3, dropout=0.0):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(6, classes)
        self.pooler = nn.Linear(6, 6)  # gradients None: it has no part in the output

    def forward(self, ids):
        return self.head(self.drop(torch.tanh(self.norm(self.embedding(ids).mean(1)))))


class Points(nn.Module):
    """Points -> an "embedding" -> BatchNorm -> logits."""

    def __init__(self, classes=3, dropout=0.0):
        super().__init__()
        self.embedding = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(6, classes)

    def forward(self, x):
        return self.head(self.drop(torch.tanh(self.norm(self.embedding(x)))))


def cross_entropy(model, batch):
    return {"cross_entropy": F.cross_entropy(model(batch.inputs), batch.targets)}


def points(n=8, classes=3):
    ids = [str(i) for i in range(n)]
    return Batch(ids, torch.randn(n, 4), torch.randint(classes, (n,)))


def words(n=8, classes=3):
    ids = [str(i) for i in range(n)]
    return Batch(ids, torch.randint(11, (n, 5)), torch.randint(classes, (n,)))


class Spy:
    """The loop's side of a step. Keeps what every pass saw: inputs, weights, running means."""

    def __init__(self, model, loss, accumulate=1):
        self.model, self._loss, self.accumulate = model, loss, accumulate
        self.inputs, self.weights, self.synchronised = [], [], []
        self.passes = Passes(model, self.loss, self.backward, self.synchronise)

    def loss(self, model, batch):
        self.inputs.append(batch.inputs)
        self.weights.append({k: p.detach().clone() for k, p in model.named_parameters()})
        return self._loss(model, batch)

    def backward(self, terms):
        (torch.stack(list(terms.values())).sum() / self.accumulate).backward()

    def synchronise(self, last):
        self.synchronised.append(last)
        return nullcontext()

    def gradients(self):
        found = {k: p.grad for k, p in self.model.named_parameters()}
        return {k: None if g is None else g.clone() for k, g in found.items()}


def taken(step, model, batch, *, loss=cross_entropy, earlier=None):
    """Gradients that a step adds to those of `earlier`; and the spy that saw its passes."""
    spy = Spy(model, loss)
    model.zero_grad()
    for name, parameter in model.named_parameters():
        if earlier is not None and earlier[name] is not None:
            parameter.grad = earlier[name].clone()
    spy.terms = step(spy.passes, batch)
    return spy.gradients(), spy


def assert_same(first, second, **tolerance):
    assert first.keys() == second.keys()
    for key in first:
        if first[key] is None or second[key] is None:
            assert first[key] is second[key], key
        else:
            torch.testing.assert_close(
                first[key], second[key], msg=lambda m, k=key: f"{k}: {m}", **tolerance
            )


def statistics(model):
    return {k: v.clone() for k, v in model.named_buffers()}


ATTACKS = {
    "fgm": FGM(0.5),
    "fgm-inputs": FGM(0.5, on="inputs"),
    "fgm-weights": FGM(0.5, on="weights", match="embedding*"),
    "pgd": PGD(0.5, steps=3),
    "pgd-inputs": PGD(0.5, steps=2, on="inputs"),
    "pgd-weights": PGD(0.5, steps=3, on="weights", match="*weight"),
    "freelb": FreeLB(),
    "freelb-inputs": FreeLB(on="inputs", max_norm=0.1),
    "awp": AWP(0.1),
    "vat": VAT(),
    "vat-inputs": VAT(on="inputs", outputs="categorical", power_iterations=2),
}
attacks = pytest.mark.parametrize("step", ATTACKS.values(), ids=ATTACKS)


# --- trap 1: this micro-batch's gradient only ---------------------------------------------------


@attacks
def test_earlier_gradients_neither_steer_the_attack_nor_get_lost(step):
    model, batch = Points(), points()
    earlier = {name: 1e3 * torch.randn_like(p) for name, p in model.named_parameters()}
    torch.manual_seed(1)
    alone, spy_alone = taken(step, model, batch)
    torch.manual_seed(1)
    added, spy_added = taken(step, model, batch, earlier=earlier)
    # What each pass saw (inputs, weights) is the same to the last bit: so is the direction.
    assert len(spy_alone.inputs) == len(spy_added.inputs)
    for one, two in zip(spy_alone.inputs, spy_added.inputs, strict=True):
        assert torch.equal(one, two)
    for one, two in zip(spy_alone.weights, spy_added.weights, strict=True):
        assert_same(one, two, rtol=0, atol=0)
    expected = {name: alone[name] + earlier[name] for name in alone}
    assert_same(added, expected, rtol=1e-6, atol=2e-4)


@attacks
def test_two_micro_batches_add_up_to_the_mean_of_their_own_steps(step):
    model = Points()
    first, second = points(), points()
    model.eval()  # statistics do not tie the two together
    torch.manual_seed(2)
    own = [taken(step, model, batch)[0] for batch in (first, second)]
    torch.manual_seed(2)
    spy = Spy(model, cross_entropy, accumulate=2)
    model.zero_grad()
    for batch in (first, second):
        step(spy.passes, batch)
    expected = {name: (own[0][name] + own[1][name]) / 2 for name in own[0]}
    assert_same(spy.gradients(), expected, rtol=1e-4, atol=1e-6)


@attacks
def test_weights_are_restored_bit_for_bit_also_after_an_error(step):
    model, batch = Points(), points()
    before = {k: v.clone() for k, v in model.named_parameters()}
    taken(step, model, batch)
    assert_same(before, dict(model.named_parameters()), rtol=0, atol=0)

    calls = []

    def breaking(model, batch):
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("broken")
        return cross_entropy(model, batch)

    with pytest.raises(KeyError):
        taken(step, model, batch, loss=breaking)
    assert_same(before, dict(model.named_parameters()), rtol=0, atol=0)
    taken(step, model, batch)  # no hook is left behind either
    assert not any(module._forward_hooks for module in model.modules())


@attacks
def test_only_the_last_pass_averages_over_processes(step):
    _, spy = taken(step, Points(), points())
    assert spy.synchronised[-1]
    assert not any(spy.synchronised[:-1])


# --- trap 2: running statistics -----------------------------------------------------------------


@attacks
def test_running_statistics_move_as_in_a_plain_step(step):
    plain, attacked = Points(), Points()
    attacked.load_state_dict(plain.state_dict())
    batch = points()
    taken(PlainStep(), plain, batch)
    taken(step, attacked, batch)
    assert_same(statistics(attacked), statistics(plain), rtol=1e-6, atol=1e-7)
    assert int(attacked.norm.num_batches_tracked) == 1


def test_running_statistics_move_once_under_mixup():
    plain, mixed = Points(), Points()
    mixed.load_state_dict(plain.state_dict())
    piece, batch = Mixup(), points()
    batch = piece.on_batch(batch, np.random.default_rng(0))
    taken(PlainStep(), plain, batch)
    taken(FGM(), mixed, batch, loss=piece.on_loss(cross_entropy))
    assert_same(statistics(mixed), statistics(plain), rtol=1e-6, atol=1e-7)


# --- trap 3: gradients that are not finite ------------------------------------------------------


class Overflow(torch.autograd.Function):
    """Identity whose gradient is infinite, as float16 gives before its scale has settled."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.full_like(gradient, float("inf"))


class Overflowing(Points):
    """Gradients are infinite before the head, finite in it."""

    def forward(self, x):
        hidden = torch.tanh(self.norm(self.embedding(x)))
        return self.head(Overflow.apply(hidden))


@pytest.mark.parametrize(
    "step",
    [*(ATTACKS[name] for name in ATTACKS if "freelb" not in name), FreeLB(magnitude=0)],
    ids=[*(name for name in ATTACKS if "freelb" not in name), "freelb"],
)
def test_without_a_finite_gradient_the_step_is_a_plain_one(step):
    model, batch = Overflowing(), points()
    other = copy.deepcopy(model)
    plain, _ = taken(PlainStep(), other, batch)
    earlier = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    found, spy = taken(step, model, batch, earlier=earlier)
    for name in ("head.weight", "head.bias"):
        torch.testing.assert_close(found[name], plain[name] + 1)
    assert not torch.isfinite(found["embedding.weight"]).any()
    assert_same(statistics(model), statistics(other), rtol=1e-6, atol=1e-7)
    for seen in spy.weights:
        assert_same(seen, dict(model.named_parameters()), rtol=0, atol=0)


def test_freelb_goes_on_unperturbed_after_a_gradient_that_is_not_finite():
    batch = points()
    _, spy = taken(FreeLB(on="inputs"), Overflowing(), batch)
    clean, start, *rest = spy.inputs  # the statistics' own pass comes first
    assert torch.equal(clean, batch.inputs)
    assert not torch.equal(start, batch.inputs)
    assert len(rest) == 2
    assert all(torch.equal(seen, batch.inputs) for seen in rest)


@attacks
def test_a_step_returns_the_same_names_with_and_without_its_attack(step):
    _, attacked = taken(step, Points(), points())
    _, plain = taken(step, Overflowing(), points())
    assert attacked.terms.keys() == plain.terms.keys()
    added = plain.terms.keys() - {"cross_entropy"}
    assert all(float(plain.terms[name]) == 0 for name in added)
    assert all(float(attacked.terms[name]) > 0 for name in added)


# --- closed forms -------------------------------------------------------------------------------


class Linear(nn.Module):
    """f(x) = w . x"""

    def __init__(self, size=4):
        super().__init__()
        self.w = nn.Parameter(torch.randn(size))

    def forward(self, x):
        return x @ self.w


def squares(model, batch):
    return {"squares": 0.5 * (model(batch.inputs) - batch.targets).square().mean()}


def regression(n=5):
    return Batch([str(i) for i in range(n)], torch.randn(n, 4), torch.randn(n))


def test_fgm_on_inputs_equals_the_gradient_worked_out_by_hand():
    model, batch, epsilon = Linear(), regression(), 0.3
    w, x = model.w.detach(), batch.inputs
    residual = x @ w - batch.targets
    # The gradient for case b is r_b w / n, so every case moves by epsilon sign(r_b) w / |w|.
    moved = x + epsilon * residual.sign()[:, None] * w / w.norm()
    residual_moved = residual + epsilon * residual.sign() * w.norm()
    clean, adversarial = (residual[:, None] * x).mean(0), (residual_moved[:, None] * moved).mean(0)
    found, spy = taken(FGM(epsilon, on="inputs"), model, batch, loss=squares)
    torch.testing.assert_close(spy.inputs[1], moved)
    torch.testing.assert_close(found["w"], clean + adversarial)
    expected = 0.5 * residual_moved.square().mean()
    torch.testing.assert_close(spy.terms["adversarial_squares"], expected)


def test_fgm_on_weights_equals_the_gradient_worked_out_by_hand():
    model, batch, epsilon = Linear(), regression(), 0.3
    w, x, y = model.w.detach().clone(), batch.inputs, batch.targets
    clean = ((x @ w - y)[:, None] * x).mean(0)
    moved = w + epsilon * clean / clean.norm()
    adversarial = ((x @ moved - y)[:, None] * x).mean(0)
    found, spy = taken(FGM(epsilon, on="weights", match="w"), model, batch, loss=squares)
    torch.testing.assert_close(spy.weights[1]["w"], moved)
    torch.testing.assert_close(found["w"], clean + adversarial)


class BagOfWords(nn.Module):
    """f(ids) = w . sum of embeddings"""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.w = nn.Parameter(torch.randn(4))

    def forward(self, ids):
        return self.embedding(ids).sum(1) @ self.w


def test_fgm_on_embeddings_of_integer_ids_equals_the_gradient_worked_out_by_hand():
    model, n, length, epsilon = BagOfWords(), 5, 3, 0.3
    batch = Batch(list("abcde"), torch.randint(11, (n, length)), torch.randn(n))
    w, embedded = model.w.detach(), model.embedding(batch.inputs).detach()
    residual = embedded.sum(1) @ w - batch.targets
    # All words of a case share the direction sign(r) w; their joint length is epsilon.
    delta = epsilon * residual.sign()[:, None] * w / (w.norm() * length**0.5)
    bags = embedded.sum(1), embedded.sum(1) + length * delta
    expected = sum((((bag @ w) - batch.targets)[:, None] * bag).mean(0) for bag in bags)
    found, _ = taken(FGM(epsilon), model, batch, loss=squares)
    torch.testing.assert_close(found["w"], expected)


def gradient_at(model, batch, inputs, loss):
    """The plain gradient with the inputs that a pass saw."""
    moved = Batch(batch.ids, inputs, batch.targets)
    return taken(PlainStep(), model, moved, loss=loss)[0]


def lengths(spy, batch):
    return [(seen - batch.inputs).flatten(1).norm(dim=1) for seen in spy.inputs]


def test_pgd_climbs_inside_its_ball_and_its_last_pass_trains():
    model, batch = Points().eval(), points()
    found, spy = taken(PGD(0.5, alpha=0.3, steps=4, on="inputs"), model, batch)
    reached = lengths(spy, batch)
    assert len(reached) == 5
    torch.testing.assert_close(reached[0], torch.zeros(8))
    torch.testing.assert_close(reached[1], torch.full((8,), 0.3))
    assert all((r <= 0.5 + 1e-6).all() for r in reached)
    assert (reached[4] > 0.499).any()
    own = [
        gradient_at(model, batch, seen, cross_entropy) for seen in (spy.inputs[0], spy.inputs[4])
    ]
    assert_same(found, {k: own[0][k] + own[1][k] for k in found}, rtol=1e-4, atol=1e-6)
    losses = [
        float(cross_entropy(model, Batch([], x, batch.targets))["cross_entropy"].detach())
        for x in spy.inputs
    ]
    assert losses == sorted(losses)


def test_pgd_on_weights_stays_in_its_ball_around_the_weights():
    model, batch = Points().eval(), points()
    _, spy = taken(PGD(0.2, alpha=0.15, steps=3, on="weights", match="head.weight"), model, batch)
    moved = [(w["head.weight"] - spy.weights[0]["head.weight"]).norm() for w in spy.weights]
    torch.testing.assert_close(torch.stack(moved[:2]), torch.tensor([0.0, 0.15]))
    assert all(length <= 0.2 + 1e-6 for length in moved)
    assert moved[3] > 0.19
    for name in ("embedding.weight", "head.bias"):
        assert all(torch.equal(w[name], spy.weights[0][name]) for w in spy.weights)


def test_pgd_with_one_step_of_full_length_is_fgm():
    model, batch = Points().eval(), points()
    pgd, _ = taken(PGD(0.4, alpha=0.4, steps=1), model, batch)
    fgm, _ = taken(FGM(0.4), model, batch)
    assert_same(pgd, fgm, rtol=1e-5, atol=1e-7)


def test_freelb_with_one_step_from_no_start_is_a_plain_step():
    model, batch = Points(dropout=0.5), points()
    torch.manual_seed(3)
    plain, _ = taken(PlainStep(), model, batch)
    torch.manual_seed(3)
    freelb, spy = taken(FreeLB(steps=1, magnitude=0.0), model, batch)
    assert_same(freelb, plain, rtol=1e-6, atol=1e-7)
    assert spy.terms.keys() == {"cross_entropy"}


def test_freelb_averages_the_gradients_of_its_passes():
    model, batch = Points().eval(), points()
    step = FreeLB(steps=4, alpha=0.2, magnitude=0.1, max_norm=0.4, on="inputs")
    found, spy = taken(step, model, batch)
    _, *seen = spy.inputs  # the first pass is for statistics alone
    own = [gradient_at(model, batch, inputs, cross_entropy) for inputs in seen]
    assert len(own) == 4
    assert_same(found, {k: sum(g[k] for g in own) / 4 for k in found}, rtol=1e-4, atol=1e-6)
    reached = lengths(spy, batch)[1:]
    torch.testing.assert_close(reached[0], torch.full((8,), 0.1))
    assert all((length <= 0.4 + 1e-6).all() for length in reached)
    climbed = seen[1] - seen[0]  # unbounded so far: exactly alpha along the gradient
    torch.testing.assert_close(climbed.norm(dim=1), torch.full((8,), 0.2), rtol=1e-4, atol=1e-5)


def test_an_unbounded_freelb_leaves_the_ball_that_a_bounded_one_keeps():
    model, batch = Points().eval(), points()
    _, spy = taken(FreeLB(steps=6, alpha=0.3, on="inputs"), model, batch)
    assert (lengths(spy, batch)[-1] > 1).any()


def dropout_masks(step, model, batch):
    masks = []
    hook = model.drop.register_forward_hook(lambda _m, _i, output: masks.append(output != 0))
    try:
        taken(step, model, batch)
    finally:
        hook.remove()
    return masks


@pytest.mark.parametrize("step", [FreeLB(steps=3), VAT(power_iterations=2)], ids=["freelb", "vat"])
def test_all_passes_of_a_step_share_one_dropout_mask(step):
    model, batch = Points(dropout=0.5), points()
    first, *others = dropout_masks(step, model, batch)
    assert len(others) == 3
    assert all(torch.equal(first, other) for other in others)
    again = dropout_masks(step, model, batch)  # but another step has another one
    assert not torch.equal(first, again[0])


def test_awp_moves_each_matrix_by_gamma_times_its_norm_and_trains_there_alone():
    model, batch, gamma = Points(), points(), 0.1
    found, spy = taken(AWP(gamma), model, batch)
    clean, moved = spy.weights
    for name in ("embedding.weight", "head.weight"):
        length = (moved[name] - clean[name]).norm()
        torch.testing.assert_close(length, gamma * clean[name].norm(), rtol=1e-4, atol=1e-6)
    for name in ("embedding.bias", "norm.weight", "norm.bias", "head.bias"):
        assert torch.equal(moved[name], clean[name])
    at_clean, _ = taken(PlainStep(), copy.deepcopy(model), batch)
    direction = moved["head.weight"] - clean["head.weight"]
    cosine = F.cosine_similarity(direction.flatten(), at_clean["head.weight"].flatten(), dim=0)
    assert cosine > 0.9999
    there = copy.deepcopy(model)
    there.load_state_dict({**model.state_dict(), **moved})
    expected, _ = taken(PlainStep(), there, batch)
    assert_same(found, expected, rtol=1e-4, atol=1e-6)


# --- VAT ----------------------------------------------------------------------------------------


def test_the_divergences_are_those_of_torch_distributions():
    p, q = torch.randn(5, 3, 4), torch.randn(5, 3, 4)
    bernoulli = kl_divergence(Bernoulli(logits=p), Bernoulli(logits=q)).sum() / 5
    torch.testing.assert_close(steps.divergence(p, q, "bernoulli"), bernoulli)
    over_last = kl_divergence(
        Categorical(logits=p.movedim(1, -1)), Categorical(logits=q.movedim(1, -1))
    )
    torch.testing.assert_close(steps.divergence(p, q, "categorical"), over_last.sum() / 5)
    assert float(steps.divergence(p, p, "bernoulli")) == 0
    assert torch.isfinite(steps.divergence(1e3 * p, 1e3 * q, "bernoulli"))


class Constant(nn.Module):
    """Logits that do not depend on the input."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(3))

    def forward(self, x):
        return 0.0 * x[:, :3] + self.bias


def test_vat_is_zero_for_a_constant_model_and_positive_for_another():
    batch = points()
    _, constant = taken(VAT(on="inputs"), Constant(), batch)
    assert float(constant.terms["virtual_adversarial"]) == 0
    for outputs in ("bernoulli", "categorical"):
        _, spy = taken(VAT(on="inputs", outputs=outputs), Points(), batch)
        assert float(spy.terms["virtual_adversarial"]) > 1e-3


def test_vat_uses_no_labels():
    model, batch = Points(), points()
    other = Batch(batch.ids, batch.inputs, (batch.targets + 1) % 3)
    torch.manual_seed(4)
    _, one = taken(VAT(on="inputs"), model, batch)
    torch.manual_seed(4)
    _, two = taken(VAT(on="inputs"), model, other)
    assert all(torch.equal(a, b) for a, b in zip(one.inputs, two.inputs, strict=True))
    assert one.terms["virtual_adversarial"] == two.terms["virtual_adversarial"]
    assert one.terms["cross_entropy"] != two.terms["cross_entropy"]


def test_vat_finds_the_only_sensitive_direction_of_a_linear_model():
    model, batch, epsilon = Linear(), regression(), 0.5
    _, spy = taken(VAT(epsilon, on="inputs"), model, batch, loss=squares)
    moved = spy.inputs[-1] - batch.inputs
    torch.testing.assert_close(moved.norm(dim=1), torch.full((5,), epsilon))
    cosine = F.cosine_similarity(moved, model.w.detach()[None], dim=1)
    torch.testing.assert_close(cosine.abs(), torch.ones(5), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("outputs", ["bernoulli", "categorical"])
def test_vats_direction_raises_the_divergence_more_than_random_ones(outputs):
    model, batch, epsilon = Points().eval(), points(32), 0.1
    _, spy = taken(VAT(epsilon, outputs=outputs, power_iterations=3, on="inputs"), model, batch)

    def raised(direction):
        with torch.no_grad():
            p, q = model(batch.inputs), model(batch.inputs + epsilon * direction)
            return float(steps.divergence(p, q, outputs))

    found = raised((spy.inputs[-1] - batch.inputs) / epsilon)
    random = [raised(steps.unit(torch.randn(32, 4), True)) for _ in range(50)]
    assert found > max(random)
    torch.testing.assert_close(float(spy.terms["virtual_adversarial"]), found, rtol=1e-3, atol=0)


def test_vat_adds_the_gradient_of_the_weighted_divergence_at_its_point():
    model, batch = Points().eval(), points()
    found, spy = taken(VAT(weight=3.0, on="inputs"), model, batch)
    plain, _ = taken(PlainStep(), model, batch)
    target = model(batch.inputs).detach()

    def smoothness(model, batch):
        return {"smooth": 3.0 * steps.divergence(target, model(batch.inputs), "bernoulli")}

    added = gradient_at(model, batch, spy.inputs[-1], smoothness)
    assert_same(found, {k: plain[k] + added[k] for k in found}, rtol=1e-4, atol=1e-6)


class Wrapped(nn.Module):
    """A model whose answer is not a bare tensor."""

    def __init__(self, wrap):
        super().__init__()
        self.inner, self.wrap = Points(), wrap

    def forward(self, x):
        return self.wrap(self.inner(x))


class Answer:
    def __init__(self, logits):
        self.logits = logits


@pytest.mark.parametrize(
    "wrap",
    [lambda x: {"logits": x}, Answer, lambda x: Answer([x, x * 2]), lambda x: [x, 2 * x]],
    ids=["mapping", "object", "object-of-heads", "heads"],
)
def test_vat_finds_the_logits_in_a_models_answer(wrap):
    def loss(model, batch):
        model(batch.inputs)
        return cross_entropy(model.inner, batch)

    _, spy = taken(VAT(match="inner.embedding"), Wrapped(wrap), points(), loss=loss)
    assert float(spy.terms["virtual_adversarial"]) > 0


def test_vat_without_logits_is_an_error():
    def loss(model, batch):
        return {"sum": model(batch.inputs)["features"].sum()}

    with pytest.raises(RecipeError, match="returns no logits"):
        taken(VAT(on="inputs"), Wrapped(lambda x: {"features": x}), points(), loss=loss)


# --- what a pattern may mean --------------------------------------------------------------------


@pytest.mark.parametrize("step", [FGM(match="*absent*"), FreeLB(match="*absent*"), VAT(match="x")])
def test_a_pattern_that_matches_no_module_names_those_that_there_are(step):
    with pytest.raises(RecipeError, match=r"matches no module.*drop, embedding, head, norm$"):
        taken(step, Points(), points())


def test_a_pattern_that_matches_no_parameter_names_those_that_there_are():
    with pytest.raises(RecipeError, match=r"matches no parameter.*embedding\.bias"):
        taken(FGM(on="weights", match="*absent*"), Points(), points())
    with pytest.raises(RecipeError, match=r"matches no parameter.*embedding\.weight"):
        taken(AWP(match="*bias"), Points(), points())  # biases are no matrices


def test_a_parameter_without_gradient_does_not_disturb_the_others():
    found, _ = taken(AWP(), Words(), words())
    assert found["pooler.weight"] is None
    found, _ = taken(PGD(on="weights", match="*weight"), Words(), words())
    assert found["pooler.weight"] is None
    with pytest.raises(RecipeError, match="none of the matched parameters receives a gradient"):
        taken(FGM(on="weights", match="pooler*"), Words(), words())


@pytest.mark.parametrize("step", [FGM(), PGD(), FreeLB(), VAT(), AWP()])
def test_attacks_work_on_models_that_read_integer_ids(step):
    found, _ = taken(step, Words(dropout=0.1), words())
    assert all(torch.isfinite(g).all() for g in found.values() if g is not None)
    with pytest.raises(RecipeError, match="needs float inputs"):
        taken(FGM(on="inputs"), Words(), words())


class Twice(nn.Module):
    """One embedding for two sides, used one after the other."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(4, 4)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.cat([self.embedding(x), self.embedding(-x)], 1))


def test_a_module_that_runs_twice_gets_a_perturbation_for_each_run():
    model, batch = Twice(), points()
    seen = []
    model.head.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0].detach()))
    taken(FGM(0.5), model, batch)
    moved = seen[1] - seen[0]
    for half in (moved[:, :4], moved[:, 4:]):
        torch.testing.assert_close(half.norm(dim=1), torch.full((8,), 0.5))
    assert not torch.allclose(moved[:, :4], moved[:, 4:])
    for step in (PGD(), FreeLB(), VAT()):
        taken(step, model, batch)


class Tower(nn.Module):
    """Containers that never run themselves, parts inside parts, and a name that holds "module."."""

    def __init__(self):
        super().__init__()
        self.embeds = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.submodule = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.head = nn.Linear(4, 3)
        self.idle = nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.submodule(self.embeds[0](x) + self.embeds[1](x)))


def perturbed(match):
    """Names of the modules whose outputs an FGM step moves."""
    model, batch = Tower(), points()
    attack = ActivationAttack(match, model)
    with attack.recorded(batch):
        model(batch.inputs)
    return sorted(key.partition("#")[0] for key in attack.gradients())


def test_patterns_match_running_modules_below_the_root_outermost_first():
    assert perturbed("embed*") == ["embeds.0", "embeds.1"]
    assert perturbed("*") == ["embeds.0", "embeds.1", "head", "submodule"]
    assert perturbed("submodule*") == ["submodule"]
    assert perturbed("submodule.0") == ["submodule.0"]
    assert perturbed("*.[01]") == ["embeds.0", "embeds.1", "submodule.0", "submodule.1"]
    with pytest.raises(RecipeError, match="module 'idle' did not run"):
        perturbed("idle")
    with pytest.raises(RecipeError, match="matches no module"):
        perturbed("Head")


def test_a_compiled_models_prefix_is_not_part_of_its_names():
    inner = Points()
    outer = nn.Module()
    outer._orig_mod = inner
    assert "embedding" in ActivationAttack("embedding", outer).modules


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x):
        return self.embed_lstm(x[:, None])[0][:, 0]


def test_a_module_that_returns_no_float_tensor_cannot_be_attacked():
    with pytest.raises(RecipeError, match="'embed_lstm' does not return a float tensor"):
        taken(FGM(), Recurrent(), points())


@pytest.mark.parametrize("step", [FreeLB(on="weights"), VAT(on="weights"), FGM(on="activation")])
def test_an_unknown_place_is_refused(step):
    with pytest.raises(RecipeError, match="this step perturbs one of inputs, activations"):
        taken(step, Points(), points())


# --- small parts --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_direction_of_length_zero_stays_zero_and_a_long_one_does_not_overflow(dtype):
    value = torch.stack([torch.zeros(4), torch.full((4,), 5e4), torch.full((4,), 1e-6)]).to(dtype)
    found = steps.unit(value, True)
    assert found.dtype == dtype
    torch.testing.assert_close(found[0].float(), torch.zeros(4))
    torch.testing.assert_close(found[1].float(), torch.full((4,), 0.5), rtol=1e-2, atol=1e-2)
    assert found[2].float().norm() > 0.8
    assert torch.equal(
        steps.project(torch.zeros(2, 3, dtype=dtype), 1.0, True).float(), torch.zeros(2, 3)
    )


def test_every_step_of_a_recipe_can_be_built_with_its_defaults():
    from vesalius.engine.recipe import Recipe

    for name, made in steps.BY_NAME.items():
        step = Recipe.load(None, [f"step.name={name}"]).step.build()
        assert type(step) is made
        assert vars(step) == vars(made())  # blocks and classes agree on defaults


# --- through the loop ---------------------------------------------------------------------------


def test_an_attack_in_two_processes_and_micro_steps_is_that_of_one_process(tmp_path):
    overrides = ("dropout=0", "keep=last", "epochs=3", "accumulate=2", "optimizer.name=sgd")
    overrides += ("optimizer.momentum=0.9", "step.name=fgm", "step.epsilon=0.5")
    train(tmp_path / "one", *overrides)
    torchrun(tmp_path / "two", *overrides, world=2)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-4, atol=1e-6)
    train(tmp_path / "plain", *overrides, "step.name=plain")
    plain = weights(tmp_path / "plain")
    assert not torch.allclose(plain["head.weight"], one["head.weight"], atol=1e-3)


@pytest.mark.parametrize("name", [name for name in steps.BY_NAME if name != "plain"])
def test_the_loop_trains_with_every_step(tmp_path, name):
    row = train(tmp_path / name, f"step.name={name}", "epochs=2", "accumulate=2", "clip=1").history
    losses = [r["loss"] for r in row if r["kind"] == "train"]
    assert len(losses) == 8
    assert all(np.isfinite(losses))
