"""`vesalius demo`: the main job of every department that exists, on data that needs no download."""

from pathlib import Path
from typing import Any

from vesalius.language import say


def demo(out: str | Path = "demo", *, quiet: bool = False, **changes: Any) -> Path:
    """Train on embedded data and write one report.

    Args:
        out: folder for data, runs and report.html. Runs that are there already are gone on with.
        quiet: show no progress.
        changes: recipe keys for every run, `epochs=1` for a quick look.

    Returns:
        The report's path.

    Raises:
        MissingDependencyError: the package that carries the data is not installed.
    """
    from vesalius.report import report_comparison
    from vesalius.segment import demo as segment

    folder = Path(out)
    runs = segment.demonstrate(folder, quiet=quiet, **changes)
    return report_comparison(
        folder / "report.html",
        title=say("Vesalius: brain tissue, two networks", "Vesalius：脑组织分割，两个网络"),
        runs=list(runs.items()),
        pictures=segment.pictures(runs),
        introduction=segment.introduction(),
    )
