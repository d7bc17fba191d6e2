"""Clean clinical text without changing what its values mean.

Every step is a named option. A text is first searched once for the characters that any step could
change; most clean sentences end there. Steps whose characters occur are applied in order, and again
until nothing changes, so that cleaning twice gives what cleaning once gives.
"""

import functools
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from vesalius.block import Block
from vesalius.engine.recipe_errors import explain
from vesalius.errors import RecipeError
from vesalius.text import cleaning_steps
from vesalius.text.rules import Rule

_PASSES = 50
"""One is usual, three come from markup inside of markup; a limit for adversaries."""
_CONTEXT, _SHOWN = 8, 120


class CleanOptions(Block):
    """What cleaning does."""

    mojibake: bool = True
    """Repair text that was decoded with the wrong encoding."""
    html: bool = True
    """Remove HTML tags, resolve entities; <sup>9</sup> becomes ⁹."""
    urls: bool = True
    """Remove web addresses."""
    control: bool = True
    """Remove control and zero-width characters."""
    width: bool = True
    """Full-width letters, digits and signs become half-width, ㎎ becomes mg."""
    simplified: bool = True
    """Traditional Chinese becomes simplified Chinese."""
    punctuation: Literal["keep", "chinese", "ascii"] = "chinese"
    """chinese: half-width marks beside Chinese characters become Chinese ones; ascii: Chinese marks
    become ASCII; keep."""
    repeats: int | None = Field(2, ge=2)
    """Runs of the same letter or Chinese character are cut to so many (never digits); null: keep.
    Repeated punctuation becomes one mark."""
    case: Literal["keep", "lower"] = "keep"
    """lower: words become lower-case; units such as mmHg and pH and Roman numerals stay."""
    stop_words: bool = False
    """Remove stop words (of the package's own list, Chinese and English)."""
    extra_stop_words: tuple[str, ...] = ()
    """Further words to remove; alone, without `stop_words`, only these are removed."""
    whitespace: bool = True
    """One space for many, none at the ends of lines, at most one empty line."""
    rules: tuple[Rule, ...] = ()
    """Replacements of one's own, applied once, after all else."""


class Cleaner:
    """Clean texts with the same options; picklable.

    Args:
        options: what to do.
    """

    def __init__(self, options: CleanOptions | None = None):
        self.options = options or CleanOptions()
        chosen = cleaning_steps.steps(self.options)
        self._search = cleaning_steps.search(chosen)
        self._tests = [step.test for step in chosen if step.test]
        self._table = [
            (1 << number, step.name, step.apply, step.test) for number, step in enumerate(chosen)
        ]
        self._own = [(rule.title, rule.compiled(), rule.replace) for rule in self.options.rules]

    def __reduce__(self) -> tuple:
        return Cleaner, (self.options,)

    def __call__(self, text: str) -> str:
        """Return the clean text."""
        return self._clean(text, None)

    def explain(self, text: str) -> tuple[str, dict[str, tuple[str, str]]]:
        """Return the clean text, and what each step changed first: its name, before, after."""
        changes: dict[str, tuple[str, str]] = {}
        return self._clean(text, changes), changes

    def _clean(self, text: str, changes: dict[str, tuple[str, str]] | None) -> str:
        for _ in range(_PASSES):
            new = self._pass(text, changes)
            if new == text:
                break
            text = new
        for title, pattern, replace in self._own:
            new = pattern.sub(replace, text)
            if changes is not None and new != text:
                changes.setdefault(title, difference(text, new))
            text = new
        return text

    def _pass(self, text: str, changes: dict[str, tuple[str, str]] | None) -> str:
        concerned = self._search(text)
        if not concerned and not self._needs_a_look(text):
            return text
        for bit, name, apply, test in self._table:
            if not concerned & bit and not (test and test(text)):
                continue
            new = apply(text)
            if changes is not None and new != text:
                changes.setdefault(name, difference(text, new))
            text = new
        return text

    def _needs_a_look(self, text: str) -> bool:
        # A plain loop: any() over a generator takes as long as the tests themselves.
        for test in self._tests:  # noqa: SIM110
            if test(text):
                return True
        return False


def clean(text: str, **options: Any) -> str:
    """Return the text clean, its values unchanged in meaning.

    >>> clean("血压１２０／８０ｍｍＨｇ，，白细胞１０×１０⁹／Ｌ")
    '血压120/80mmHg，白细胞10×10⁹/L'

    Args:
        text: any text, Chinese or English.
        options: see `CleanOptions`.

    Raises:
        RecipeError: unknown options or values; all of them are listed.
    """
    return _cleaner(**options)(text) if options else _default()(text)


def clean_with_report(text: str, **options: Any) -> tuple[str, dict[str, tuple[str, str]]]:
    """Return the text clean, and for each step that changed it its first change (before, after).

    Raises:
        RecipeError: unknown options or values; all of them are listed.
    """
    return _cleaner(**options).explain(text)


@functools.cache
def _default() -> Cleaner:
    return Cleaner()


def _cleaner(**options: Any) -> Cleaner:
    key = tuple(sorted((name, _frozen(value)) for name, value in options.items()))
    try:
        return _known(key)
    except TypeError:  # a value that is not hashable, which pydantic may know how to read
        return Cleaner(options_from(options))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@functools.lru_cache(maxsize=64)
def _known(options: tuple[tuple[str, Any], ...]) -> Cleaner:
    return Cleaner(options_from(dict(options)))


def options_from(values: Mapping[str, Any]) -> CleanOptions:
    """Check options.

    Raises:
        RecipeError: unknown options or values; all of them are listed.
    """
    try:
        return CleanOptions.model_validate(dict(values))
    except ValidationError as error:
        raise RecipeError("wrong options for cleaning", explain(CleanOptions, error)) from None


def difference(before: str, after: str) -> tuple[str, str]:
    """Return the part of both texts that differs, with up to 8 characters around it."""
    shortest = min(len(before), len(after))
    start = next((i for i in range(shortest) if before[i] != after[i]), shortest)
    end = next(
        (i for i in range(shortest - start) if before[-1 - i] != after[-1 - i]), shortest - start
    )
    return _cut(before, start, end), _cut(after, start, end)


def _cut(text: str, start: int, end: int) -> str:
    first, last = max(0, start - _CONTEXT), len(text) - max(0, end - _CONTEXT)
    return text[first:last][:_SHOWN]
