"""`vesalius tricks`: what can be switched on, and dissected."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def tricks(
    department: str = "segment",
    /,
    *,
    extra: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """List a department's tricks: named patches to its recipe.

    Parameters
    ----------
    department
        segment, diagnose
    extra
        A YAML file with tricks of your own.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from dataclasses import asdict

    from vesalius.cli.app import emit
    from vesalius.engine.tricks import catalogue

    found = catalogue(department, extra=extra)
    if as_json:
        emit([asdict(trick) for trick in found.values()])
        return 0
    for trick in found.values():
        print(f"{trick.name:24} {trick.kind:14} {trick.about} ({trick.paper})")
    return 0
