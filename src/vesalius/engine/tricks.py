"""The catalogue of tricks: named patches to a recipe, one YAML file per department.

An entry: `name: {kind: ..., about: ..., paper: ..., gain: ..., cost: ..., patch: {dotted.key:
value}}`; gain (as published) and cost may be left out. Nothing else in the program knows what a
trick is.
"""

import importlib
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesalius.engine import recipe_yaml
from vesalius.engine.recipe import Recipe
from vesalius.engine.recipe_errors import nearest
from vesalius.errors import RecipeError

DEPARTMENTS = ("segment", "detect", "diagnose")


@dataclass(frozen=True)
class Trick:
    """A named patch.

    Attributes:
        name: how it is called.
        kind: what it acts on: "training step", "weights", "loss", "model", "data", ...
        about: one sentence.
        paper: where it comes from.
        patch: dotted recipe keys and their values.
        gain: what its paper reports; empty where that is not known here. Not what it does for you.
        cost: what it takes beside the baseline, in words.
    """

    name: str
    kind: str
    about: str
    paper: str
    patch: Mapping[str, Any]
    gain: str = ""
    cost: str = ""

    def apply(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the trick switched on."""
        return recipe.patched(self.patch)


def catalogue(department: str, *, extra: str | Path | None = None) -> dict[str, Trick]:
    """Return a department's tricks by name; `extra` is a YAML file with more of them.

    Raises:
        RecipeError: an unknown department, or an entry that lacks a key.
    """
    if department not in DEPARTMENTS:
        raise RecipeError(
            f"department '{department}' has no tricks. {nearest(department, list(DEPARTMENTS))}"
            f"Known: {', '.join(DEPARTMENTS)}"
        )
    path = importlib.resources.files(f"vesalius.{department}") / "tricks.yaml"
    with importlib.resources.as_file(path) as file:
        found = _read(file)
    return found | (_read(Path(extra)) if extra is not None else {})


def _read(path: Path) -> dict[str, Trick]:
    tricks = {}
    for name, entry in recipe_yaml.read(path).items():
        try:
            tricks[name] = Trick(name=name, **entry)
        except TypeError:
            keys = "kind, about, paper and patch (and may have gain and cost)"
            raise RecipeError(f"{path}: the trick '{name}' needs the keys {keys}") from None
    return tricks
