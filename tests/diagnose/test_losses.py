import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from vesalius.diagnose import losses
from vesalius.diagnose.loss_blocks import LossBlock
from vesalius.errors import DataError, RecipeError

LABELS, SIZE = 6, 100
COUNTS = (0, 1, 3, 20, 50, 100)
NAMES = (
    "BCELoss", "WeightedBCELoss", "PriorAdjustedBCELoss", "FocalLoss", "AsymmetricLoss",
    "ClassBalancedLoss", "DistributionBalancedLoss", "MacroF1Loss", "SigmoidF1Loss", "HammingLoss",
    "ZLPRLoss", "MultiLabelSoftmaxLoss", "LogSoftmaxRankingLoss",
)  # fmt: skip
BLOCKS = (
    "bce", "weighted_bce", "prior_adjusted_bce", "focal", "asymmetric", "class_balanced",
    "distribution_balanced", "macro_f1", "sigmoid_f1", "hamming", "zlpr", "multi_label_softmax",
    "log_softmax_ranking",
)  # fmt: skip
COUNTED = ("MacroF1Loss", "SigmoidF1Loss")
every_loss = pytest.mark.parametrize("name", NAMES)
parse = TypeAdapter(LossBlock).validate_python


def plain(name):
    return getattr(losses, name)()


def informed(name):
    """The loss as a recipe builds it, with label counts, among them none and all."""
    return parse({"name": dict(zip(NAMES, BLOCKS, strict=True))[name]}).build(COUNTS, SIZE)


def example(records=8, labels=LABELS, *, seed=0, dtype=torch.float32, share=0.3):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(records, labels, generator=generator, dtype=dtype) * 2
    targets = (torch.rand(records, labels, generator=generator) < share).to(dtype)
    return logits, targets


def certain(targets, margin=30.0):
    return (targets * 2 - 1) * margin


# What all losses promise


@every_loss
@pytest.mark.parametrize("make", [plain, informed])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_perfect_logits_cost_nothing_and_are_the_minimum(make, name, seed, share):
    logits, targets = example(seed=seed, share=share)
    perfect = make(name)(certain(targets), targets).item()
    assert abs(perfect) < 0.01
    assert make(name)(logits, targets).item() >= perfect - 1e-6
    wrong = make(name)(-certain(targets), targets).item()
    ranks_nothing = name == "LogSoftmaxRankingLoss" and share in (0.0, 1.0)
    if not ranks_nothing:
        assert wrong > perfect + 0.01 or (name == "LogSoftmaxRankingLoss" and targets.sum() == 0)


@every_loss
@pytest.mark.parametrize("make", [plain, informed])
@pytest.mark.parametrize("soft", [False, True])
def test_gradients_are_those_of_the_value(make, name, soft):
    logits, targets = example(records=5, dtype=torch.float64, seed=3)
    if soft:
        targets = 0.7 * targets + 0.3 * targets.flip(0)
    loss = make(name).double()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), (logits,))


@every_loss
def test_a_better_answer_costs_less(name):
    logits, targets = example(share=0.4)
    loss = informed(name).eval()
    assert loss(logits + certain(targets, 0.5), targets) < loss(logits, targets)


@every_loss
@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_batches_without_positives_or_negatives_have_finite_gradients(name, share, size):
    logits, targets = example(share=share)
    logits = (logits * size).requires_grad_()
    loss = informed(name)(logits, targets)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name, dtype):
    logits, targets = example()
    logits = logits.to(dtype)
    expected = informed(name)(logits.float(), targets)
    assert informed(name)(logits, targets.to(dtype)).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(informed(name)(logits, targets), expected)


@every_loss
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_nothing_global_and_no_input_is_touched(name, mode):
    logits, targets = example()
    kept = logits.clone(), targets.clone()
    state = torch.get_rng_state()
    with mode():
        enabled = torch.is_grad_enabled()
        informed(name)(logits, targets)
        assert torch.is_grad_enabled() == enabled
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(logits, kept[0])
    assert torch.equal(targets, kept[1])


