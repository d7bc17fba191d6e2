"""A department that fits on a page: points in a plane and the quadrant they lie in.

It proves that the engine needs nothing but the contract, and it is fast enough to be killed often.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vesalius.engine.data import Batch, Loader
from vesalius.engine.recipe import Recipe
from vesalius.engine.task import Case, Prediction, Scores


class ToyRecipe(Recipe):
    """What the toy can vary."""

    width: int = 16
    """hidden units"""
    dropout: float = 0.2
    """share of hidden units that are dropped"""
    batch_norm: bool = True
    """whether there is a BatchNorm"""
    poison: str | None = None
    """id of a case whose loss is NaN"""


RECIPE = ToyRecipe


class Net(nn.Module):
    """Two layers over an "embedding" of the point."""

    def __init__(self, width: int, dropout: float, batch_norm: bool):
        super().__init__()
        self.embedding = nn.Linear(2, width)
        self.norm = nn.BatchNorm1d(width) if batch_norm else nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.norm(self.embedding(x)))))


class ToyTask:
    """The contract, implemented."""

    department = "toy"

    def __init__(self, recipe: ToyRecipe, noise: float = 0.05):
        self.recipe, self.noise = recipe, noise

    def cases(self, source) -> list[Case]:
        n = int(json.loads(Path(source).read_text())["n"]) if isinstance(source, Path) else source
        points = np.random.default_rng(7).normal(size=(n, 2)).astype(np.float32)
        return [Case(f"p{i}", p, int(p[0] > 0) + 2 * int(p[1] > 0)) for i, p in enumerate(points)]

    def config(self):
        return {"noise": self.noise}

    def loader(self, cases, *, training):
        def fetch(index, rng):
            case = cases[index]
            noise = rng.normal(size=2) * self.noise if training else 0.0
            return case.id, torch.tensor(case.input + noise, dtype=torch.float32), case.target

        return Loader(
            fetch,
            len(cases),
            collate=collate,
            batch_size=self.recipe.batch_size if training else 64,
            seed=self.recipe.seed,
            workers=0 if self.recipe.workers == "auto" else self.recipe.workers,
        )

    def build(self):
        return Net(self.recipe.width, self.recipe.dropout, self.recipe.batch_norm)

    def loss(self, model, batch):
        loss = nn.functional.cross_entropy(model(batch.inputs), batch.targets)
        if self.recipe.poison in batch.ids:
            loss = loss * float("nan")
        return {"cross_entropy": loss}

    def predict(self, model, batch):
        found = model(batch.inputs).float().softmax(1).cpu().numpy()
        return [Prediction(i, p) for i, p in zip(batch.ids, found, strict=True)]

    def combine(self, predictions, how):
        raise NotImplementedError

    def score(self, cases, predictions):
        truth = {case.id: case.target for case in cases}
        right = {p.id: float(p.probabilities.argmax() == truth[p.id]) for p in predictions}
        assert right.keys() == truth.keys()
        return Scores("accuracy", {"accuracy": float(np.mean(list(right.values())))})

    def draw(self, case, prediction):
        raise NotImplementedError


def collate(items):
    ids, points, targets = zip(*items, strict=True)
    return Batch(list(ids), torch.stack(points), torch.tensor(targets))


def load_task(recipe, config, assets=None):
    return ToyTask(recipe, **config)
