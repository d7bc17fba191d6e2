"""The report of a study: which trick helps, by how much, at what cost, and what was not seen."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius import files
from vesalius.language import say
from vesalius.report.forest import Bar
from vesalius.report.page import Code, Details, Facts, Forest, Section, Table, Text, write_page
from vesalius.report.tables import format_value, to_csv, to_markdown

if TYPE_CHECKING:
    from vesalius.study.cross_validate import CrossValidation
    from vesalius.study.dissect import Dissection
    from vesalius.study.effects import Estimate

_TONES = {"helps": "good", "hurts": "bad"}
COLUMNS = ("trick", "effect", "low", "high", "p", "Holm", "verdict", "detectable", "runs", "time")


def verdict_name(verdict: str) -> str:
    """Return a verdict in the reader's language."""
    words = {"helps": say("helps", "有效"), "hurts": say("hurts", "有害")}
    return words.get(verdict, say("no evidence", "无证据"))


def rows(found: "Dissection") -> list[list[Any]]:
    """Return a row per trick, the largest effect first, by the names of COLUMNS."""
    ordered = sorted(found.rows, key=lambda row: -_finite(row.effect.mean))
    return [
        [
            row.name,
            row.effect.mean,
            row.effect.low,
            row.effect.high,
            row.effect.p,
            row.adjusted_p,
            say("given up", "提前放弃") if row.dropped else verdict_name(row.verdict),
            row.detectable,
            row.effect.runs,
            found.cost(row.name)["seconds"],
        ]
        for row in ordered
    ]


