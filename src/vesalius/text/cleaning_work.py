"""Cleaning as a work for `streams.run`, and the report of what it changed."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vesalius.text.cleaning import Cleaner
from vesalius.text.streams import Output

EXAMPLES = 3
"""Of each step the first so many changes are kept."""


class Work:
    """Clean a text; its note names the steps that changed it, with examples of the first ones.

    Args:
        cleaner: does the cleaning.
        one_line: make line breaks spaces, for files that hold one text per line.
    """

    draws = False

    def __init__(self, cleaner: Cleaner, *, one_line: bool = False):
        self.cleaner, self.one_line = cleaner, one_line
        self._shown: dict[str, int] = {}

    def __call__(self, text: str, rng: random.Random) -> list[Output]:
        """Return the clean text."""
        new, changes = self.cleaner.explain(text)
        if self.one_line:
            new = re.sub("\n+", " ", new)
        if not changes:
            return [Output(new)]
        return [Output(new, {"changes": {name: self._example(name, changes) for name in changes}})]

    def _example(self, step: str, changes: Mapping[str, tuple[str, str]]) -> tuple | None:
        # A process that has shown its examples showed them earlier in the file, so the first ones
        # of the whole file are always among those that arrive.
        self._shown[step] = self._shown.get(step, 0) + 1
        return changes[step] if self._shown[step] <= EXAMPLES else None


@dataclass
class StepReport:
    """In how many texts a step changed something, and its first changes (before, after)."""

    texts: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Report:
    """What was changed in a file: number of texts, and the same for each step."""

    texts: int = 0
    steps: dict[str, StepReport] = field(default_factory=dict)

    def add(self, note: Mapping) -> None:
        """Count a note of `Work`."""
        self.texts += 1
        for name, example in note["changes"].items():
            step = self.steps.setdefault(name, StepReport())
            step.texts += 1
            if example is not None and len(step.examples) < EXAMPLES:
                step.examples.append(tuple(example))

    def to_dict(self) -> dict:
        """Return the report for JSON."""
        return {
            "changed": self.texts,
            "steps": {
                name: {
                    "texts": step.texts,
                    "examples": [{"before": old, "after": new} for old, new in step.examples],
                }
                for name, step in self.steps.items()
            },
        }
