"""Averages of weights: what is averaged, what is refused, who is kept."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from vesalius.errors import DataError, RecipeError
from vesalius.study.soups import soup


@pytest.fixture
def three(tmp_path):
    paths = []
    for number in range(3):
        state = {
            "weight": torch.full((2, 3), float(number)),
            "half": torch.full((4,), float(2 * number), dtype=torch.bfloat16),
            "norm.num_batches_tracked": torch.tensor(10 + number),
        }
        paths.append(tmp_path / f"{number}.safetensors")
        save_file(state, paths[-1])
    return paths


def test_the_uniform_soup_is_the_mean_and_counters_are_the_firsts(three, tmp_path):
    found = soup(three)
    assert (found.state["weight"] == 1).all()
    assert found.state["half"].dtype == torch.bfloat16
    assert (found.state["half"] == 2).all()
    assert found.taken_from_first == ("norm.num_batches_tracked",)
    assert found.state["norm.num_batches_tracked"] == 10
    written = load_file(found.write(tmp_path / "soup.safetensors"))
    assert all(torch.equal(written[key], found.state[key]) for key in written)


def test_weights_are_scaled(three):
    found = soup(three, weights=[0, 1, 3])
    torch.testing.assert_close(found.state["weight"], torch.full((2, 3), 1.75))
    assert sum(found.weights) == pytest.approx(1)


def test_the_greedy_soup_keeps_what_does_not_hurt(three):
    asked = []

    def score(state):
        asked.append(float(state["weight"][0, 0]))
        return -abs(asked[-1] - 1.4)

    found = soup(three, how="greedy", score=score)
    # Alone 1 (-0.4), 2 (-0.6), 0 (-1.4): 1 and 2 make 1.5 (-0.1); all make 1 and are refused.
    assert asked == [0, 1, 2, 1.5, 1]
    assert found.weights == (0, 0.5, 0.5)
    assert found.score == pytest.approx(-0.1)
    assert found.scores == pytest.approx((-1.4, -0.4, -0.6))


def test_the_greedy_soup_is_never_worse_than_its_best_source(three):
    found = soup(three, how="greedy", score=lambda state: -float(state["weight"].mean()))
    assert found.weights == (1, 0, 0)
    assert found.score == max(found.scores)


def test_other_names_and_shapes_are_all_listed(three, tmp_path):
    save_file({"weight": torch.zeros(3, 2), "new": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(DataError) as caught:
        soup([*three, tmp_path / "x.safetensors"])
    text = str(caught.value)
    assert "lacks half" in text
    assert "has new too" in text
    assert "(3, 2)" in text


def test_soups_that_cannot_be_cooked_are_refused(three, tmp_path):
    with pytest.raises(RecipeError, match="needs a score"):
        soup(three, how="greedy")
    with pytest.raises(RecipeError, match="uniform or greedy"):
        soup(three, how="cold")
    with pytest.raises(DataError, match="cannot be read"):
        soup([*three, tmp_path / "none.safetensors"])


def test_a_soup_of_runs_is_a_run_whose_training_cases_are_known(tmp_path):
    from tests.engine.toy import ToyRecipe, ToyTask
    from vesalius.engine import run

    task, recipe = ToyTask(ToyRecipe()), ToyRecipe()
    for number in range(2):
        torch.manual_seed(number)
        split = {"train": [f"p{number}", "p5"], "valid": ["p7", f"p{1 - number}"]}
        run.create(tmp_path / f"{number}", task, recipe, task.build(), {"split": split})
    made = soup([tmp_path / "0", run.Run(tmp_path / "1")]).write_run(tmp_path / "soup")
    models = [run.Run(tmp_path / name).model() for name in ("0", "1", "soup")]
    a, b, both = (model.head.weight.detach().numpy() for model in models)
    np.testing.assert_allclose(both, (a + b) / 2, rtol=1e-6)
    assert made.config["split"]["train"] == ["p0", "p1", "p5"]
    assert made.config["split"]["valid"] == ["p7"]
    assert len(made.predictions and list(made.predictions(task.cases(5), device="cpu"))) == 5
