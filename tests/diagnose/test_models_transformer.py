import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.diagnose.models_kit import records, small
from vesalius.diagnose.models.favor import FeatureDraws, favor_attention, orthogonal_features
from vesalius.diagnose.models.transformer import rotate, rotations


@given(st.integers(0, 500), st.integers(0, 500))
@settings(max_examples=30, deadline=None)
def test_rotated_products_depend_on_the_distance_alone(place, shift):
    query, key = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0))
    turns = rotations(1100, 8, device=torch.device("cpu"))

    def product(i: int, j: int) -> torch.Tensor:
        return (rotate(query, turns[:, i : i + 1]) * rotate(key, turns[:, j : j + 1])).sum()

    assert torch.allclose(
        product(place, place + 7), product(place + shift, place + shift + 7), atol=1e-3
    )


def test_the_order_of_the_tokens_matters():
    model = small("transformer")
    inputs = records(6)
    turned = {key: value.flip(1) for key, value in inputs.items()}
    with torch.no_grad():
        assert not torch.allclose(model(inputs), model(turned), atol=1e-5)


@pytest.mark.parametrize("attention", ["softmax", "performer"])
def test_records_may_be_longer_than_those_of_training(attention):
    model = small("transformer", attention=attention)
    with torch.no_grad():
        assert model(records(2000)).isfinite().all()


def test_features_are_orthogonal_in_blocks_and_as_long_as_gaussians():
    drawn = orthogonal_features(16, 40, seed=3)
    first = F.normalize(drawn[:16], dim=1)
    assert torch.allclose(first @ first.T, torch.eye(16), atol=1e-5)
    many = torch.cat([orthogonal_features(16, 16, seed=seed) for seed in range(300)])
    assert many.square().sum(1).mean() == pytest.approx(16, rel=0.03)
    assert torch.equal(drawn, orthogonal_features(16, 40, seed=3))


def test_many_features_approach_softmax_attention():
    rng = torch.Generator().manual_seed(0)
    queries, keys, values = (0.5 * torch.randn(1, 2, 40, 16, generator=rng) for _ in range(3))
    mask = torch.ones(1, 40, dtype=torch.bool)
    exact = F.scaled_dot_product_attention(queries, keys, values)

    def error(features: int) -> float:
        directions = orthogonal_features(16, features, seed=1)
        found = favor_attention(queries, keys, values, mask, directions, epsilon=1e-6)
        return float((found - exact).norm() / exact.norm())

    assert error(16) > error(256) > error(8192)
    assert error(8192) < 0.05


def test_masked_keys_enter_neither_the_sum_nor_the_normaliser():
    rng = torch.Generator().manual_seed(0)
    queries, keys, values = torch.randn(3, 1, 2, 50, 8, generator=rng)[:, None, 0]
    directions = orthogonal_features(8, 32, seed=1)
    mask = torch.arange(50)[None] < 20
    whole = favor_attention(queries, keys, values, mask, directions)[:, :, :20]
    parts = (x[:, :, :20] for x in (queries, keys, values))
    alone = favor_attention(*parts, mask[:, :20], directions)
    assert torch.allclose(whole, alone, atol=1e-6)


def test_large_vectors_stay_finite():
    rng = torch.Generator().manual_seed(0)
    queries, keys, values = 60 * torch.randn(3, 1, 1, 30, 8, generator=rng)
    directions = orthogonal_features(8, 32, seed=1)
    mask = torch.ones(1, 30, dtype=torch.bool)
    for epsilon in (0.0, 1e-4):
        found = favor_attention(queries, keys, values, mask, directions, epsilon=epsilon)
        assert found.isfinite().all()


def test_features_are_drawn_anew_and_a_resumed_run_draws_the_same():
    draws = FeatureDraws(2, 8, features=16, every=3, seed=5).train()
    device = torch.device("cpu")
    seen = [draws(device)[0] for _ in range(4)]
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[2], seen[3])
    resumed = FeatureDraws(2, 8, features=16, every=3, seed=0).train()
    resumed.load_state_dict(copy.deepcopy(draws.state_dict()))
    for _ in range(5):
        assert all(map(torch.equal, draws(device), resumed(device)))


def test_evaluation_counts_no_pass_and_layers_differ():
    draws = FeatureDraws(2, 8, features=16, every=1, seed=5).eval()
    first, second = draws(torch.device("cpu"))
    assert not torch.equal(first, second)
    assert int(draws.passes) == 0


def test_a_resumed_performer_trains_bit_for_bit_alike():
    def train(model, steps):
        torch.manual_seed(9)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            model(records(9, 4)).square().sum().backward()
            optimizer.step()
        return model

    options = {"attention": "performer", "redraw": 2, "dropout": 0.0, "head": {"dropout": 0.0}}
    straight = train(small("transformer", **options).train(), 5)
    broken = train(small("transformer", **options).train(), 3)
    resumed = small("transformer", seed=1, **options).train()
    resumed.load_state_dict(broken.state_dict())
    resumed = train(resumed, 2)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