@every_loss
def test_targets_may_be_booleans_or_integers(name):
    logits, targets = example()
    expected = plain(name)(logits, targets)
    torch.testing.assert_close(plain(name)(logits, targets.bool()), expected)
    torch.testing.assert_close(plain(name)(logits, targets.long()), expected)


@every_loss
def test_one_label_alone_is_enough(name):
    logits, targets = example(labels=1)
    assert plain(name)(logits, targets).isfinite()


@every_loss
def test_wrong_inputs_are_named(name):
    logits, targets = example()
    for bad in (targets[:, :3], targets[:0], targets[0]):
        with pytest.raises(DataError, match="shape"):
            plain(name)(logits, bad)
    with pytest.raises(DataError, match="range"):
        plain(name)(logits, targets * 2)
    with pytest.raises(DataError, match="range"):
        plain(name)(logits, targets * math.nan)


def test_counts_of_other_labels_are_refused():
    logits, targets = example(labels=4)
    for name in ("WeightedBCELoss", "PriorAdjustedBCELoss", "ClassBalancedLoss"):
        with pytest.raises(RecipeError, match="6 labels; the logits have 4"):
            informed(name)(logits, targets)
    with pytest.raises(RecipeError, match="give size"):
        losses.WeightedBCELoss([1, 2])
    with pytest.raises(RecipeError, match="among 3 records"):
        losses.WeightedBCELoss([1, 9], 3)


# Values


def test_bce_is_torch_s():
    logits, targets = example()
    expected = F.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(losses.BCELoss()(logits, targets), expected)
    torch.testing.assert_close(losses.FocalLoss(gamma=0)(logits, targets), expected)
    nothing = losses.AsymmetricLoss(gamma_negative=0, gamma_positive=0, clip=0)
    torch.testing.assert_close(nothing(logits, targets), expected)
    torch.testing.assert_close(losses.ClassBalancedLoss()(logits, targets), expected)


def test_weights_are_negatives_over_positives_up_to_the_maximum():
    loss = losses.WeightedBCELoss([0, 1, 20, 50], 100, maximum=50)
    assert loss.pos_weight.tolist() == pytest.approx([50, 50, 4, 1])
    assert losses.WeightedBCELoss([20], 100, power=0.5).pos_weight.item() == pytest.approx(2)


def test_the_prior_adjusted_optimum_is_free_of_the_prior():
    """Labels that no feature explains end with logit 0, and a posterior of their frequency."""
    loss = losses.PriorAdjustedBCELoss([10], 100)
    targets = torch.zeros(100, 1)
    targets[:10] = 1
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([bias], max_iter=100)

    def closure():
        optimizer.zero_grad()
        value = loss(bias.expand(100, 1), targets)
        value.backward()
        return value

    optimizer.step(closure)
    assert bias.item() == pytest.approx(0, abs=0.05)
    assert loss.posterior(bias[None]).sigmoid().item() == pytest.approx(0.1, abs=1e-3)


def test_focal_loss_of_one_term_is_the_papers_formula():
    logit, gamma, alpha = 0.4, 2.0, 0.25
    p = 1 / (1 + math.exp(-logit))
    loss = losses.FocalLoss(gamma=gamma, alpha=alpha)
    one = loss(torch.tensor([[logit]]), torch.ones(1, 1)).item()
    none = loss(torch.tensor([[logit]]), torch.zeros(1, 1)).item()
    assert one == pytest.approx(-alpha * (1 - p) ** gamma * math.log(p))
    assert none == pytest.approx(-(1 - alpha) * p**gamma * math.log(1 - p))


def test_asymmetric_loss_forgets_easy_negatives():
    loss = losses.AsymmetricLoss()
    for logit in (-3.0, -0.5, 2.0):
        p = 1 / (1 + math.exp(-logit))
        shifted = max(p - 0.05, 0)
        negative = loss(torch.tensor([[logit]]), torch.zeros(1, 1)).item()
        positive = loss(torch.tensor([[logit]]), torch.ones(1, 1)).item()
        assert negative == pytest.approx(-(shifted**4) * math.log(1 - shifted), rel=1e-5)
        assert positive == pytest.approx(-(1 - p) * math.log(p), rel=1e-5)


