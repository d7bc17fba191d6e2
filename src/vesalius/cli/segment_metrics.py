"""`vesalius segment metrics` and `compare`: scores of masks that somebody has predicted."""

import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vesalius.errors import RecipeError
from vesalius.language import say

if TYPE_CHECKING:
    from vesalius.segment.metrics.folder_comparison import FolderComparison
    from vesalius.segment.metrics.folders import FolderScores

_SUFFIXES = (".csv", ".md", ".tex", ".json")
_CASES_PER_WORKER = 16
"""A new process costs about a second; fewer cases than this are sooner done without one."""


Flag = Annotated[bool, Parameter(negative=())]


@Parameter(name="*")
@dataclass(frozen=True)
class Scoring:
    """How masks are scored.

    Parameters
    ----------
    profile
        Whose conventions: vesalius, monai, medpy, surface-distance, nnunet, torchmetrics,
        panoptica, metrics-reloaded.
    labels
        Values or names to score: 1,2 or liver,spleen. Default: all that are declared or occur.
    spacing
        Voxel size in mm along each axis of the array: 1,1,2.5. Default: the file's.
    tolerance
        Of NSD, in mm.
    ignore
        True value that counts for nothing, such as 255.
    instances
        The masks number objects (cells): match them.
    subset
        Score the predicted cases only, though TRUTH holds more.
    workers
        Processes. Default: one, several for many cases.
    out
        Also write a table (.csv, .md, .tex) or everything (.json); for `metrics`, a file called
        summary.json is nnU-Net's.
    as_json
        Print one JSON document and nothing else to standard output.
    """

    profile: str = "vesalius"
    labels: str | None = None
    spacing: str | None = None
    tolerance: float = 1.0
    ignore: int | None = None
    instances: Flag = False
    subset: Flag = False
    workers: int | None = None
    out: Path | None = None
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False

    def chosen(self, predictions: Path) -> dict[str, Any]:
        """Return the options as the functions take them."""
        shown = ("labels", "spacing", "out", "as_json", "workers")
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shown}
        lists = options(self.labels, self.spacing, self.out)
        return {**plain, **lists, "workers": workers_for(predictions, self.workers)}


_DEFAULT = Scoring()


def metrics(
    predictions: Path,
    truth: Path,
    /,
    *,
    all_profiles: Flag = False,
    scoring: Scoring = _DEFAULT,
) -> int:
    """Score predicted masks against true ones: overlap, distances, objects, with intervals.

    Parameters
    ----------
    predictions
        Folder of masks, or one file.
    truth
        Folder of masks with the same names, a data set, or one file.
    all_profiles
        Also show what every other library would say.
    """
    from vesalius.engine.progress import Progress
    from vesalius.segment.metrics import folders

    chosen = scoring.chosen(predictions)
    with Progress(0, label=say("scoring", "评分"), quiet=scoring.as_json) as bar:
        scores = folders.metrics(
            predictions,
            truth,
            **chosen,
            all_profiles=all_profiles,
            started=bar.begin,
            progress=bar.advance,
        )
    if scoring.out is not None:
        scores.write(scoring.out)
    show(scores, as_json=scoring.as_json)
    return 0


def compare(a: Path, b: Path, truth: Path, /, *, scoring: Scoring = _DEFAULT) -> int:
    """Compare two models by their predictions of the same cases, paired.

    Parameters
    ----------
    a
        Folder of the first model's masks.
    b
        Folder of the second model's masks, of the same cases.
    truth
        Folder of the true masks, or a data set.
    """
    from vesalius.segment.metrics.folder_comparison import compare_folders

    found = compare_folders(a, b, truth, **scoring.chosen(a))
    if scoring.out is not None:
        found.write(scoring.out)
    show_comparison(found, as_json=scoring.as_json)
    return 0


def options(labels: str | None, spacing: str | None, out: Path | None) -> dict[str, Any]:
    """Return the lists that options write with commas; check early where results shall go."""
    if out is not None and out.suffix not in _SUFFIXES:
        raise RecipeError(f"--out {out}: write {', '.join(_SUFFIXES)}, or the file summary.json.")
    chosen = None if labels is None else [part.strip() for part in labels.split(",")]
    try:
        steps = None if spacing is None else [float(part) for part in spacing.split(",")]
    except ValueError:
        raise RecipeError(f"--spacing {spacing}: give numbers with commas, as 1,1,2.5") from None
    return {"labels": chosen, "spacing": steps}


