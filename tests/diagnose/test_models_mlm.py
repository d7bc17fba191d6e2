import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.diagnose.models_kit import VOCABULARY, records, small
from vesalius.diagnose.models.mlm import IGNORED, MaskedLanguageModel, mask_tokens
from vesalius.errors import RecipeError

MASK, SPECIAL = 4, (0, 1, 2, 3)


def masked(tokens, mask, seed=0, **options):
    return mask_tokens(
        tokens,
        mask,
        rng=torch.Generator().manual_seed(seed),
        mask_token=MASK,
        vocabulary=VOCABULARY,
        special=SPECIAL,
        **options,
    )


def test_shares_are_fifteen_and_eighty_ten_ten_percent():
    tokens = torch.randint(5, VOCABULARY, (200, 500), generator=torch.Generator().manual_seed(1))
    changed, targets = masked(tokens, torch.ones_like(tokens, dtype=torch.bool))
    chosen = targets != IGNORED
    assert chosen.float().mean() == pytest.approx(0.15, abs=0.004)
    assert (changed == MASK)[chosen].float().mean() == pytest.approx(0.8, abs=0.01)
    kept = (changed == tokens)[chosen].float().mean()
    assert kept == pytest.approx(0.1 + 0.1 / (VOCABULARY - 5), abs=0.01)


@given(st.integers(0, 2**31), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_only_allowed_tokens_are_chosen_and_targets_are_the_originals(seed, length):
    tokens = torch.randint(0, VOCABULARY, (3, 30), generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(30) < torch.tensor([[length], [30], [1]])
    changed, targets = masked(tokens, mask, seed, share=0.5)
    chosen = targets != IGNORED
    assert torch.equal(changed[~chosen], tokens[~chosen])
    assert torch.equal(targets[chosen], tokens[chosen])
    assert not (chosen & (~mask | (tokens < 4))).any()
    assert (changed[chosen] >= MASK).all()


def test_whole_words_are_chosen_together_and_long_ones_no_more_often():
    words = torch.arange(400).repeat_interleave(torch.arange(400) % 4 + 1)[None].repeat(50, 1)
    tokens = torch.full_like(words, 7)
    _, targets = masked(tokens, torch.ones_like(tokens, dtype=torch.bool), words=words)
    chosen = (targets != IGNORED).float()
    per_word = torch.zeros(50, 400).scatter_reduce(1, words, chosen, "mean", include_self=False)
    assert set(per_word.unique().tolist()) == {0.0, 1.0}
    for length in range(4):
        assert per_word[:, length::4].mean() == pytest.approx(0.15, abs=0.02)


def test_words_with_a_negative_number_are_never_chosen():
    tokens, words = torch.full((1, 200), 7), torch.arange(200)[None] - 100
    _, targets = masked(tokens, torch.ones_like(tokens, dtype=torch.bool), words=words, share=0.9)
    assert (targets[:, :100] == IGNORED).all()
    assert (targets[:, 100:] != IGNORED).float().mean() > 0.7


def test_a_generator_in_the_same_state_masks_the_same():
    inputs = records(30, 20)
    first, second = (masked(inputs["tokens"], inputs["mask"], 5)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_wrong_shares_are_refused():
    inputs = records(3)
    with pytest.raises(RecipeError, match="share"):
        masked(inputs["tokens"], inputs["mask"], share=1.5)


@pytest.mark.parametrize("name", ["transformer", "text_cnn", "lstm"])
def test_pretraining_learns_to_fill_the_gaps(name):
    torch.manual_seed(0)
    model = small(name).train()
    learner = MaskedLanguageModel(model)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.01)
    tokens = torch.arange(5, 21)[:, None].repeat(1, 12)  # each token is its neighbour's twin
    inputs = {"mask": torch.ones_like(tokens, dtype=torch.bool), "fields": torch.zeros_like(tokens)}
    losses = []
    for step in range(60):
        changed, targets = masked(tokens, inputs["mask"], step)
        loss = learner({**inputs, "tokens": changed}, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_nothing_to_predict_costs_nothing():
    inputs = records(3)
    loss = MaskedLanguageModel(small("transformer"))(inputs, torch.full((1, 3), IGNORED))
    loss.backward()
    assert loss.item() == 0.0
