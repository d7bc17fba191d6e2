"""Models that know their layers: rates by layer, gradual unfreezing, embeddings found by asking."""

import pytest
import torch
from torch import nn

from tests.engine.toy import ToyRecipe, ToyTask
from vesalius.engine.attacks import make_attack
from vesalius.engine.data import Batch
from vesalius.engine.loop import fit
from vesalius.engine.optim import AdamW
from vesalius.engine.pieces import Unfreeze
from vesalius.engine.run import Run, write_assets
from vesalius.engine.splits import split_cases
from vesalius.engine.task import Case
from vesalius.errors import DataError, RecipeError


class Tower(nn.Module):
    """An embedding, two layers and a head; layer 0 is the lowest."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.head = nn.Linear(4, 2)

    def get_input_embeddings(self):
        return self.words

    def layer_of(self, name):
        if name.startswith("words"):
            return 0
        return 1 + int(name.split(".")[1]) if name.startswith("layers") else 3

    def forward(self, tokens):
        x = self.words(tokens).mean(1)
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x)


def rates(optimizer, model):
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: rate[id(parameter)] for name, parameter in model.named_parameters()}


def test_each_layer_learns_at_the_rate_of_the_one_above_times_the_decay():
    model = Tower()
    found = rates(AdamW(learning_rate=0.8, layer_decay=0.5).build(model), model)
    assert found["head.weight"] == found["head.bias"] == 0.8
    assert found["layers.1.weight"] == 0.4
    assert found["layers.0.bias"] == 0.2
    assert found["words.weight"] == 0.1


def test_biases_still_do_not_decay_under_rates_by_layer():
    model = Tower()
    groups = AdamW(weight_decay=0.3, layer_decay=0.5).build(model).param_groups
    assert {p.ndim > 1 for g in groups if g["weight_decay"] for p in g["params"]} == {True}
    assert {p.ndim for g in groups if not g["weight_decay"] for p in g["params"]} == {1}


def test_rates_by_layer_are_refused_for_a_model_without_layers():
    with pytest.raises(RecipeError, match=r"Linear does\s+not"):
        AdamW(layer_decay=0.5).build(nn.Linear(2, 2))


def trainable(model):
    named = model.named_parameters()
    return {name for name, p in named if p.requires_grad and name.endswith("weight")}


def test_layers_thaw_from_the_top_and_all_train_after_the_share():
    model, piece = Tower(), Unfreeze(until=0.5)
    piece.start(model, 12)
    opened = []
    for step in range(12):
        opened.append(len(trainable(model)))
        piece.after_step(model, step)
    assert opened == [1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4]


def test_a_resumed_run_has_thawed_what_the_unbroken_one_had():
    first, second = Tower(), Tower()
    unbroken, resumed = Unfreeze(), Unfreeze()
    unbroken.start(first, 12)
    for step in range(4):
        unbroken.after_step(first, step)
    resumed.start(second, 12)
    resumed.resumed(4)
    assert trainable(first) == trainable(second)


def test_frozen_parameters_that_the_user_froze_stay_frozen():
    model = Tower()
    model.words.weight.requires_grad_(False)
    piece = Unfreeze()
    piece.start(model, 4)
    for step in range(4):
        piece.after_step(model, step)
    assert not model.words.weight.requires_grad
    assert model.layers[0].weight.requires_grad


def test_unfreezing_is_refused_for_a_model_without_layers():
    with pytest.raises(RecipeError, match=r"Linear does\s+not"):
        Unfreeze().start(nn.Linear(2, 2), 4)


def test_the_embedding_is_found_whatever_it_is_called():
    model = Tower()
    attack = make_attack("activations", "auto", model)
    assert list(attack.modules) == ["words"]
    weights = make_attack("weights", "auto", model, weights=True)
    assert list(weights.parameters) == ["words.weight"]


def test_the_embedding_of_a_model_that_names_none_is_found_by_its_usual_name():
    attack = make_attack("activations", "auto", ToyTask(ToyRecipe()).build())
    assert list(attack.modules) == ["embedding"]


def test_a_model_whose_embedding_is_no_part_of_it_is_refused():
    model = Tower()
    model.get_input_embeddings = lambda: nn.Embedding(2, 2)
    with pytest.raises(RecipeError, match="none of its modules"):
        make_attack("activations", "auto", model)


def test_the_attack_moves_the_embeddings_output():
    torch.manual_seed(0)
    model = Tower()
    attack = make_attack("activations", "auto", model)
    batch = Batch(["a"], torch.tensor([[1, 2]]))
    with attack.recorded(batch) as clean:
        model(clean.inputs).sum().backward()
    (gradient,) = attack.gradients().values()
    assert gradient.shape == (1, 2, 4)
    assert gradient.abs().sum() > 0


# --- models that are solved, files beside the weights, splits -----------------------------------


def test_no_epochs_evaluate_and_keep_the_weights_as_they_were_built(tmp_path):
    task = ToyTask(ToyRecipe(epochs=0))
    cases = task.cases(40)
    run = fit(task, cases[:30], cases[30:], task.recipe, tmp_path / "run", quiet=True)
    assert run.finished
    assert run.weights_step == 0
    assert 0 <= run.scores.best <= 1
    torch.manual_seed(task.recipe.seed)
    built = task.build().state_dict()
    kept = run.model().state_dict()
    assert all(torch.equal(built[key], kept[key]) for key in built)


def test_files_of_the_task_travel_with_the_run(tmp_path):
    class WithFiles(ToyTask):
        def assets(self):
            return {"words.txt": "头痛\n发热\n"}

    task = WithFiles(ToyRecipe(epochs=1))
    cases = task.cases(20)
    run = fit(task, cases, [], task.recipe, tmp_path / "run", quiet=True)
    assert run.assets == {"words.txt": "头痛\n发热\n"}
    write_assets(run.folder, {"more.json": "{}"})
    assert Run(run.folder).assets == {"words.txt": "头痛\n发热\n", "more.json": "{}"}
    (run.folder / "words.txt").unlink()
    with pytest.raises(DataError, match=r"words\.txt"):
        _ = Run(run.folder).assets


def cases_of(groups, split=None):
    extra = [{} if split is None else {"split": s} for s in (split or groups)]
    return [
        Case(f"c{i}", None, 0, g, e) for i, (g, e) in enumerate(zip(groups, extra, strict=True))
    ]


def test_folds_cover_every_case_once_and_keep_patients_together():
    cases = cases_of(["a", "a", "b", "c", "c", "d", "e"])
    held = [split_cases(cases, 0.2, 1, folds=3, fold=k)[1] for k in range(3)]
    assert sorted(case.id for part in held for case in part) == [case.id for case in cases]
    for k in range(3):
        train, valid, how = split_cases(cases, 0.2, 1, folds=3, fold=k)
        assert not {case.group for case in train} & {case.group for case in valid}
        assert f"fold {k}" in how


def test_a_split_that_the_source_names_is_kept_and_its_test_part_left_alone():
    cases = cases_of([None] * 4, ["train", "valid", "test", "train"])
    train, valid, _ = split_cases(cases, 0.5, 0)
    assert [case.id for case in train] == ["c0", "c3"]
    assert [case.id for case in valid] == ["c1"]
    with pytest.raises(DataError, match=r"data\.folds"):
        split_cases(cases, 0.5, 0, folds=2)
