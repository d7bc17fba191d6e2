import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from vesalius.errors import RecipeError
from vesalius.text.augmenters.mixing import Mixture, draw, mixing, sent_mixup, word_mixup


def generator(seed=0):
    return np.random.default_rng(seed)


def batch(records=4, length=5, width=3, labels=6, seed=0):
    torch.manual_seed(seed)
    mask = torch.arange(length) < torch.randint(1, length + 1, (records, 1))
    return torch.randn(records, length, width), mask, (torch.rand(records, labels) < 0.4).float()


@given(st.integers(1, 8), st.floats(0.05, 5.0), st.booleans(), st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_mixed_targets_stay_between_the_two_and_keep_the_labels_of_the_batch(
    size, alpha, per_record, seed
):
    _, _, targets = batch(records=size, seed=seed)
    mixture = draw(size, rng=generator(seed), alpha=alpha, per_record=per_record)
    mixed = mixture.mix(targets)
    partners = targets[mixture.partners]
    assert torch.all(mixed <= torch.maximum(targets, partners) + 1e-6)
    assert torch.all(mixed >= torch.minimum(targets, partners) - 1e-6)
    assert np.all((mixture.shares >= 0) & (mixture.shares <= 1))
    assert sorted(mixture.partners) == list(range(size))


def test_word_mixup_is_the_convex_sum_of_two_records_position_by_position():
    embeddings, mask, targets = batch()
    mixed, joined, mixed_targets = word_mixup(embeddings, mask, targets, rng=generator(3))
    mixture = draw(4, rng=generator(3))
    share = mixture.shares[0]
    for i, j in enumerate(mixture.partners):
        for t in range(5):
            own = embeddings[i, t] if mask[i, t] else torch.zeros(3)
            other = embeddings[j, t] if mask[j, t] else torch.zeros(3)
            torch.testing.assert_close(mixed[i, t], share * own + (1 - share) * other)
            assert joined[i, t] == (mask[i, t] or mask[j, t])
        expected = share * targets[i] + (1 - share) * targets[j]
        torch.testing.assert_close(mixed_targets[i], expected)


def test_padding_cannot_leak_into_a_mixed_record():
    embeddings, mask, targets = batch()
    noisy = torch.where(mask.unsqueeze(-1), embeddings, torch.full_like(embeddings, 1e3))
    clean = word_mixup(embeddings, mask, targets, rng=generator(1))[0]
    torch.testing.assert_close(word_mixup(noisy, mask, targets, rng=generator(1))[0], clean)


def test_sent_mixup_before_a_linear_classifier_mixes_the_logits():
    vectors, targets = torch.randn(6, 3), torch.eye(6)
    classifier = nn.Linear(3, 6)
    mixed, shares = sent_mixup(vectors, targets, rng=generator(5), per_record=True)
    # Targets are the identity, so the mixed targets are the mixing matrix itself.
    torch.testing.assert_close(classifier(mixed), shares @ classifier(vectors))


def test_one_seed_gives_one_mixture():
    first, second = draw(8, rng=generator(2)), draw(8, rng=generator(2))
    np.testing.assert_array_equal(first.partners, second.partners)
    np.testing.assert_array_equal(first.shares, second.shares)


def test_shares_follow_the_beta_distribution():
    shares = draw(20_000, rng=generator(0), alpha=0.4, per_record=True).shares
    assert shares.mean() == pytest.approx(0.5, abs=0.01)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.03)


def test_mixed_losses_equal_the_loss_of_mixed_targets_where_the_loss_is_linear():
    logits, (_, _, targets) = torch.randn(4, 6), batch()
    mixture = draw(4, rng=generator(0))
    mixed = mixture.loss(F.binary_cross_entropy_with_logits, logits, targets)
    direct = F.binary_cross_entropy_with_logits(logits, mixture.mix(targets))
    torch.testing.assert_close(mixed, direct)


def test_losses_cannot_be_mixed_when_every_record_has_its_own_share():
    mixture = draw(4, rng=generator(0), per_record=True)
    with pytest.raises(RecipeError, match="mix the targets"):
        mixture.loss(F.mse_loss, torch.zeros(4, 6), torch.zeros(4, 6))


def test_the_hook_mixes_the_embeddings_of_a_model_and_leaves_it_as_it_was():
    embed = nn.Embedding(10, 3)
    tokens, mask = torch.randint(10, (4, 5)), batch()[1]
    mixture = draw(4, rng=generator(0))
    plain = embed(tokens)
    with mixing(embed, mixture, mask=mask):
        mixed = embed(tokens)
    torch.testing.assert_close(mixed, mixture.mix(plain * mask.unsqueeze(-1)))
    torch.testing.assert_close(embed(tokens), plain)
    mixed.sum().backward()
    assert embed.weight.grad.abs().sum() > 0


def test_a_module_that_is_not_called_is_an_error():
    with (
        pytest.raises(RecipeError, match="nothing was mixed"),
        mixing(nn.Linear(2, 2), draw(2, rng=generator())),
    ):
        pass


def test_a_share_of_one_is_the_identity():
    embeddings, _, _ = batch()
    mixture = Mixture(np.ones(4), np.array([1, 2, 3, 0]))
    torch.testing.assert_close(mixture.mix(embeddings), embeddings)


def test_joined_inputs_keep_tokens_and_fields():
    mask = batch()[1]
    inputs = {"tokens": torch.ones(4, 5), "mask": mask, "fields": torch.zeros(4, 5)}
    mixture = draw(4, rng=generator(0))
    joined = mixture.inputs(inputs)
    assert joined["tokens"] is inputs["tokens"]
    assert torch.equal(joined["mask"], mixture.mask(mask))


@pytest.mark.parametrize("alpha", [0, -1, float("nan")])
def test_alpha_must_be_positive(alpha):
    with pytest.raises(RecipeError, match="alpha"):
        draw(2, rng=generator(), alpha=alpha)


def test_integers_are_not_mixed():
    with pytest.raises(RecipeError, match="float"):
        draw(2, rng=generator()).mix(torch.zeros(2, 3, dtype=torch.long))


def test_a_mixture_of_another_batch_is_an_error():
    with pytest.raises(RecipeError, match="4 records met 3"):
        draw(4, rng=generator()).mix(torch.zeros(3, 2))


def test_importing_the_module_imports_no_torch():
    code = "import sys, vesalius.text.augmenters.mixing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
