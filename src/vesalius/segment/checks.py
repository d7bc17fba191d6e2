"""Whether a recipe fits the data: what it cannot know of itself, said before a training starts."""

from typing import TYPE_CHECKING

from vesalius.errors import RecipeError
from vesalius.segment.recipe import SegmentRecipe

if TYPE_CHECKING:
    from vesalius.segment.facts import Facts


def check_recipe(recipe: SegmentRecipe, facts: "Facts") -> None:
    """Raise a `RecipeError` for what would otherwise fail in the middle of a training."""
    window, weights = recipe.predict.window, recipe.loss.class_weights
    spacing = getattr(recipe.loss, "spacing", None)
    for name, given in (("predict.window", window), ("loss.spacing", spacing)):
        if isinstance(given, tuple) and len(given) != facts.dims:
            raise RecipeError(f"{name} has {len(given)} numbers; the images have {facts.dims} axes")
    _check_mirror(recipe.predict.mirror, facts.dims)
    _check_objects(recipe)
    for name, given in (("class_weights", weights), ("alpha", getattr(recipe.loss, "alpha", None))):
        if isinstance(given, tuple) and len(given) != len(facts.labels):
            raise RecipeError(
                f"loss.{name} has {len(given)} numbers; there are {len(facts.labels)} labels "
                f"({', '.join(facts.labels)}). Give one number for each."
            )


def _check_mirror(mirror: bool | tuple[int, ...], dims: int) -> None:
    axes = () if isinstance(mirror, bool) else mirror
    if len(set(axes)) < len(axes) or max(axes, default=0) >= dims:
        raise RecipeError(
            f"predict.mirror is {list(axes)}; name axes from 0 to {dims - 1}, each once, or say "
            "true for all"
        )


def _check_objects(recipe: SegmentRecipe) -> None:
    """Refuse what would have no effect, or no sense, where single objects are found."""
    target = recipe.data.target
    parted = target == "instances" or recipe.predict.instances
    if parted and recipe.predict.largest_component:
        raise RecipeError(
            "predict.largest_component keeps one piece of a label, but single objects are asked "
            "for. Leave it out; predict.smallest drops small objects."
        )
    if target != "labels" and recipe.data.ignore == 0:
        raise RecipeError(
            f"data.ignore is 0, which is the background where data.target={target}. Ignore "
            "another value, or name the classes in data.labels with data.target=labels."
        )
