"""`vesalius ensemble`: several trained models, one answer, and what that gains."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli.departments import Flag, Json
from vesalius.language import say

if TYPE_CHECKING:
    from vesalius.study.ensemble import EnsembleResult


def ensemble(
    *runs: Path,
    data: Path | None = None,
    how: str = "mean",
    weights: str | None = None,
    fit_on: Path | None = None,
    held_out: Flag = False,
    folds: int = 5,
    resamples: int | None = None,
    seed: int = 0,
    device: str = "auto",
    out: Path | None = None,
    as_json: Json = False,
) -> int:
    """Combine several trained models and measure the gain over the best and the mean of them.

    Parameters
    ----------
    runs
        Run folders of one department, or predictions.npz of earlier ensembles; two or more.
    data
        Cases to answer, as for the department's `predict`; scored where their truth is known.
    how
        mean, geometric, log, rank-mean, soft-vote, vote, majority, plurality, product, staple,
        stacking, blending.
    weights
        3,2,1 in the order of the runs; by-rank; learned; log-loss. Default: equal.
    fit_on
        Learn weights or stacking from these cases. Default: from DATA, cross-fitted.
    held_out
        Use only the cases of DATA that trained none of the models.
    folds
        Parts of DATA for cross-fitting.
    resamples
        Bootstrap resamples of the intervals; 0: none. Default: 2000 of scores per case, 100 where
        the score is computed anew.
    seed
        Of parts and resamples.
    device
        auto, cpu, cuda, cuda:1, mps
    out
        Folder to make, with ensemble.json and predictions.npz.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.cli.app import emit
    from vesalius.engine.progress import Progress
    from vesalius.study.ensemble import ensemble as combine

    chosen = _weights(weights)
    with Progress(0, label=say("ensemble", "集成"), quiet=as_json) as bar:
        result = combine(
            list(runs), data, how=how, weights=chosen, fit_on=fit_on, held_out=held_out,
            folds=folds, resamples=resamples, seed=seed, device=device, out=out,
            started=bar.begin, progress=bar.advance,
        )  # fmt: skip
    if as_json:
        emit(result.to_dict() | {"out": out})
    else:
        _show(result)
        if out is not None:
            print(f"{say('written', '已写入')}: {out}")
    return 0


def _weights(given: str | None) -> Any:
    """Return numbers, or the name of a way to find them."""
    from vesalius.errors import RecipeError

    if given is None or given.replace("-", "").isalpha():
        return given
    try:
        return [float(part) for part in given.split(",")]
    except ValueError:
        raise RecipeError(
            f"--weights {given}: give numbers with commas, as 3,2,1, or by-rank, learned, log-loss"
        ) from None


def _show(result: "EnsembleResult") -> None:
    """Print members, ensemble, gains and what must be known to read them."""
    from rich.console import Console
    from rich.table import Table

    from vesalius.report.tables import format_value

    console = Console(highlight=False)
    headline = result.scores.headline if result.scores else say("score", "得分")
    table = Table(say("model", "模型"), say("weight", "权重"), headline, "95 %")
    scores = result.members or (None,) * len(result.names)
    weights = result.weights or (None,) * len(result.names)
    for name, weight, own in zip(result.names, weights, scores, strict=True):
        table.add_row(name, format_value(weight), *_cells(own))
    table.add_row(f"{say('ensemble', '集成')}: {result.how}", "", *_cells(result.scores))
    console.print(table)
    if result.gains:
        _show_gains(console, result)
    for note in result.notes:
        print(f"- {note}")


def _show_gains(console: Any, result: "EnsembleResult") -> None:
    from rich.table import Table

    from vesalius.report.tables import format_value

    spoken = {
        "best member": say("over the best member", "比最佳成员"),
        "mean member": say("over the mean member", "比成员平均"),
    }
    table = Table(say("gain", "增益"), say("difference", "差值"), "95 %")
    for gain in result.gains:
        table.add_row(spoken[gain.over], format_value(gain.value), _interval((gain.low, gain.high)))
        if gain.mean_of_cases is not None:
            table.add_row(
                say("  mean of its values per case, of which the interval is",
                    "  各病例值的平均（区间属于它）"),
                format_value(gain.mean_of_cases),
            )  # fmt: skip
    console.print(table)
    first = result.gains[0]
    if first.method != "none":
        print(
            say(
                f"paired bootstrap over {len(result.ids)} cases, {first.resamples} resamples",
                f"按病例配对 bootstrap，{len(result.ids)} 例，重抽样 {first.resamples} 次",
            )
        )


def _cells(scores: Any) -> tuple[str, str]:
    from vesalius.report.tables import format_value

    if scores is None:
        return format_value(None), ""
    return format_value(scores.best), _interval(scores.intervals.get(scores.headline))


def _interval(ends: Any) -> str:
    from vesalius.report.tables import format_value

    return "" if ends is None else f"{format_value(ends[0])} – {format_value(ends[1])}"
