"""The recipes of a dissection: the baseline, each trick alone, all together, all but one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vesalius.engine.recipe import Recipe
from vesalius.engine.recipe_errors import nearest
from vesalius.engine.tricks import Trick
from vesalius.errors import RecipeError

BASELINE, ALL, WITHOUT = "baseline", "all", "without:"


@dataclass(frozen=True)
class Variants:
    """Recipes by name, and what could not be together.

    Attributes:
        recipes: BASELINE, the tricks' names, ALL, WITHOUT + a trick's name.
        together: the tricks of ALL.
        left_out: trick -> the trick of ALL that sets the same key to another value.
    """

    recipes: Mapping[str, Recipe]
    together: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def chosen(known: Mapping[str, Trick], names: Sequence[str]) -> dict[str, Trick]:
    """Return the named tricks; no names: all of them.

    Raises:
        RecipeError: unknown names, each with the nearest known one.
    """
    wrong = [name for name in names if name not in known]
    if wrong:
        raise RecipeError(
            f"{len(wrong)} trick(s) are not in the catalogue; `vesalius tricks` lists them",
            [f"'{name}'. {nearest(name, list(known))}".strip() for name in wrong],
        )
    return {name: known[name] for name in dict.fromkeys(names or known)}


def fitting(base: Recipe, tricks: Mapping[str, Trick]) -> dict[str, Trick]:
    """Return the tricks that fit a recipe and change it."""
    return {name: trick for name, trick in tricks.items() if _changed(base, trick) is not None}


def _changed(base: Recipe, trick: Trick) -> Recipe | None:
    try:
        found = trick.apply(base)
    except RecipeError:
        return None
    return None if found == base else found


def variants(
    base: Recipe, tricks: Mapping[str, Trick], *, together: bool = True, but_one: bool = False
) -> Variants:
    """Return the recipes to compare.

    Args:
        base: the baseline.
        tricks: by name, in the order in which they are switched on.
        together: also all tricks at once. Of those that set one key to different values (two
            losses) the first stays; lists (pieces, augmentations) are joined.
        but_one: also all but each one in turn; implies `together`.

    Raises:
        RecipeError: a trick does not fit the recipe, or changes nothing in it.
    """
    recipes, problems = {BASELINE: base}, []
    for name, trick in tricks.items():
        try:
            recipes[name] = trick.apply(base)
        except RecipeError as error:
            problems.append(f"{name}: does not fit this recipe: {'; '.join(_lines(error))}")
            continue
        if recipes[name] == base:
            problems.append(f"{name}: changes nothing, the recipe has it already")
    if problems:
        raise RecipeError("leave these tricks out, or choose another --recipe", problems)
    if not (together or but_one) or len(tricks) < 2:
        return Variants(recipes)
    kept, left_out = _compatible(tricks)
    recipes[ALL] = _joined(base, kept, ALL)
    if but_one and len(kept) > 2:
        for name in kept:
            rest = {other: trick for other, trick in kept.items() if other != name}
            recipes[WITHOUT + name] = _joined(base, rest, WITHOUT + name)
    return Variants(recipes, tuple(kept), left_out)


def _lines(error: RecipeError) -> list[str]:
    return error.problems or [str(error).splitlines()[0]]


def _compatible(tricks: Mapping[str, Trick]) -> tuple[dict[str, Trick], dict[str, str]]:
    """Return tricks that can be on at once, and which trick keeps which other one out."""
    kept, left_out = {}, {}
    for name, trick in tricks.items():
        rival = next((other for other, had in kept.items() if _clash(trick.patch, had.patch)), None)
        if rival is None:
            kept[name] = trick
        else:
            left_out[name] = rival
    return kept, left_out


def _clash(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two patches set one place (or a block and a key of it) to different values."""
    for key, value in one.items():
        for had, before in other.items():
            nested = key.startswith(f"{had}.") or had.startswith(f"{key}.")
            same = key == had and not (isinstance(value, list) and isinstance(before, list))
            if nested or (same and value != before) or _one_block(key, had):
                return True
    return False


def _one_block(key: str, had: str) -> bool:
    """Tell whether one key renames the block that the other sets an option of."""
    for name, option in ((key, had), (had, key)):
        block, _, last = name.rpartition(".")
        if last == "name" and option != name and option.startswith(f"{block}."):
            return True
    return False


def _joined(base: Recipe, tricks: Mapping[str, Trick], name: str) -> Recipe:
    """Return the recipe with several tricks; their lists follow one another."""
    patch: dict[str, Any] = {}
    for trick in tricks.values():
        for key, value in trick.patch.items():
            both = isinstance(value, list) and isinstance(patch.get(key), list)
            patch[key] = [*patch[key], *value] if both else value
    try:
        return base.patched(patch)
    except RecipeError as error:
        listed = ", ".join(tricks)
        raise RecipeError(
            f"the tricks {listed} cannot be on together ({name}); leave some out, or ask for each "
            "alone: --no-together",
            _lines(error),
        ) from None
