"""The toy department for studies: in a module that worker processes can import by its name."""

import os

import tests.engine.register  # noqa: F401
from tests.engine.toy import ToyRecipe, ToyTask
from vesalius.engine.tricks import Trick


class Toy(ToyTask):
    """The toy; a process that trains the poisoned recipe dies."""

    def build(self):
        if self.recipe.poison == "die":
            os._exit(7)
        return super().build()


def toy(*overrides: str) -> Toy:
    """Return the toy, quick to train."""
    settings = {"epochs": 4, "batch_size": 16, "optimizer.learning_rate": 0.02, "dropout": 0.0}
    items = [f"{key}={value}" for key, value in settings.items()]
    return Toy(ToyRecipe.load(None, [*items, *overrides]))


def trick(name: str, **patch) -> Trick:
    """Return a trick whose keys are written with __ for the dot."""
    dotted = {key.replace("__", "."): value for key, value in patch.items()}
    return Trick(name=name, kind="toy", about="changes the toy", paper="none", patch=dotted)
