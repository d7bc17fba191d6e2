"""`vesalius demo`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vesalius.language import say


def demo(
    *,
    out: Path = Path("demo"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Segment an embedded brain, diagnose synthetic records, write a report (a few minutes).

    Parameters
    ----------
    out
        Folder for data, runs and report. Runs that are there already are gone on with.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius import demo as main_job
    from vesalius.cli.app import emit

    report = main_job.demo(out)
    if as_json:
        emit({"report": report})
    else:
        print(f"\n{say('Done. Look at', '完成。请打开')}: {report}")
    return 0
