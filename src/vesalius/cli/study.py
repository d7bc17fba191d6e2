"""`vesalius cross-validate`, `dissect` and `search`: questions about many runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from vesalius.cli.departments import Flag, Json
from vesalius.language import say


@dataclass(frozen=True)
class _Common:
    """What all three can be told."""

    recipe: str | None = None
    "YAML file or name of a preset; see `vesalius DEPARTMENT recipe`."
    folds: int = 5
    "Parts of the data; each validates once."
    repeats: int = 1
    "How often the data are cut anew."
    seed: int = 0
    "Of the folds."
    kind: str = "auto"
    "auto takes patients together and spreads labels evenly where the data have them."
    near_duplicates: Flag = False
    "Keep records whose texts are nearly the same in one fold."
    processes: int = 1
    "Runs at once."
    cluster: Flag = False
    "Work on a Ray cluster."

    def options(self) -> dict[str, Any]:
        """Return the keywords of `study.cross_validate` and `study.dissect`."""
        from vesalius.study.folds import text_clusters

        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return found | {"near_duplicates": text_clusters if self.near_duplicates else None}


Common = Annotated[_Common, Parameter(name="*")]
Keep = Literal["scores", "predictions", "weights"]


def cross_validate(
    department: str,
    data: Path,
    /,
    *overrides: str,
    out: Path,
    keep: Keep = "predictions",
    common: Common = _Common(),
    as_json: Json = False,
) -> int:
    """Train once per fold, predict and score the fold that did not train.

    Parameters
    ----------
    department
        segment, detect, diagnose
    data
        What the department's train takes.
    overrides
        Changes of the recipe: key.path=value.
    out
        Folder of the study; the same command goes on with a study that was stopped.
    keep
        What stays of each run besides its scores; weights keeps whole run folders.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.cli.app import emit
    from vesalius.study.cross_validate import cross_validate as act
    from vesalius.study.cross_validate import summary
    from vesalius.study.reporting import interval, report_cross_validation

    total = common.folds * common.repeats
    with _Told(total, say("folds", "折"), quiet=as_json) as told:
        found = act(
            department,
            data,
            out=out,
            overrides=overrides,
            keep=keep,
            told=told,
            **common.options(),
        )
    report = report_cross_validation(found, str(data))
    if as_json:
        emit({"study": found.folder, "report": report, **summary(found)})
        return _status(bool(found.failures))
    for (repeat, fold), result in found.results.items():
        name = f"{say('fold', '折')} {repeat}/{fold}"
        print(f"{name:16} {found.headline} {result.scores.best:.4f}")
    print(f"{say('mean', '平均'):16} {found.headline} {interval(found.mean())}")
    for scores in found.pooled:
        print(f"{say('pooled', '合并'):16} {found.headline} {scores.best:.4f}")
    _failed({"": found.failures})
    print(f"{say('report', '报告')}: {report}")
    return _status(bool(found.failures))


