"""What a search may try: ranges and choices for keys of a recipe.

    optimizer.learning_rate = 1e-4..1e-2 log        a number, evenly over its logarithm
    epochs = 5..20                                  whole numbers, both ends included
    loss.name = bce | focal | asymmetric            one of these
    pieces = [] | [{name: ema}]                     YAML values are choices too

In Python and in a YAML file a key's value is the text right of the first "=", or a list of choices.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.engine import recipe_yaml
from vesalius.engine.recipe import Recipe
from vesalius.errors import RecipeError

_RANGE = re.compile(r"^\s*(\S+?)\s*\.\.\s*(\S+?)(\s+log)?\s*$")


@dataclass(frozen=True)
class Choices:
    """One of several values."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """Return one, each as likely as the others."""
        return self.values[int(rng.integers(len(self.values)))]

    def suggest(self, trial: Any, key: str) -> Any:
        """Let an Optuna trial choose."""
        # Optuna stores words and numbers only, so it chooses a place, not the value.
        return self.values[trial.suggest_categorical(key, list(range(len(self.values))))]

    def ends(self) -> tuple[Any, ...]:
        """Return every value."""
        return self.values


@dataclass(frozen=True)
class Span:
    """A number from a range, both ends included.

    Attributes:
        low, high: its ends.
        log: evenly over the logarithm.
        whole: whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, rng: np.random.Generator) -> float | int:
        """Return a number of the range."""
        if self.whole and not self.log:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        if not self.log:
            return float(f"{rng.uniform(self.low, self.high):.4g}")
        # Whole numbers get the room of half a step to each side, so that the ends are as likely.
        edge = 0.5 if self.whole else 0.0
        value = math.exp(rng.uniform(math.log(self.low - edge), math.log(self.high + edge)))
        if self.whole:
            return int(min(max(round(value), self.low), self.high))
        return min(max(float(f"{value:.4g}"), self.low), self.high)

    def suggest(self, trial: Any, key: str) -> float | int:
        """Let an Optuna trial choose."""
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log)
        return float(f"{trial.suggest_float(key, self.low, self.high, log=self.log):.4g}")

    def ends(self) -> tuple[Any, ...]:
        """Return both ends."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)


Space = dict[str, Choices | Span]
"""Dotted recipe keys and what they may be."""


def space(entries: Mapping[str, Any] | Sequence[str] | str | Path) -> Space:
    """Read a space.

    Args:
        entries: key -> text or list of choices; lines "key=..."; or the path of a YAML file.

    Raises:
        RecipeError: an entry cannot be read; all are listed at once.
    """
    if isinstance(entries, str | Path):
        entries = recipe_yaml.read(Path(entries))
    elif not isinstance(entries, Mapping):
        entries = _split(entries)
    found, problems = {}, []
    for key, value in entries.items():
        try:
            found[key.strip()] = _one(value)
        except RecipeError as error:
            problems.append(f"{key}: {error}")
    if problems:
        raise RecipeError("the space to search cannot be read", problems)
    if not found:
        raise RecipeError("there is nothing to search: give a key and what it may be")
    return found


def _split(lines: Iterable[str]) -> dict[str, str]:
    found, problems = {}, []
    for line in lines:
        key, sign, value = line.partition("=")
        if not sign or not key.strip() or not value.strip():
            problems.append(f"'{line}' is not key=LOW..HIGH, key=LOW..HIGH log or key=A|B")
        elif key.strip() in found:
            problems.append(f"'{key.strip()}' is there twice")
        found[key.strip()] = value
    if problems:
        raise RecipeError("the space to search cannot be read", problems)
    return found


def _one(value: Any) -> Choices | Span:
    if isinstance(value, list):
        return _choices(value)
    text = str(value)
    if (match := _RANGE.match(text)) is None:
        return _choices([recipe_yaml.parse(part.strip(), text) for part in text.split("|")])
    ends = [recipe_yaml.parse(end, text) for end in match.group(1, 2)]
    numbers = [end for end in ends if isinstance(end, int | float) and not isinstance(end, bool)]
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        raise RecipeError(f"'{text}': both ends of a range are numbers")
    low, high = map(float, numbers)
    if low >= high:
        raise RecipeError(f"'{text}': the first end must be below the second")
    log = match[3] is not None
    if log and low <= 0:
        raise RecipeError(f"'{text}': a logarithm needs ends above 0")
    return Span(low, high, log, whole=all(isinstance(end, int) for end in ends))


def _choices(values: Sequence[Any]) -> Choices:
    if len(values) < 2:
        raise RecipeError("needs at least two values to choose from")
    return Choices(tuple(values))


def check(base: Recipe, known: Space) -> None:
    """Try every choice and both ends of every range in the recipe.

    Raises:
        RecipeError: a key or a value that the recipe does not take; all are listed at once.
    """
    problems = []
    for key, values in known.items():
        for value in values.ends():
            try:
                base.patched({key: value})
            except RecipeError as error:
                lines = error.problems or [str(error).splitlines()[0]]
                problems += [f"{key}={value}: {line}" for line in lines]
    if problems:
        raise RecipeError("the recipe does not take what is to be searched", problems)


def candidates(base: Recipe, known: Space, count: int, *, seed: int) -> list[dict[str, Any]]:
    """Return `count` different patches that the recipe takes; fewer where the space holds fewer.

    Draws that leave the recipe as it is, or that it does not take together, are drawn again.

    Args:
        base: the recipe.
        known: the space.
        count: how many.
        seed: of the draws.

    Raises:
        RecipeError: not one was found.
    """
    rng = np.random.default_rng(seed)
    found: list[dict[str, Any]] = []
    for _ in range(50 * count):  # a small space is exhausted by then, all but surely
        patch = {key: values.draw(rng) for key, values in known.items()}
        if patch not in found and changed(base, patch) is not None:
            found.append(patch)
        if len(found) == count:
            break
    if not found:
        raise RecipeError("no draw from the space gives a recipe other than the one it starts from")
    return found


def changed(base: Recipe, patch: Mapping[str, Any]) -> Recipe | None:
    """Return the patched recipe; None where it is the same, or not a recipe."""
    try:
        made = base.patched(patch)
    except RecipeError:
        return None
    return None if made == base else made
