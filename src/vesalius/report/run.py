"""The report of one run: what it reached, how it got there, and how to do it again."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vesalius.language import say
from vesalius.report.folder import RunFolder, read_run_folder
from vesalius.report.page import (
    Code,
    Curves,
    Details,
    Facts,
    Gallery,
    Picture,
    Section,
    Table,
    Text,
    write_page,
)
from vesalius.report.split import flatten, split_line, split_members
from vesalius.report.tables import format_value, with_interval

# a longer table of cases is folded; a reader looks at the worst first anyway
CASES_SHOWN = 15
MAX_CHARTS_OF_SCORES = 8


def report_run(
    folder: str | Path, *, pictures: Sequence[Picture] = (), sections: Sequence[Section] = ()
) -> Path:
    """Write `report.html` into a run folder and return its path.

    Args:
        folder: a run folder (`recipe.yaml`, `config.json`, `history.jsonl`, `scores.json`).
        pictures: worst, median and best cases, drawn by the department.
        sections: what else the department shows of its cases, after the table of labels.

    Raises:
        DataError: it is no run folder, or one of its files is broken.
        StorageError: the report cannot be written.
    """
    run = read_run_folder(folder)
    whole = [
        *remarks(run),
        headline_facts(run),
        *gallery(pictures),
        *label_table(run),
        *sections,
        *learning_curves(run),
        *case_table(run),
        *how_it_was_made(run),
        limits(run),
    ]
    path = run.path / "report.html"
    return write_page(path, title=_title(run), subtitle=_subtitle(run), sections=whole)


def _title(run: RunFolder) -> str:
    department = run.config.get("department", "")
    return f"{department}: {run.name}" if department else run.name


def _subtitle(run: RunFolder) -> str:
    data = run.fact("data", "source")
    parts = [run.model, str(data) if isinstance(data, str) else ""]
    return " · ".join(part for part in parts if part)


def remarks(run: RunFolder) -> list[Section]:
    """Return what the reader must know about missing or broken files, if anything."""
    return [Text(run.remarks, title=say("Remarks", "说明"))] if run.remarks else []


def headline_facts(run: RunFolder) -> Section:
    """Return the headline score first, then the other scores, steps and time."""
    mapping: dict[str, Any] = {}
    if run.headline:
        ends = (run.scores.get("intervals") or {}).get(run.headline)
        value = run.values.get(run.headline, math.nan)
        note = _score_note(run)
        if ends is not None and None not in ends:
            low, high = (format_value(end) for end in ends)
            note = say(f"95 % interval {low} to {high}; ", f"95% 区间 {low} 至 {high}；") + note
        mapping[run.headline] = (value, note)
    others = [(k, v) for k, v in run.values.items() if k != run.headline and _is_number(v)]
    mapping.update(others[:5])
    steps, seconds = _last(run.train, "step"), run.seconds
    if steps is not None:
        epochs = _last(run.train, "epoch")
        note = "" if epochs is None else say(f"{epochs:.4g} epochs", f"{epochs:.4g} 轮")
        mapping[say("training steps", "训练步数")] = (steps, note)
    if seconds is not None:
        mapping[say("training time", "训练时间")] = duration(seconds)
    parameters = run.fact("parameters", "num_parameters")
    if parameters is not None:
        mapping[say("parameters", "参数量")] = parameters
    return Facts(say("Result", "结果"), mapping)


def _score_note(run: RunFolder) -> str:
    split, step = run.scores.get("split"), run.scores.get("step")
    parts = [str(split)] if isinstance(split, str) else []
    if _is_number(step) and math.isfinite(step):
        parts.append(say(f"step {format_value(step)}", f"第 {format_value(step)} 步"))
    if not run.scores:
        parts.append(say("last evaluation", "最后一次评估"))
    return ", ".join(parts)


def learning_curves(run: RunFolder) -> list[Section]:
    """Return charts of loss, its terms, validation scores, learning rate and gradient norm."""
    step = run.scores.get("step")
    kept = float(step) if _is_number(step) and math.isfinite(step) else None
    charts = [*_training_charts(run.train), *_score_charts(run, kept)]
    charts = [chart for chart in charts if any(chart.series.values())]
    if not charts:
        return []
    lines = say("Long curves are averaged in equal pieces.", "较长的曲线按等长分段取平均。")
    if kept is not None:
        lines += say(" The dashed line marks the kept weights.", "虚线标出保留的权重。")
    return [Text(lines, title=say("Learning curves", "学习曲线")), *charts]


def _training_charts(rows: Sequence[Mapping[str, Any]]) -> list[Curves]:
    x_label = say("step", "步")
    terms = list(dict.fromkeys(name for row in rows for name in row.get("terms") or {}))
    loss = {say("total", "总和"): series(rows, "loss")}
    if len(terms) > 1:
        loss |= {name: series(rows, "terms", name) for name in terms}
    log = _spans_decades(point[1] for points in loss.values() for point in points)
    rate, norm = say("learning rate", "学习率"), say("gradient norm", "梯度范数")
    return [
        Curves(say("Training loss", "训练损失"), loss, x_label, say("loss", "损失"), log=log),
        Curves(rate.capitalize(), {rate: series(rows, "learning_rate")}, x_label),
        Curves(norm.capitalize(), {norm: series(rows, "gradient_norm")}, x_label, log=True),
    ]


def _score_charts(run: RunFolder, kept: float | None) -> list[Curves]:
    names = list(dict.fromkeys(name for row in run.valid for name in row.get("scores") or {}))
    names.sort(key=lambda name: name != run.headline)
    validation = say("Validation", "验证")
    return [
        Curves(
            f"{validation}: {name}",
            {name: series(run.valid, "scores", name)},
            say("step", "步"),
            mark_x=kept,
        )
        for name in names[:MAX_CHARTS_OF_SCORES]
    ]


def label_table(run: RunFolder) -> list[Section]:
    """Return one row per label with every metric."""
    labels = run.scores.get("labels") or {}
    if not labels:
        return []
    metrics = _metrics(labels.values())
    sure = run.scores.get("label_intervals") or {}
    rows = [
        [name, *(with_interval(row.get(m), sure.get(name, {}).get(m)) for m in metrics)]
        for name, row in labels.items()
    ]
    caption = say("– means undefined.", "– 表示无定义。")
    if sure:
        caption += say(
            " In brackets: 95 % bootstrap intervals over cases (BCa); they say how the mean would "
            "vary over other cases like these, not over other training seeds.",
            " 方括号内：对病例自助重抽样的 95% 置信区间（BCa）；"
            "反映换一批同类病例时均值的波动，不反映换训练种子的波动。",
        )
    return [Table(say("By label", "各标签"), [say("label", "标签"), *metrics], rows, caption)]


def case_table(run: RunFolder) -> list[Section]:
    """Return one row per case, worst first; folded when it is long."""
    cases = run.scores.get("cases") or {}
    if not cases:
        return []
    metrics = _metrics(cases.values())
    deciding = run.headline if run.headline in metrics else metrics[0]
    ordered = sorted(cases.items(), key=lambda item: _badness(run, deciding, item[1].get(deciding)))
    rows = [[name, *(row.get(m) for m in metrics)] for name, row in ordered]
    caption = say(
        f"{len(rows)} cases, worst {deciding} first; undefined values stand last.",
        f"共 {len(rows)} 例，{deciding} 最差的在前；无定义的在最后。",
    )
    columns = [say("case", "病例"), *metrics]
    title = say("By case", "各病例")
    if len(rows) <= CASES_SHOWN:
        return [Table(title, columns, rows, caption)]
    every = Table("", columns, rows, caption)
    return [
        Table(
            title, columns, rows[:CASES_SHOWN], say(f"The {CASES_SHOWN} worst.", "最差的若干例。")
        ),
        Details(say(f"All {len(rows)} cases", f"全部 {len(rows)} 例"), [every]),
    ]


def gallery(pictures: Sequence[Picture]) -> list[Section]:
    """Return the pictures of cases, if there are any."""
    if not pictures:
        return []
    hint = say("Click a picture to enlarge it.", "点击图片可放大。")
    # each picture is a row of panels: three beside one another would be too small to read
    return [Text(hint, title=say("Cases", "病例图")), Gallery("", pictures, columns=2)]


def how_it_was_made(run: RunFolder) -> list[Section]:
    """Return command, versions, machine and time, then who was held out and the recipe."""
    names = {
        say("command", "命令"): ("command",),
        say("data", "数据"): ("data", "source"),
        say("split", "划分"): ("split",),
        say("seed", "随机种子"): ("seed",),
        say("started", "开始"): ("started", "created"),
        say("versions", "版本"): ("versions", "environment", "vesalius_version"),
        say("machine", "机器"): ("machine",),
        say("device", "设备"): ("device",),
        say("precision", "精度"): ("precision",),
    }
    facts = {label: run.fact(*keys) for label, keys in names.items()}
    facts[say("split", "划分")] = split_line(run.fact("split"))
    rows = [[label, flatten(fact)] for label, fact in facts.items() if fact is not None]
    seconds = run.seconds
    if seconds is not None:
        rows.append([say("training time", "训练时间"), duration(seconds)])
    sections: list[Section] = []
    if rows:
        sections.append(Table(say("How it was made", "如何得到"), ["", ""], rows))
    sections += [
        Details(f"{title} ({len(ids)})", [Text(", ".join(map(str, ids)))])
        for title, ids in split_members(run.fact("split")).items()
    ]
    if run.recipe:
        recipe = Code("recipe.yaml", run.recipe)
        sections.append(Details(say("Complete recipe", "完整配方"), [recipe]))
    return sections


def limits(*runs: RunFolder) -> Section:
    """Return what the numbers do not show."""
    chosen = say(
        "The kept weights were chosen by the validation score, so that score is somewhat "
        "too good; a set that no decision has seen is needed for a final number.",
        "保留的权重是按验证分数挑选的，因此该分数略为偏高；最终结论需要一份从未参与任何决策的数据。",
    )
    return Text(
        [
            say(
                "Research software, not a medical device. The scores hold for the cases named "
                "above and for data drawn in the same way; other scanners, hospitals, staining "
                "protocols and patients were not tested.",
                "这是研究软件，不是医疗器械。以上分数只适用于所列病例及以相同方式取得的数据；"
                "其他设备、医院、染色流程和人群均未经检验。",
            ),
            *([] if all(run.keeps_last for run in runs) else [chosen]),
        ],
        title=say("Limits", "局限"),
    )


def series(rows: Sequence[Mapping[str, Any]], *keys: str) -> list[tuple[float, float]]:
    """Return points (step, value) of the rows that have the value under the nested `keys`."""
    points = []
    for row in rows:
        value: Any = row
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if _is_number(value) and _is_number(row.get("step")):
            points.append((float(row["step"]), float(value)))
    return points


def duration(seconds: float) -> str:
    """Write a number of seconds for a reader.

    >>> [duration(s) for s in (4.2, 75, 7325)]
    ['4.2 s', '1 min 15 s', '2 h 02 min']
    """
    if not math.isfinite(seconds):
        return format_value(seconds)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _metrics(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _badness(run: RunFolder, metric: str, value: Any) -> tuple[bool, float]:
    if not _is_number(value) or math.isnan(value):
        return True, 0.0
    return False, value if run.higher_is_better(metric) else -value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _last(rows: Sequence[Mapping[str, Any]], key: str) -> Any:
    return next((row[key] for row in reversed(rows) if _is_number(row.get(key))), None)


def _spans_decades(values: Iterable[float]) -> bool:
    """Tell whether a linear axis would flatten the end of the curve."""
    positive = [v for v in values if math.isfinite(v)]
    return bool(positive) and min(positive) > 0 and max(positive) / min(positive) > 20