def test_class_balanced_weights_follow_the_effective_number():
    weights = losses.ClassBalancedLoss([1, 10, 1000], beta=0.99).weights
    effective = (1 - 0.99 ** np.array([1, 10, 1000])) / (1 - 0.99)
    expected = (1 / effective) / (1 / effective).mean()
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_distribution_balanced_weights_follow_the_paper():
    """A record with labels of 10 and 50 records: it would be drawn for the rare one."""
    loss = losses.DistributionBalancedLoss([10, 50, 20], 100, alpha=0.1, beta=10, mu=0.2)
    weights = loss.record_weights(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    drawn = 1 / 10 + 1 / 50
    ratio = np.array([1 / 10, 1 / 50, 1 / 20]) / drawn
    expected = 0.1 + 1 / (1 + np.exp(-10 * (ratio - 0.2)))
    np.testing.assert_allclose(weights[0], expected, rtol=1e-5)
    np.testing.assert_allclose(weights[1], 1.1, rtol=1e-6)


def test_distribution_balanced_negatives_are_tolerated():
    loss = losses.DistributionBalancedLoss(
        [10, 50], 100, alpha=0.0, beta=1e-9, mu=0.0, gamma=0.0, kappa=0.1, negative_scale=3.0
    )
    logits, targets = torch.tensor([[0.7, -0.2]]), torch.tensor([[1.0, 0.0]])
    shift = 0.1 * np.log((np.array([100 - 10, 100 - 50]) + 0.5) / np.array([10.5, 50.5]))
    positive = np.log1p(np.exp(-(0.7 - shift[0])))
    negative = np.log1p(np.exp(3.0 * (-0.2 - shift[1]))) / 3.0
    # The weights are all sigmoid(0) = 1/2.
    assert loss(logits, targets).item() == pytest.approx((positive + negative) / 4, rel=1e-5)


def test_hamming_loss_of_certain_logits_is_the_share_of_errors():
    logits, targets = example()
    sure = torch.sign(logits) * 50
    expected = ((logits > 0) != targets.bool()).float().mean()
    torch.testing.assert_close(losses.HammingLoss()(sure, targets), expected)


def test_ranking_losses_are_their_sums_written_out():
    logits, targets = example(records=4)
    zlpr, ranking = [], []
    for z, y in zip(logits.double().numpy(), targets.bool().numpy(), strict=True):
        zlpr.append(math.log1p(np.exp(-z[y]).sum()) + math.log1p(np.exp(z[~y]).sum()))
        pairs = [math.log1p(np.exp(z[~y] - u).sum()) for u in z[y]]
        ranking.append(np.mean(pairs) if pairs else 0.0)
    assert losses.ZLPRLoss()(logits, targets).item() == pytest.approx(np.mean(zlpr), rel=1e-5)
    found = losses.LogSoftmaxRankingLoss()(logits, targets).item()
    assert found == pytest.approx(np.mean(ranking), rel=1e-5)
    softmax = losses.MultiLabelSoftmaxLoss(threshold=0.5)
    torch.testing.assert_close(softmax(logits + 0.5, targets), losses.ZLPRLoss()(logits, targets))


def test_with_one_label_softmax_and_ranking_are_cross_entropy():
    """One positive per record: log-softmax ranking is the ordinary softmax loss."""
    logits, _ = example()
    classes = torch.arange(8) % LABELS
    found = losses.LogSoftmaxRankingLoss()(logits, F.one_hot(classes, LABELS))
    torch.testing.assert_close(found, F.cross_entropy(logits, classes))


# F1 and its queue


def test_soft_f1_of_certain_logits_is_scikit_learns_macro_f1():
    metrics = pytest.importorskip("sklearn.metrics")
    logits, targets = example(records=60, share=0.3)
    expected = metrics.f1_score(targets.numpy(), (logits > 0).numpy(), average="macro")
    for loss in (losses.MacroF1Loss(smooth=1e-9), losses.SigmoidF1Loss(smooth=1e-9)):
        found = 1 - loss(torch.sign(logits) * 100, targets).item()
        assert found == pytest.approx(expected, abs=1e-6)


def test_sigmoid_f1_uses_one_sigmoid():
    logits, targets = example()
    same = losses.SigmoidF1Loss(beta=1.0, eta=0.0)
    torch.testing.assert_close(same(logits, targets), losses.MacroF1Loss()(logits, targets))
    moved = losses.SigmoidF1Loss(beta=2.0, eta=0.3)
    expected = losses.MacroF1Loss()(2 * (logits + 0.3), targets)
    torch.testing.assert_close(moved(logits, targets), expected)


@pytest.mark.parametrize("name", COUNTED)
def test_the_queue_counts_what_one_large_batch_would(name):
    """The gradient is that of the F1 over all records, times records / batch."""
    logits, targets = example(records=40, seed=5, share=0.15)
    loss = plain(name)
    for start in range(0, 32, 8):
        loss(logits[start : start + 8].clone().requires_grad_(), targets[start : start + 8])
    last = logits[32:].clone().requires_grad_()
    loss(last, targets[32:]).backward()
    whole = logits.clone().requires_grad_()
    getattr(losses, name)(queue=0)(whole, targets).backward()
    torch.testing.assert_close(last.grad, whole.grad[32:] * 5, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", COUNTED)
def test_a_label_that_the_batch_lacks_has_a_gradient_from_the_queue(name):
    logits, targets = example(records=16, share=0.5)
    targets[8:, 2] = 0
    loss = plain(name)
    first = logits[:8].clone().requires_grad_()
    loss(first, targets[:8])
    second = logits[8:].clone().requires_grad_()
    loss(second, targets[8:]).backward()
    without = logits[8:].clone().requires_grad_()
    getattr(losses, name)(queue=0)(without, targets[8:]).backward()
    assert (second.grad[:, 2] > 5 * without.grad[:, 2]).all()


@pytest.mark.parametrize("name", COUNTED)
def test_a_batch_that_is_seen_again_counts_once(name):
    """An adversarial step calls the loss twice, with other logits and the same targets."""
    logits, targets = example(records=24, seed=2)
    once, twice = plain(name), plain(name)
    for start in (0, 8):
        batch = logits[start : start + 8], targets[start : start + 8]
        once(batch[0].clone().requires_grad_(), batch[1])
        first = twice((batch[0] + 1).requires_grad_(), batch[1])
        second = twice((batch[0] + 1).requires_grad_(), batch[1])
        assert torch.equal(first, second)
        twice(batch[0].clone().requires_grad_(), batch[1])
    torch.testing.assert_close(
        once(logits[16:], targets[16:]), twice(logits[16:], targets[16:]), rtol=0, atol=0
    )
    torch.testing.assert_close(once.sums, twice.sums)


@pytest.mark.parametrize("name", COUNTED)
def test_gradients_are_right_with_a_filled_queue_too(name):
    loss = plain(name).double()
    past, targets = example(dtype=torch.float64, seed=8)
    loss(past.requires_grad_(), targets)
    logits, targets = example(dtype=torch.float64, seed=9)
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), (logits.requires_grad_(),))


