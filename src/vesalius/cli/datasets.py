"""`vesalius datasets`: named data sets that need no download."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from vesalius.language import say

app = App(
    name="datasets",
    help=say("Data sets that come out of installed packages.", "随软件包安装的数据集。"),
    help_format="plaintext",
)


@app.default
def listed(*, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> int:
    """List the data sets with licence, citation and how to get them.

    Parameters
    ----------
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from dataclasses import asdict

    from vesalius import datasets
    from vesalius.cli.app import emit

    sets = datasets.catalogue()
    if as_json:
        emit([{**asdict(item), "available": item.available} for item in sets])
        return 0
    for item in sets:
        state = say("ready", "可用") if item.available else f"{item.install}"
        print(f"{item.name}  [{item.department}]  {state}\n  {item.description}")
        print(f"  {say('licence', '许可')}: {item.licence}")
        print("".join(f"  {reference}\n" for reference in item.citation))
    return 0


@app.command(name="open")
def open_set(name: str, folder: Path, /) -> int:
    """Write a data set to a folder that `train` understands.

    Parameters
    ----------
    name
        Its name, see `vesalius datasets`.
    folder
        Where to write it.
    """
    from vesalius import datasets

    print(datasets.open(name, folder))
    return 0
