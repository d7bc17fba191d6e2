"""What the commands of all departments do alike: train, evaluate, show recipes."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from vesalius.language import say

Flag = Annotated[bool, Parameter(negative=())]
Json = Annotated[bool, Parameter(name="--json", negative=())]


def trained(
    act: Callable[..., Any],
    data: Path,
    overrides: tuple[str, ...],
    show: Callable[[Any], None],
    *,
    as_json: bool,
    **options: Any,
) -> int:
    """Train by a department's function and print what came of it."""
    import shlex
    import sys

    from vesalius.cli.app import emit
    from vesalius.engine import distributed
    from vesalius.errors import RecipeError

    wrong = [item for item in overrides if "=" not in item]
    if wrong:
        raise RecipeError(f"'{wrong[0]}' is not of the form key.path=value, for example epochs=20")
    command = shlex.join(["vesalius", *sys.argv[1:]])
    run = act(data, overrides=overrides, command=command, **options)
    if not distributed.is_first():
        return 0
    scores, report = run.scores, run.folder / "report.html"
    if as_json:
        emit({"run": run.folder, "report": report, "scores": scores and scores.to_dict()})
    else:
        show(scores)
        print(f"{say('run', '结果目录')}:    {run.folder}\n{say('report', '报告')}: {report}")
    return 0


def evaluated(
    act: Callable[..., Any],
    run: Path,
    data: Path,
    show: Callable[[Any], None],
    *,
    as_json: bool,
    **options: Any,
) -> int:
    """Evaluate by a department's function, with a progress bar, and print the scores."""
    from vesalius.cli.app import emit
    from vesalius.engine.progress import Progress

    with Progress(0, label=say("evaluating", "评估"), quiet=as_json) as bar:
        scores = act(run, data, **options, started=bar.begin, progress=bar.advance)
    if as_json:
        emit(scores.to_dict())
    else:
        show(scores)
    return 0


def shown_recipe(kind: Any, name: str | None, overrides: tuple[str, ...]) -> int:
    """Print a complete, commented recipe, or list the named ones."""
    if name is None:
        for preset, entry in kind.presets().items():
            print(f"{preset:24} {entry['about']}")
        return 0
    print(kind.load(name, overrides).to_yaml(comments=True), end="")
    return 0