@pytest.mark.parametrize("name", COUNTED)
def test_old_batches_leave_the_queue(name):
    short = getattr(losses, name)(queue=2)
    logits, targets = example(records=40, seed=4)
    for start in range(0, 32, 8):
        short(logits[start : start + 8].clone().requires_grad_(), targets[start : start + 8])
    fresh = getattr(losses, name)(queue=2)
    for start in (16, 24):
        fresh(logits[start : start + 8].clone().requires_grad_(), targets[start : start + 8])
    torch.testing.assert_close(
        short(logits[32:], targets[32:]), fresh(logits[32:], targets[32:]), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", COUNTED)
def test_the_queue_rests_without_gradients_and_empties_in_evaluation(name):
    logits, targets = example()
    loss = plain(name)
    expected = loss(logits, targets)
    assert loss.records.sum() == 0
    loss(logits.clone().requires_grad_(), targets.flip(0))
    assert loss.records.sum() == len(logits)
    torch.testing.assert_close(loss.eval()(logits, targets), expected)
    torch.testing.assert_close(loss.train()(logits, targets), expected)


@pytest.mark.parametrize("name", COUNTED)
def test_the_queue_can_be_saved_and_goes_on(name):
    logits, targets = example(records=16)
    loss = plain(name)
    loss(logits[:8].clone().requires_grad_(), targets[:8])
    restored = plain(name)
    restored.load_state_dict(copy.deepcopy(loss.state_dict()))
    batch = logits[8:], targets[8:]
    assert torch.equal(restored(*batch), loss(*batch))


def test_soft_f1_learns_rare_labels_from_small_batches():
    """One in forty records is positive; with batches of four most hold none."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(800, 1, generator=generator)
    targets = (features > 1.96).float()
    weight, bias = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=0.05)
    loss = losses.MacroF1Loss(queue=100)
    for step in range(400):
        rows = slice(step * 4 % 800, step * 4 % 800 + 4)
        optimizer.zero_grad()
        loss(features[rows] * weight + bias, targets[rows]).backward()
        optimizer.step()
    answers = (features * weight + bias > 0).float()
    f1 = 2 * (answers * targets).sum() / (answers.sum() + targets.sum())
    assert f1 > 0.8


# R-Drop


def test_bernoulli_kl_is_torchs_divergence():
    logits, _ = example()
    other, _ = example(seed=1)
    p, q = (torch.distributions.Bernoulli(logits=z) for z in (logits, other))
    forward = torch.distributions.kl_divergence(p, q).mean()
    backward = torch.distributions.kl_divergence(q, p).mean()
    torch.testing.assert_close(losses.bernoulli_kl(logits, other, symmetric=False), forward)
    torch.testing.assert_close(losses.bernoulli_kl(logits, other), (forward + backward) / 2)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([0.1, 5.0, 1e3]))
def test_bernoulli_kl_is_never_negative_and_zero_for_equal_logits(seed, size):
    logits, other = example(seed=seed)[0] * size, example(seed=seed + 1)[0] * size
    for symmetric in (True, False):
        value = losses.bernoulli_kl(logits, other, symmetric=symmetric)
        assert value.isfinite()
        assert value >= -1e-6
        assert losses.bernoulli_kl(logits, logits, symmetric=symmetric) == pytest.approx(0)


def test_bernoulli_kl_needs_equal_shapes():
    with pytest.raises(DataError, match="shapes"):
        losses.bernoulli_kl(torch.zeros(2, 3), torch.zeros(3, 2))


# Blocks


def test_every_block_builds_the_loss_with_its_own_defaults():
    logits, targets = example()
    for block, name in zip(BLOCKS, NAMES, strict=True):
        built = parse({"name": block}).build(COUNTS, SIZE)
        assert type(built).__name__ == name
        assert built(logits, targets).isfinite()
    assert parse({"name": "focal", "gamma": 3.0}).build(COUNTS, SIZE).gamma == 3.0


@pytest.mark.parametrize(
    "values",
    [
        {"name": "focal", "gamma": -1},
        {"name": "asymmetric", "gamma_negative": 0.5},
        {"name": "asymmetric", "clip": 1.0},
        {"name": "macro_f1", "queue": -1},
        {"name": "bce", "gamma": 1},
        {"name": "dice"},
    ],
)
def test_bad_blocks_are_refused(values):
    with pytest.raises(ValidationError):
        parse(values)


@pytest.mark.parametrize(
    "make",
    [
        lambda: losses.FocalLoss(gamma=-1),
        lambda: losses.AsymmetricLoss(gamma_positive=0.5),
        lambda: losses.AsymmetricLoss(clip=1),
        lambda: losses.ClassBalancedLoss(beta=1),
        lambda: losses.DistributionBalancedLoss(negative_scale=0),
        lambda: losses.MacroF1Loss(smooth=0),
        lambda: losses.SigmoidF1Loss(beta=0),
        lambda: losses.WeightedBCELoss(maximum=0.5),
        lambda: losses.ClassBalancedLoss([-1]),
    ],
)
def test_bad_arguments_are_refused(make):
    with pytest.raises(RecipeError):
        make()
