"""Cleaning rules of one's own, from a YAML file.

rules:
  - name: ward stamp
    pattern: "【\\\\w+医院】"
    replace: ""
  - pattern: "(?P<number>\\\\d+)次每分"
    replace: "\\\\g<number>次/分"
    flags: [ignore-case]
"""

import re
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from vesalius.block import Block
from vesalius.engine.recipe_errors import explain
from vesalius.engine.recipe_yaml import parse
from vesalius.errors import DataError

_FLAGS = {"ignore-case": re.IGNORECASE, "multiline": re.MULTILINE, "dot-all": re.DOTALL}


class Rule(Block):
    """One replacement."""

    pattern: str
    """Regular expression of Python's `re`."""
    replace: str = ""
    r"""What stands in its place; \1 and \g<name> are groups of the pattern."""
    flags: tuple[Literal["ignore-case", "multiline", "dot-all"], ...] = ()
    """How the pattern is read."""
    name: str | None = None
    """What the report calls the rule; default: the pattern."""

    @property
    def title(self) -> str:
        """Return the name that the report shows."""
        return self.name or self.pattern

    def compiled(self) -> re.Pattern:
        """Return the pattern, ready for use."""
        flags = re.NOFLAG
        for flag in self.flags:
            flags |= _FLAGS[flag]
        return re.compile(self.pattern, flags)


def read_rules(path: str | Path) -> tuple[Rule, ...]:
    """Read a rule file: a list of rules, alone or under the key `rules`.

    Raises:
        DataError: the file cannot be read, or rules are wrong; all of them are listed.
    """
    path = Path(path)
    try:
        content = parse(path.read_text(encoding="utf-8-sig"), str(path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such rule file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    entries = content.get("rules") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise DataError(f"{path}: write a list of rules: - {{pattern: ..., replace: ...}}")
    rules, problems = [], []
    for number, entry in enumerate(entries, 1):
        found = _rule(entry)
        if isinstance(found, Rule):
            rules.append(found)
        else:
            problems += [f"rule {number}: {problem}" for problem in found]
    if problems:
        raise DataError(f"{path}: {len(problems)} problems", problems)
    return tuple(rules)


def _rule(entry: object) -> Rule | list[str]:
    try:
        rule = Rule.model_validate(entry)
    except ValidationError as error:
        return explain(Rule, error)
    try:
        rule.compiled().sub(rule.replace, "")  # also reads the replacement's groups
    except (re.error, IndexError) as error:
        return [f"'{rule.pattern}' with '{rule.replace}' is not valid: {error}"]
    return rule
