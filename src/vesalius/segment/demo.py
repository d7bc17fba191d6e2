"""The segmentation part of `vesalius demo`: U-Net 3+ and U-Net on slices of a real brain."""

from pathlib import Path
from typing import Any

from vesalius.language import say

MODELS = {"U-Net 3+": "brain-unet-3-plus", "U-Net": "brain-unet"}


def demonstrate(folder: Path, *, quiet: bool = False, **changes: Any) -> dict[str, Path]:
    """Train both models on `brain-tissue`; return name -> run folder.

    A run that is there already is gone on with, so an interrupted demo does not start again.
    """
    from vesalius import datasets
    from vesalius.segment.commands import train

    data = datasets.open("brain-tissue", folder / "brain-tissue")
    runs = {}
    for name, preset in MODELS.items():
        out = folder / preset
        train(data, recipe=preset, out=out, resume=out.exists(), quiet=quiet, **changes)
        runs[name] = out
    return runs


def introduction() -> list[str]:
    """Return what the reader of the report must know of the data."""
    from vesalius import datasets

    return [
        say(
            "Grey and white matter in slices of the MNI152 template, by two networks that differ "
            "in nothing but their architecture: same slices, same augmentation, same loss (focal + "
            "MS-SSIM + IoU), same number of steps, same seed.",
            "在 MNI152 模板的切片上分割灰质与白质。两个网络除结构外完全相同："
            "相同的切片、增广、损失（focal + MS-SSIM + IoU）、步数和随机种子。",
        ),
        say(
            "This is one template brain and one seed: it shows how the tool works, and it is no "
            "evidence that one network is better than the other, or that either generalises.",
            "数据只来自一个模板大脑、一个随机种子：仅用于展示工具的用法，"
            "不能证明哪个网络更好，也不能说明其泛化能力。",
        ),
        datasets.find("brain-tissue").description,
    ]


def pictures(runs: dict[str, Path], *, count: int = 3) -> list:
    """Return the same validation slices as each model sees them."""
    from vesalius.engine.run import Run
    from vesalius.images.draw import figure_to_png
    from vesalius.report import Picture

    drawn: dict[str, list] = {}
    for name, folder in runs.items():
        run = Run(folder)
        cases = _some(run, folder.parent / "brain-tissue", count)
        task = run.task
        for case, found in zip(cases, run.predictions(cases), strict=True):
            dice = run.scores.cases[case.id]["dice"]
            caption = f"{case.id}, {name}: Dice {dice:.3f}"
            picture = Picture(figure_to_png(task.draw(case, found)), caption, alt=caption)
            drawn.setdefault(case.id, []).append(picture)
    return [picture for row in drawn.values() for picture in row]


def _some(run, data: Path, count: int) -> list:
    held = set(run.config["split"]["valid"])
    cases = [case for case in run.task.cases(data) if case.id in held]
    return [cases[(2 * i + 1) * len(cases) // (2 * count)] for i in range(count)]
