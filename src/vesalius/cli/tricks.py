"""`vesalius tricks`: what can be switched on, and dissected."""

from pathlib import Path

from vesalius.cli.departments import Flag, Json
from vesalius.language import say


def tricks(
    department: str | None = None,
    /,
    *,
    extra: Path | None = None,
    long: Flag = False,
    as_json: Json = False,
) -> int:
    """List tricks: named patches to a recipe, with their papers, published gains and costs.

    A published gain is what others saw on their data; `vesalius dissect` measures it on yours.

    Parameters
    ----------
    department
        segment, detect, diagnose; left out: all.
    extra
        A YAML file with tricks of your own; needs a department.
    long
        Also print published gain, cost and patch of each.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from dataclasses import asdict

    from vesalius.cli.app import emit
    from vesalius.engine.tricks import DEPARTMENTS, catalogue
    from vesalius.errors import RecipeError

    if extra is not None and department is None:
        raise RecipeError(f"{extra}: say for which department these tricks are")
    chosen = DEPARTMENTS if department is None else (department,)
    found = {name: catalogue(name, extra=extra) for name in chosen}
    if as_json:
        listed = {
            name: [asdict(trick) for trick in known.values()] for name, known in found.items()
        }
        emit(listed if department is None else listed[department])
        return 0
    for name, known in found.items():
        if department is None:
            print(f"{name}:")
        for trick in known.values():
            print(f"{trick.name:24} {trick.kind:14} {trick.about} ({trick.paper})")
            if long:
                _more(trick)
    return 0


def _more(trick) -> None:
    none = say("not stated here", "此处未载")
    print(f"    {say('published', '文献增益')}: {trick.gain or none}")
    print(f"    {say('cost', '代价')}: {trick.cost or none}")
    print(f"    {say('patch', '修改')}: {dict(trick.patch)}")
