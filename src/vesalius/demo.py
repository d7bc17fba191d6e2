"""`vesalius demo`: the main job of every department that exists, on data that needs no download."""

from pathlib import Path
from typing import Any

from vesalius.language import say


def demo(out: str | Path = "demo", *, quiet: bool = False, **changes: Any) -> Path:
    """Train on embedded data and write one report.

    Args:
        out: folder for data, runs and report.html. Runs that are there already are gone on with.
        quiet: show no progress.
        changes: recipe keys for every network, `epochs=1` for a quick look.

    Returns:
        The report's path.

    Raises:
        MissingDependencyError: the package that carries the data is not installed.
    """
    from vesalius.detect import demo as detect
    from vesalius.diagnose import demo as diagnose
    from vesalius.report.comparison import comparison
    from vesalius.report.page import write_page
    from vesalius.segment import demo as segment

    folder = Path(out)
    pictures = segment.demonstrate(folder, quiet=quiet, **changes)
    coins = detect.demonstrate(folder, quiet=quiet)
    records = diagnose.demonstrate(folder, quiet=quiet)
    sections = [
        *comparison(
            list(pictures.items()),
            title=say("Images to masks: brain tissue", "图像到掩码：脑组织"),
            pictures=segment.pictures(pictures),
            introduction=segment.introduction(),
        ),
        *comparison(
            list(coins.items()),
            title=say("Images to boxes and masks: coins", "图像到检测框与掩码：硬币"),
            pictures=detect.pictures(coins),
            introduction=detect.introduction(),
        ),
        *comparison(
            list(records.items()),
            title=say("Records to diseases: a synthetic cohort", "病历到疾病：合成队列"),
            introduction=diagnose.introduction(folder),
            sections=diagnose.evidence(records),
        ),
    ]
    return write_page(
        folder / "report.html",
        title=say("Vesalius: a demonstration", "Vesalius：演示"),
        subtitle=" · ".join([*pictures, *coins, *records]),
        sections=sections,
    )
