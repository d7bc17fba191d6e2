"""How a run's cases were split, in words.

The sentence counts cases and never names them: a model card is made to be published, and the names
of cases may be those of patients.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from vesalius.language import say


def split_line(split: Any) -> str | None:
    """Return the rule and how many cases fell on each side.

    Args:
        split: `split` of config.json: {"how": sentence, "train": ids, "valid": ids, ...}, or
            anything else, which is written as it is; None: unknown.
    """
    if not isinstance(split, Mapping):
        return None if split is None else flatten(split)
    words = {"train": say("for training", "例训练"), "valid": say("for validation", "例验证")}
    lists = {key: ids for key, ids in split.items() if isinstance(ids, list | tuple)}
    how = [str(split["how"])] if split.get("how") else []
    rest = {key: value for key, value in split.items() if key not in {"how", *lists}}
    counts = ", ".join(f"{len(ids)} {words.get(key, key)}" for key, ids in lists.items())
    return "; ".join(part for part in (*how, flatten(rest), counts) if part) or None


def split_members(split: Any) -> dict[str, Sequence[str]]:
    """Return title -> ids of the training and the validation cases, where they are known."""
    names = {
        "train": say("Training cases", "训练病例"),
        "valid": say("Validation cases", "验证病例"),
    }
    if not isinstance(split, Mapping):
        return {}
    sides = {title: split.get(key) for key, title in names.items()}
    return {title: ids for title, ids in sides.items() if isinstance(ids, list) and ids}


def flatten(value: Any) -> str:
    """Write a nested value of `config.json` in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {flatten(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(flatten, value))
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
