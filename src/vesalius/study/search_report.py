"""The report of a search."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius import files
from vesalius.language import say
from vesalius.report.page import Code, Facts, Section, Table, Text, write_page
from vesalius.report.tables import format_value, to_csv
from vesalius.study.reporting import interval

if TYPE_CHECKING:
    from vesalius.study.search import Candidate, Search


def settings(patch: Any) -> str:
    """Return a patch as key=value, ..."""
    return ", ".join(f"{key}={value}" for key, value in patch.items())


def ranked(made: "Search") -> "list[Candidate]":
    """Return the candidates, those that got furthest first and then by their score."""
    return sorted(made.candidates, key=lambda one: (-len(one.results), -one.score()))


def held_out(made: "Search") -> list[list[Any]]:
    """Return one row per recipe that was scored on held-out cases: name, score, interval."""
    rows = []
    for name, result in made.final.items():
        pair = result.scores.intervals.get(result.scores.headline)
        text = f"[{format_value(pair[0])}, {format_value(pair[1])}]" if pair else ""
        rows.append([name, result.scores.best, text])
    return rows


def conclusion(made: "Search") -> list[str]:
    """Return what came out, in sentences."""
    if made.best.name == "baseline":
        return [say("No candidate was better than the recipe as it is.", "没有候选优于原配方。")]
    lines = [
        say(
            f"Best: {settings(made.best.patch)}: {interval(made.gain, sign=True)} on the folds "
            "that chose it. The best of many noisy scores flatters; this is no measurement.",
            f"最佳：{settings(made.best.patch)}，在参与选择的折上 "
            f"{interval(made.gain, sign=True)}。多个含噪得分中的最大值偏乐观，不能作为测量结果。",
        )
    ]
    if len(made.final) == 2:
        base, best = (made.final[name].headline for name in ("baseline", "best"))
        change = f"{best - base:+.4f}"
        lines.append(
            say(
                f"On {len(made.held_out)} cases that no candidate saw: {change}.",
                f"在所有候选均未见过的 {len(made.held_out)} 个病例上：{change}。",
            )
        )
    return lines


def report_search(made: "Search", source: str) -> Path:
    """Write study.html and candidates.csv into the search's folder.

    Raises:
        StorageError: they cannot be written.
    """
    keys = list(dict.fromkeys(key for one in made.candidates for key in one.patch))
    body = []
    for one in ranked(made):
        mean = made.mean(one)
        values = [one.patch.get(key, "") for key in keys]
        shown = None if not math.isfinite(mean.mean) else mean.mean
        body.append([one.name, *map(str, values), shown, len(one.results), one.rounds])
    columns = [
        say("candidate", "候选"),
        *keys,
        made.headline,
        say("folds", "折"),
        say("rounds", "轮"),
    ]
    files.write_text(made.folder / "candidates.csv", to_csv(body, columns))
    base = made.mean(made.candidates[0])
    sections: list[Section] = [
        Facts(
            say("The recipe as it is", "原配方"),
            {made.headline: (base.mean, interval(base))},
        ),
        Text(conclusion(made), title=say("What was found", "结论")),
    ]
    if made.final:
        heads = [say("recipe", "配方"), made.headline, say("interval", "区间")]
        title = say("On held-out cases", "保留病例上的得分")
        sections.append(Table(title, heads, held_out(made)))
    sections += [
        Table(
            say("Candidates", "候选"),
            columns,
            body,
            say(
                "Means over the folds that a candidate was given; those dropped early were given "
                "fewer and are not comparable with the others to the last digit.",
                "得分为候选所得各折的平均；较早淘汰者折数较少，不宜与其他候选精确比较。",
            ),
        ),
        Code(say("Best recipe", "最佳配方"), made.best_recipe.to_yaml()),
    ]
    failures = [
        f"{one.name}, {place}: {why}"
        for one in made.candidates
        for place, why in one.failures.items()
    ]
    if failures:
        sections.insert(2, Text(failures, title=say("Failed", "失败")))
    return write_page(
        made.folder / "study.html",
        title=say("Search", "搜索"),
        subtitle=f"{source} · {made.headline}",
        sections=sections,
    )