def workers_for(predictions: Path, workers: int | None) -> int:
    """Return the number of processes: as asked, or one for every 16 cases up to the cores."""
    if workers is not None:
        return workers
    cases = len(os.listdir(predictions)) if predictions.is_dir() else 1
    return max(1, min(os.cpu_count() or 1, cases // _CASES_PER_WORKER))


def show(scores: "FolderScores", *, as_json: bool) -> None:
    """Print scores as tables, or as one strict JSON document."""
    from vesalius.segment.metrics import tables

    if as_json:
        print(tables.to_json(scores.to_dict()), end="")
        return
    header, *rows = tables.short_rows(scores.labels)
    _print(say("per label", "各标签"), header, rows)
    _print_objects(scores)
    _print_profiles(scores)
    for line in _notes(scores):
        print(line)


def show_comparison(found: "FolderComparison", *, as_json: bool) -> None:
    """Print a paired comparison as a table, or as one strict JSON document."""
    from vesalius.report.tables import format_value
    from vesalius.segment.metrics import tables

    if as_json:
        print(tables.to_json(found.to_dict()), end="")
        return
    header = ["metric", "label", "A", "B", "A - B [interval]", "p", "A better/equal/worse"]
    rows = []
    for row in found.rows():
        difference = tables.with_interval({**row, "mean": row["difference"]})
        means = (format_value(row[key]) for key in ("mean_a", "mean_b"))
        counts = (round(row[key] * row["cases"]) for key in ("better", "equal", "worse"))
        p_value = format_value(row["wilcoxon_p"])
        shares = "/".join(map(str, counts)) if row["cases"] else format_value(None)
        rows.append([row["metric"], row["label"], *means, difference, p_value, shares])
    _print(say("paired by case", "按病例配对"), header, rows)
    print(
        say(
            "p: Wilcoxon's signed-rank test, two-sided, corrected over the labels of a metric "
            "(Holm). Cases are the units: another training seed may change the order.",
            "p：Wilcoxon 符号秩检验，双侧，按每个指标的标签数校正（Holm）。以病例为单位："
            "换一个训练种子，优劣可能改变。",
        )
    )
    unbounded, unpaired = (
        max((row[key] for row in found.rows()), default=0) for key in ("unbounded", "unpaired")
    )
    if unbounded or unpaired:
        print(
            say(
                f"Up to {unbounded} cases of a row have an infinite distance (missed or invented): "
                f"they count in p and in the last column alone. Up to {unpaired} have a value in "
                "one model only and are left out.",
                f"一行中至多 {unbounded} 个病例距离无穷（漏检或误检）：只计入 p 与最后一列；"
                f"至多 {unpaired} 个病例只有一方有值，未计入。",
            )
        )


def _print_objects(scores: "FolderScores") -> None:
    from vesalius.report.tables import format_value
    from vesalius.segment.metrics import tables

    if not scores.settings.instances:
        return
    found = scores.summary["instances"]
    rows = [
        [
            name,
            tables.with_interval({**row, "mean": row["estimate"]}),
            format_value(found["pooled"].get(name)),
        ]
        for name, row in found["mean"].items()
    ]
    header = [say("objects", "目标"), say("mean over cases", "病例平均")]
    _print("", [*header, say("all objects pooled", "全部目标合并")], rows)


def _print_profiles(scores: "FolderScores") -> None:
    from vesalius.report.tables import format_value
    from vesalius.segment.metrics import tables

    if len(scores.settings.profiles) < 2:
        return
    found = scores.divergence()
    shown = [metric for metric in tables.SHOWN if metric in next(iter(found["vesalius"].values()))]
    rows = [
        [name, scores.names[label], *(format_value(row[label][metric]) for metric in shown)]
        for name, row in found.items()
        for label in scores.names
    ]
    _print(say("by profile", "各约定"), [say("profile", "约定"), "label", *shown], rows)


def _notes(scores: "FolderScores") -> list[str]:
    """Return what must be known to read the table."""
    from vesalius.report.tables import format_value

    how = scores.summary["interval"]
    percent = format_value(round(100 * how["confidence"]))
    notes = [
        say(
            f"{len(scores.files)} cases, profile {scores.settings.profiles[0]}; means with "
            f"{percent} % bootstrap intervals over cases; distances in mm, or in pixels of masks "
            "that store no spacing.",
            f"{len(scores.files)} 个病例，约定 {scores.settings.profiles[0]}；"
            f"平均值附病例 bootstrap {percent}% 区间；距离单位 mm；"
            "掩码未存体素大小时为像素。",
        )
    ]
    for row in scores.labels.values():
        if row["missed"] or row["invented"] or row["absent"]:
            counts = (row["missed"], row["invented"], row["absent"])
            notes.append(
                say(
                    "{}: missed in {}, invented in {}, in neither map in {} cases.",
                    "{}：漏检 {} 例，误检 {} 例，两者均无 {} 例。",
                ).format(row["name"], *counts)
            )
    if any(row["missed"] or row["invented"] for row in scores.labels.values()):
        notes.append(
            say(
                "Missed and invented labels have no finite distance: the mean leaves them out, "
                "the penalised mean counts each as the diagonal of its image.",
                "漏检与误检没有有限距离：平均值不含它们，惩罚平均以图像对角线计。",
            )
        )
    return notes


def _print(title: str, header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, title=title or None, title_justify="left")
    for row in rows:
        table.add_row(*row)
    # A file or a pipe has no width of its own, and wrapped numbers are hard to search.
    width = None if sys.stdout.isatty() else 120
    Console(highlight=False, width=width).print(table)
