"""The departments by name, through the contract alone: no department is imported here by name."""

import importlib
from collections.abc import Mapping
from typing import Any

from vesalius.engine.recipe import Recipe
from vesalius.engine.recipe_errors import nearest
from vesalius.engine.task import Task
from vesalius.engine.tricks import DEPARTMENTS
from vesalius.errors import RecipeError


def recipe_class(department: str) -> type[Recipe]:
    """Return the class of a department's recipes.

    Raises:
        RecipeError: there is no such department.
    """
    return _room(department, "recipe").RECIPE


def fresh_task(department: str, recipe: Recipe) -> Task:
    """Return a department's task that has learned nothing yet."""
    return _room(department, "task").TASK(recipe)


def again(task: Task, recipe: Recipe) -> Task:
    """Return a task like `task` that has learned nothing yet, with another recipe.

    A task is made from its recipe alone; one that needs more has `again(recipe)`.
    """
    own: Any = getattr(task, "again", None)
    return own(recipe) if own is not None else type(task)(recipe)  # pyright: ignore


def scorer(department: str, recipe: Recipe, config: Mapping[str, Any]) -> Task:
    """Return a task that scores what a run with this task configuration predicted."""
    return _room(department, "task").load_task(recipe, config)


def _room(department: str, name: str):
    try:
        return importlib.import_module(f"vesalius.{department}.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or not f"vesalius.{department}.{name}".startswith(error.name):
            raise
        raise RecipeError(
            f"there is no department '{department}'. {nearest(department, list(DEPARTMENTS))}"
            f"Known: {', '.join(DEPARTMENTS)}"
        ) from None
