"""`vesalius cross-validate` and `vesalius dissect`: questions about many runs."""

from pathlib import Path
from typing import Any, Literal

from vesalius.cli.departments import Flag, Json
from vesalius.language import say

Keep = Literal["scores", "predictions", "weights"]


def cross_validate(
    department: str,
    data: Path,
    /,
    *overrides: str,
    out: Path,
    recipe: str | None = None,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    kind: str = "auto",
    near_duplicates: Flag = False,
    keep: Keep = "predictions",
    processes: int = 1,
    cluster: Flag = False,
    as_json: Json = False,
) -> int:
    """Train once per fold, predict and score the fold that did not train.

    Parameters
    ----------
    department
        segment, diagnose
    data
        What the department's train takes.
    overrides
        Changes of the recipe: key.path=value.
    out
        Folder of the study; the same command goes on with a study that was stopped.
    recipe
        YAML file or name of a preset; see `vesalius DEPARTMENT recipe`.
    folds
        Parts of the data; each validates once.
    repeats
        How often the data are cut anew.
    seed
        Of the folds.
    kind
        auto takes patients together and spreads labels evenly where the data have them.
    near_duplicates
        Keep records whose texts are nearly the same in one fold.
    keep
        What stays of each run besides its scores; weights keeps whole run folders.
    processes
        Folds that train at once.
    cluster
        Work on a Ray cluster.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.cli.app import emit
    from vesalius.study.cross_validate import cross_validate as act
    from vesalius.study.cross_validate import summary
    from vesalius.study.reporting import interval, report_cross_validation

    with _Told(folds * repeats, say("folds", "折"), quiet=as_json) as told:
        found = act(
            department,
            data,
            out=out,
            recipe=recipe,
            overrides=overrides,
            folds=folds,
            repeats=repeats,
            seed=seed,
            kind=kind,
            near_duplicates=_clusters() if near_duplicates else None,
            keep=keep,
            processes=processes,
            cluster=cluster,
            told=told,
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
    recipe: str | None = None,
    together: bool = True,
    but_one: Flag = False,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    kind: str = "auto",
    near_duplicates: Flag = False,
    race: Flag = False,
    minutes: float | None = None,
    rope: float = 0.01,
    keep: Keep = "scores",
    processes: int = 1,
    cluster: Flag = False,
    as_json: Json = False,
) -> int:
    """Measure which tricks help on your data: effects with intervals, costs and verdicts.

    Parameters
    ----------
    department
        segment, diagnose
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
    recipe
        The baseline: YAML file or name of a preset.
    together
        Also run all tricks at once.
    but_one
        Also run all tricks but one, for each.
    folds
        Parts of the data; each validates once.
    repeats
        How often the data are cut anew.
    seed
        Of the folds.
    kind
        auto takes patients together and spreads labels evenly where the data have them.
    near_duplicates
        Keep records whose texts are nearly the same in one fold.
    race
        Give up tricks that can hardly turn out to help.
    minutes
        Begin no run that would end later than this.
    rope
        Smallest difference that matters, in units of the score.
    keep
        What stays of each run.
    processes
        Runs at once.
    cluster
        Work on a Ray cluster.
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
            recipe=recipe,
            overrides=overrides,
            extra=extra,
            together=together,
            but_one=but_one,
            folds=folds,
            repeats=repeats,
            seed=seed,
            kind=kind,
            near_duplicates=_clusters() if near_duplicates else None,
            race=race,
            minutes=minutes,
            rope=rope,
            keep=keep,
            processes=processes,
            cluster=cluster,
            told=told,
            started=told.begin,
        )
    report = found.folder / "study.html"
    if as_json:
        emit({"study": found.folder, "report": report, **summary(found)})
        return _status(any(found.failures.values()))
    _show(found)
    _failed(found.failures)
    print(f"{say('report', '报告')}: {report}")
    return _status(any(found.failures.values()))


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


def _clusters():
    from vesalius.study.folds import text_clusters

    return text_clusters


class _Told:
    """A progress bar of runs, with the last score beside it."""

    def __init__(self, total: int, label: str, *, quiet: bool):
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