def _finite(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def interval(estimate: "Estimate", *, sign: bool = False) -> str:
    """Return mean [low, high], or the mean alone."""
    form = "{:+.4f}" if sign else "{:.4f}"
    if not math.isfinite(estimate.low):
        return form.format(estimate.mean)
    return f"{form} [{form}, {form}]".format(estimate.mean, estimate.low, estimate.high)


def report_dissection(found: "Dissection", source: str) -> Path:
    """Write study.html, effects.csv and effects.md into the study's folder.

    Raises:
        StorageError: they cannot be written.
    """
    table = rows(found)
    if table:
        files.write_text(found.folder / "effects.csv", to_csv(table, COLUMNS))
        files.write_text(found.folder / "effects.md", to_markdown(table, COLUMNS))
    sections: list[Section] = [
        Facts(say("Baseline", "基线"), _facts(found)),
        Text(_conclusion(found), title=say("What was seen", "结论")),
        _forest(found),
        _table(table),
        *_together(found),
        *_labels(found),
        Text(_remarks(found), title=say("How to read this", "如何解读")),
        _catalogue(found),
    ]
    return write_page(
        found.folder / "study.html",
        title=say("Which tricks help?", "哪些技巧有效？"),
        subtitle=f"{source} · {found.headline}",
        sections=sections,
    )


def _facts(found: "Dissection") -> dict[str, Any]:
    base, splits = found.mean(), list(found.plan.splits())
    note = f"[{base.low:.4f}, {base.high:.4f}]" if math.isfinite(base.low) else ""
    return {
        found.headline: (base.mean, note),
        say("tricks", "技巧"): len(found.rows),
        say("runs of each", "每项运行次数"): len(splits),
        say("helps", "有效"): sum(row.verdict == "helps" for row in found.rows),
        say("hurts", "有害"): sum(row.verdict == "hurts" for row in found.rows),
    }


def _conclusion(found: "Dissection") -> list[str]:
    lines = []
    for verdict in ("helps", "hurts", "no evidence"):
        names = [row for row in found.rows if row.verdict == verdict]
        names.sort(key=lambda row: -abs(row.effect.mean))
        if not names:
            continue
        if verdict == "no evidence":
            text = ", ".join(row.name for row in names)
        else:
            text = ", ".join(f"{row.name} ({interval(row.effect, sign=True)})" for row in names)
        lines.append(f"{verdict_name(verdict)}: {text}")
    if found.out_of_time:
        lines.append(
            say(
                "The budget ended this study before all runs were made; the same command goes on.",
                "时间预算用尽，部分运行未完成；重复同一命令可继续。",
            )
        )
    return lines


def _forest(found: "Dissection") -> Section:
    ordered = sorted(found.rows, key=lambda row: -_finite(row.effect.mean))
    bars = [
        Bar(
            row.name,
            row.effect.mean,
            row.effect.low,
            row.effect.high,
            interval(row.effect, sign=True),
            _TONES.get(row.verdict, ""),
        )
        for row in ordered
    ]
    if found.together is not None:
        one = found.together
        name = say("all together", "全部同时")
        bars.append(Bar(name, one.mean, one.low, one.high, interval(one, sign=True)))
    return Forest(
        say("Effects", "效应"),
        bars,
        x_label=say(f"change of {found.headline}", f"{found.headline} 的变化"),
        note=say(
            "Trick minus baseline on the same folds and seeds, with 95 % intervals of the "
            "corrected resampled t-test. Coloured where the verdict is sure after Holm's "
            "correction for the number of tricks.",
            "相同折与随机种子下技巧减基线；区间为校正重采样 t 检验的 95 % 区间；"
            "经 Holm 校正后仍显著者着色。",
        ),
    )


def _table(table: list[list[Any]]) -> Section:
    columns = [
        say("trick", "技巧"),
        say("effect", "效应"),
        *_ends(),
        "p",
        "p (Holm)",
        say("verdict", "结论"),
        say("detectable", "可检出"),
        say("runs", "运行"),
        say("time, times baseline", "耗时（基线倍数）"),
    ]
    caption = say(
        "detectable: the smallest true effect that this design would have found in 80 % of such "
        "studies. No evidence with a large detectable effect means: not known.",
        "可检出：在 80 % 的同类研究中能被发现的最小真实效应。“无证据”且该值较大，意味着尚不知道。",
    )
    return Table(say("In numbers", "数值"), columns, table, caption)


def _together(found: "Dissection") -> list[Section]:
    if found.together is None:
        return []
    listed = ", ".join(found.variants.together)
    lines = [f"{listed}: {interval(found.together, sign=True)}"]
    lines += [
        say(f"{name} was left out: it sets what {rival} sets.", f"{name} 与 {rival} 冲突，未加入。")
        for name, rival in found.variants.left_out.items()
    ]
    sections: list[Section] = [Text(lines, title=say("All tricks together", "全部技巧同时使用"))]
    if found.without:
        body = [[n, e.mean, e.low, e.high, e.p] for n, e in found.without.items()]
        columns = [
            say("trick", "技巧"),
            say("adds", "贡献"),
            say("low", "下限"),
            say("high", "上限"),
            "p",
        ]
        title = say("What each adds to all the others", "各技巧在其余之上的贡献")
        sections.append(Table(title, columns, body))
    return sections


def _ends() -> tuple[str, str]:
    return say("low", "下限"), say("high", "上限")


def _labels(found: "Dissection") -> list[Section]:
    """Return per trick the labels that changed most, folded away."""
    tables = []
    for row in found.rows:
        changes = {k: e for k, e in found.labels(row.name).items() if math.isfinite(e.mean)}
        chosen = sorted(changes, key=lambda label: -abs(changes[label].mean))[:12]
        if not chosen:
            continue
        body = [[k, changes[k].mean, changes[k].low, changes[k].high] for k in chosen]
        columns = [
            say("label", "标签"),
            say("effect", "效应"),
            say("low", "下限"),
            say("high", "上限"),
        ]
        tables.append(Table(row.name, columns, body))
    if not tables:
        return []
    title = say("Effects on labels (the largest twelve)", "各标签的效应（最大的十二个）")
    return [Details(title, tables)]


def _remarks(found: "Dissection") -> list[str]:
    lines = [
        say(
            "The held-out fold chose nothing: the weights at the end of training were scored.",
            "验证折未参与任何选择：评估的是训练结束时的权重。",
        ),
        say(
            "The intervals allow for training sets that overlap between folds; they are for each "
            "trick alone, the verdict allows for the number of tricks.",
            "区间已考虑各折训练集的重叠；区间针对单个技巧，结论考虑了技巧数量。",
        ),
    ]
    lines += [
        f"{name}: {why}" for name, places in found.failures.items() for why in set(places.values())
    ]
    lines += [
        say(f"{name} was given up after {blocks} folds.", f"{name} 在 {blocks} 折后被放弃。")
        for name, blocks in found.dropped.items()
    ]
    return [*lines, *found.plan.warnings]


def _catalogue(found: "Dissection") -> Section:
    lines = [f"{t.name}: {t.about} ({t.paper}) {dict(t.patch)}" for t in found.tricks.values()]
    recipe = found.variants.recipes["baseline"].to_yaml()
    return Details(
        say("Tricks and baseline recipe", "技巧与基线配方"),
        [Text(lines), Code(say("Baseline", "基线"), recipe)],
    )


def report_cross_validation(found: "CrossValidation", source: str) -> Path:
    """Write study.html into the folder of a cross-validation.

    Raises:
        StorageError: it cannot be written.
    """
    base = found.mean()
    names = list(next(iter(found.results.values())).scores.values)
    body = [
        [f"{repeat} / {fold}", *(result.scores.values.get(name) for name in names), result.seconds]
        for (repeat, fold), result in found.results.items()
    ]
    columns = [say("repeat / fold", "重复 / 折"), *names, say("seconds", "秒")]
    pooled = [
        [name, *_pooled(found, name)] for name in (found.pooled[0].values if found.pooled else ())
    ]
    sections: list[Section] = [
        Facts(
            say("Mean over the folds", "各折平均"),
            {found.headline: (base.mean, interval(base))},
        ),
        Table(say("Folds", "各折"), columns, body),
    ]
    if pooled:
        caption = say(
            "All held-out predictions scored together; intervals over cases where the score has "
            "them.",
            "全部验证折的预测合并评分；区间按病例重采样。",
        )
        heads = [say("score", "指标"), say("value", "数值"), say("interval", "区间")]
        title = say("All held-out cases together", "全部验证病例合并")
        sections.append(Table(title, heads, pooled, caption))
    remarks = [f"{place}: {why}" for place, why in found.failures.items()]
    remarks += list(found.plan.warnings)
    if remarks:
        sections.append(Text(remarks, title=say("Remarks", "说明")))
    return write_page(
        found.folder / "study.html",
        title=say("Cross-validation", "交叉验证"),
        subtitle=f"{source} · {found.headline}",
        sections=sections,
    )


def _pooled(found: "CrossValidation", name: str) -> tuple[float, str]:
    values = [scores.values[name] for scores in found.pooled]
    pair = found.pooled[0].intervals.get(name)
    text = f"[{format_value(pair[0])}, {format_value(pair[1])}]" if pair else ""
    return sum(values) / len(values), text
