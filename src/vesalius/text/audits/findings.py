"""A finding of the audit, and how serious it is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["blocks", "warns", "notes"]
SEVERITIES: tuple[Severity, ...] = ("blocks", "warns", "notes")


@dataclass(frozen=True)
class Finding:
    """One thing that the audit found.

    Attributes:
        severity: "blocks": scores on these data would mean nothing; "warns": look at it before
            training; "notes": good to know.
        topic: a short name that stays the same in every language, as "id-leakage".
        message: what was found, with its numbers, in the user's language.
        remedy: what to do.
        details: the numbers behind it, for machines.
    """

    severity: Severity
    topic: str
    message: str
    remedy: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values."""
        return asdict(self) | {"details": dict(self.details)}


@dataclass(frozen=True)
class Table:
    """A titled table of strings and numbers."""

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the rows as mappings."""
        rows = [dict(zip(self.header, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows}