def dissect(
    department: str,
    data: Path,
    /,
    *overrides: str,
    out: Path,
    tricks: str = "",
    extra: Path | None = None,
    together: bool = True,
    but_one: Flag = False,
    race: Flag = False,
    minutes: float | None = None,
    rope: float = 0.01,
    keep: Keep = "scores",
    common: Common = _Common(),
    as_json: Json = False,
) -> int:
    """Measure which tricks help on your data: effects with intervals, costs and verdicts.

    Parameters
    ----------
    department
        segment, detect, diagnose
    data
        What the department's train takes.
    overrides
        Changes of the baseline's recipe: key.path=value.
    out
        Folder of the study; the same command goes on with a study that was stopped.
    tricks
        Names, separated by commas; see `vesalius tricks DEPARTMENT`. Left out: all that fit the
        recipe.
    extra
        A YAML file with tricks of your own.
    together
        Also run all tricks at once.
    but_one
        Also run all tricks but one, for each.
    race
        Give up tricks that can hardly turn out to help.
    minutes
        Begin no run that would end later than this.
    rope
        Smallest difference that matters, in units of the score.
    keep
        What stays of each run.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.cli.app import emit
    from vesalius.study.dissect import dissect as act
    from vesalius.study.dissect import summary

    with _Told(0, say("runs", "运行"), quiet=as_json) as told:
        found = act(
            department,
            data,
            [name.strip() for name in tricks.split(",") if name.strip()],
            out=out,
            overrides=overrides,
            extra=extra,
            together=together,
            but_one=but_one,
            race=race,
            minutes=minutes,
            rope=rope,
            keep=keep,
            told=told,
            started=told.begin,
            **common.options(),
        )
    report = found.folder / "study.html"
    if as_json:
        emit({"study": found.folder, "report": report, **summary(found)})
        return _status(any(found.failures.values()))
    _show(found)
    _failed(found.failures)
    print(f"{say('report', '报告')}: {report}")
    return _status(any(found.failures.values()))


def search(
    department: str,
    data: Path,
    /,
    *overrides: str,
    out: Path,
    over: list[str] | None = None,
    space: Path | None = None,
    method: Literal["halving", "random", "tpe"] = "halving",
    candidates: int = 27,
    eta: int = 3,
    budget: Literal["folds", "epochs"] = "folds",
    held_out: float = 0.2,
    common: Common = _Common(),
    as_json: Json = False,
) -> int:
    """Search for better settings on the same folds, and say what they are worth on other cases.

    Parameters
    ----------
    department
        segment, detect, diagnose
    data
        What `vesalius DEPARTMENT train` takes.
    overrides
        Changes of the recipe: key.path=value.
    out
        Folder of the search; the same command goes on with one that was stopped. Ends with
        best.yaml, a recipe.
    over
        What may be tried: "key=LOW..HIGH", "key=LOW..HIGH log" or "key=A|B|C"; can be repeated.
    space
        The same as a YAML file: "key: LOW..HIGH log", or "key: [A, B, C]".
    method
        halving drops most candidates after few folds; random runs all on all; tpe asks Optuna.
    candidates
        How many settings beside the recipe as it is.
    eta
        Halving keeps one candidate in so many after each round.
    budget
        What the rounds of halving give more of: folds, or epochs.
    held_out
        Share of the cases that no candidate sees, for the last comparison; 0: none.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.cli.app import emit
    from vesalius.errors import RecipeError
    from vesalius.study.search import search as act
    from vesalius.study.search import summary
    from vesalius.study.search_report import conclusion
    from vesalius.study.search_report import held_out as held

    if (over is None) == (space is None):
        raise RecipeError("say what to search: --over (can be repeated), or --space FILE")
    with _Told(None, say("runs", "次运行"), quiet=as_json) as told:
        found = act(
            department,
            data,
            over or space,
            out=out,
            overrides=overrides,
            method=method,
            candidates=candidates,
            eta=eta,
            budget=budget,
            held_out=held_out,
            told=told,
            **common.options(),
        )
    report = found.folder / "study.html"
    failures = {one.name: one.failures for one in found.candidates}
    if as_json:
        emit({"out": str(out), "report": str(report), **summary(found)})
        return 0
    for line in conclusion(found):
        print(line)
    for name, value, pair in held(found):
        print(f"{name:24} {found.headline} {value:.4f} {pair}")
    _failed(failures)
    print(f"{say('recipe', '配方')}: {found.folder / 'best.yaml'}")
    print(f"{say('report', '报告')}: {report}")
    return 0


def _show(found: Any) -> None:
    from vesalius.report.tables import format_value
    from vesalius.study.reporting import interval, rows, verdict_name

    print(f"{say('baseline', '基线'):24} {found.headline} {interval(found.mean())}")
    for name, effect, low, high, _, p, verdict, detectable, runs, seconds in rows(found):
        bounds = f"[{low:+.4f}, {high:+.4f}]" if low == low else ""
        print(
            f"{name:24} {effect:+.4f} {bounds:20} p {format_value(p):8} {verdict:12} "
            f"({say('detectable', '可检出')} {format_value(detectable)}, {runs} "
            f"{say('runs', '次')}, {format_value(seconds)}x)"
        )
    if found.together is not None:
        print(f"{say('all together', '全部同时'):24} {interval(found.together, sign=True)}")
    for name, effect in found.without.items():
        print(f"  {name:22} {say('adds', '贡献')} {interval(effect, sign=True)}")
    if not found.rows:
        print(verdict_name("no evidence"))


def _failed(failures: Any) -> None:
    import sys

    for name, places in failures.items():
        for (repeat, fold), why in places.items():
            print(
                f"{say('failed', '失败')}: {name} {say('fold', '折')} {repeat}/{fold}: {why}",
                file=sys.stderr,
            )


def _status(failed: bool) -> int:
    """A study of which a part failed is not done."""
    return 1 if failed else 0


class _Told:
    """A progress bar of runs, with the last score beside it."""

    def __init__(self, total: int | None, label: str, *, quiet: bool):
        from vesalius.engine.progress import Progress

        self.bar = Progress(total, label=label, quiet=quiet)

    def __enter__(self):
        self.bar.__enter__()
        return self

    def __exit__(self, *details):
        self.bar.__exit__(*details)

    def begin(self, total: int) -> None:
        """Say how many runs there are."""
        self.bar.begin(total)

    def __call__(self, job: Any, result: Any, problem: str) -> None:
        """Count one run and say what came of it."""
        self.bar.advance(1)
        facts = job.facts
        came = problem if result is None else f"{result.scores.headline} {result.scores.best:.4f}"
        fold = f"{say('fold', '折')} {facts['repeat']}/{facts['fold']}"
        self.bar.line(f"{facts['variant']} {fold}: {came}")
