"""The model card: README.md of a run folder in the form that the Hugging Face Hub reads.

YAML front matter (library, task, licence, metrics, results), then what the run knows, then a table
after TRIPOD+AI (Collins et al., BMJ 2024;385:e078378) and, for images, CLAIM (Tejani et al.,
Radiology: AI 2024;6:e240300). The table lists topics in our words, never a score of compliance:
what a program cannot know is left to the author.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vesalius import __version__
from vesalius.language import say
from vesalius.report.folder import RunFolder, read_run_folder
from vesalius.report.run import duration
from vesalius.report.split import flatten, split_line
from vesalius.report.tables import to_markdown, with_interval

PIPELINE_TAGS = {
    "segment": "image-segmentation",
    "detect": "object-detection",
    "diagnose": "text-classification",
    "illustrate": "text-to-image",
}
IMAGING = {"segment", "detect"}


def model_card(
    folder: str | Path,
    *,
    licence: str = "unknown",
    data_name: str | None = None,
    data_licence: str | None = None,
    citations: tuple[str, ...] = (),
) -> str:
    """Return the text of README.md for a run folder.

    Args:
        folder: a run folder.
        licence: of the weights, as a Hugging Face identifier ("apache-2.0", "cc-by-4.0", ...).
        data_name: name of the training data; otherwise what `config.json` says.
        data_licence: licence of the training data, if known.
        citations: references to data and methods.

    Raises:
        DataError: it is no run folder, or one of its files is broken.
    """
    run = read_run_folder(folder)
    data = data_name or _text(run.fact("data", "source")) or None
    parts = [
        _front_matter(run, licence=licence, data=data),
        f"# {run.name}\n",
        _introduction(run),
        _section(say("Data", "数据"), _data(run, data=data, data_licence=data_licence)),
        _section(say("Scores", "分数"), _scores(run)),
        _section(say("Train again", "重新训练"), _retrain(run)),
        _section(say("Limits", "局限"), _limits(run)),
        _section(say("Reporting", "报告清单"), _checklist(run, data=data)),
    ]
    if citations:
        parts.append(
            _section(say("References", "参考文献"), "".join(f"- {c}\n" for c in citations))
        )
    return "\n".join(parts)


def _front_matter(run: RunFolder, *, licence: str, data: str | None) -> str:
    import yaml

    department = str(run.config.get("department", ""))
    header: dict[str, Any] = {"library_name": "vesalius"}
    if department in PIPELINE_TAGS:
        header["pipeline_tag"] = PIPELINE_TAGS[department]
    header["license"] = licence
    header["tags"] = [t for t in ("vesalius", "biomedical", department, run.model) if t]
    finite = _finite(run.values)
    if finite:
        header["metrics"] = list(finite)
    if finite and data and department in PIPELINE_TAGS:
        header["model-index"] = [_model_index(run, PIPELINE_TAGS[department], data, finite)]
    body = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    return f"---\n{body}---\n"


def _model_index(run: RunFolder, task: str, data: str, values: Mapping[str, float]) -> dict:
    metrics = [{"type": name, "name": name, "value": value} for name, value in values.items()]
    dataset = {"name": data, "type": "custom"}
    if isinstance(run.scores.get("split"), str):
        dataset["split"] = run.scores["split"]
    return {
        "name": run.name,
        "results": [{"task": {"type": task}, "dataset": dataset, "metrics": metrics}],
    }


def _introduction(run: RunFolder) -> str:
    model = run.model or say("A model", "模型")
    department = run.config.get("department", "")
    return say(
        f"`{model}`, trained with Vesalius {__version__} "
        f"({department}). Research software, not a medical device.\n",
        f"`{model}`，由 Vesalius {__version__}（{department}）训练。研究软件，不是医疗器械。\n",
    )


def _data(run: RunFolder, *, data: str | None, data_licence: str | None) -> str:
    rows = {
        say("training data", "训练数据"): data,
        say("licence of the data", "数据许可"): data_licence,
        say("labels", "标签"): _labels(run),
        say("split that was scored", "评分所用划分"): _text(run.scores.get("split")),
        say("how it was split", "划分方式"): split_line(run.fact("split")),
        say("cases scored", "评分病例数"): len(run.scores.get("cases") or {}) or None,
        say("seed", "随机种子"): _seed(run),
    }
    return _bullets(rows)


def _scores(run: RunFolder) -> str:
    if not run.values:
        return say("No evaluation was recorded.\n", "没有记录任何评估。\n")
    score, value, label = say("score", "分数"), say("value", "数值"), say("label", "标签")
    names = sorted(run.values, key=lambda name: name != run.headline)
    text = to_markdown([[name, run.values[name]] for name in names], [score, value])
    labels = run.scores.get("labels") or {}
    if not labels:
        return text
    metrics = list(dict.fromkeys(m for row in labels.values() for m in row))
    sure = run.scores.get("label_intervals") or {}
    rows = [
        [name, *(with_interval(row.get(m), sure.get(name, {}).get(m)) for m in metrics)]
        for name, row in labels.items()
    ]
    return f"{text}\n{to_markdown(rows, [label, *metrics])}"


def _retrain(run: RunFolder) -> str:
    department = run.config.get("department", "segment")
    command = _text(run.fact("command")) or f"vesalius {department} train DATA --recipe recipe.yaml"
    seconds = run.seconds
    took = "" if seconds is None else say(f"Took {duration(seconds)}", f"用时 {duration(seconds)}")
    machine = _text(run.fact("machine", "device"))
    where = say(f" on {machine}", f"，机器：{machine}") if machine else ""
    return f"```bash\n{command}\n```\n" + (f"\n{took}{where}.\n" if took else "")


def _limits(run: RunFolder) -> str:
    chosen = say(
        "The weights were chosen by the validation score, which is therefore somewhat too good. ",
        "权重按验证分数挑选，该分数因此略为偏高。",
    )
    return say(
        "The scores hold for the data named above and for data drawn in the same way. Other "
        "devices, sites and patient groups were not tested. "
        f"{'' if run.keeps_last else chosen}Not for diagnosis or treatment.\n",
        "以上分数只适用于所列数据及以相同方式取得的数据；其他设备、机构和人群未经检验。"
        f"{'' if run.keeps_last else chosen}不得用于诊断或治疗。\n",
    )


def _checklist(run: RunFolder, *, data: str | None) -> str:
    """Return topics of TRIPOD+AI and CLAIM with what the run knows of each."""
    model = f"{run.model} (config.json, recipe.yaml)" if run.model else None
    versions = _text(run.fact("versions", "environment", "vesalius_version"))
    cases = len(run.scores.get("cases") or {}) or None
    known = [
        (say("Intended use and users", "预期用途与使用者"), None),
        (say("Source of the data, dates, sites", "数据来源、时间、机构"), data),
        (say("Who was eligible; who was left out", "纳入与排除标准"), None),
        (say("How the reference standard was obtained", "参考标准如何得到"), None),
        (say("Labels", "标签"), _labels(run)),
        (say("Preparation of the data", "数据预处理"), "recipe.yaml" if run.recipe else None),
        (
            say("Split, and the unit that was split", "划分方式与单位"),
            split_line(run.fact("split")),
        ),
        (say("Sample size and its reason", "样本量及理由"), None),
        (say("Cases scored", "评分病例数"), cases),
        (say("Model", "模型"), model),
        (say("Training, seed", "训练过程、种子"), _seed_line(run)),
        (say("Choice of the final model", "最终模型的选择"), _choice(run)),
        (say("Measures of performance", "性能指标"), ", ".join(run.values) or None),
        (say("Uncertainty of the scores", "分数的不确定性"), None),
        (say("Fairness over groups of patients", "不同人群间的公平性"), None),
        (say("External validation", "外部验证"), None),
        (say("Software and versions", "软件与版本"), versions or f"vesalius {__version__}"),
        (say("Ethics, funding, conflicts", "伦理、资助、利益冲突"), None),
    ]
    todo = say("*author to complete*", "*由作者补充*")
    rows = [[topic, todo if value is None else str(value)] for topic, value in known]
    guides = "TRIPOD+AI"
    if run.config.get("department") in IMAGING:
        guides += ", CLAIM 2024"
    columns = [say(f"topic ({guides})", f"主题（{guides}）"), say("this run", "本次运行")]
    return to_markdown(rows, columns)


def _choice(run: RunFolder) -> str | None:
    if not run.headline:
        return None
    if run.keeps_last:
        return say("none: the last weights", "未挑选：取最后的权重")
    return say(f"by {run.headline} on validation cases", f"按验证病例的 {run.headline}")


def _seed(run: RunFolder) -> Any:
    """Return the seed of `config.json`, else of the recipe (its complete YAML has it on top)."""
    seed = run.fact("seed")
    return run.recipe_values.get("seed") if seed is None else seed


def _seed_line(run: RunFolder) -> str | None:
    seed = _seed(run)
    return None if seed is None else say(f"recipe.yaml, seed {seed}", f"recipe.yaml，种子 {seed}")


def _labels(run: RunFolder) -> str | None:
    labels = run.fact("labels")
    return ", ".join(map(str, labels)) if labels else None


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _text(value: Any) -> str | None:
    return None if value in (None, "", {}, []) else flatten(value)


def _bullets(rows: Mapping[str, Any]) -> str:
    unknown = say("not recorded", "未记录")
    return "".join(f"- {k}: {unknown if v is None else v}\n" for k, v in rows.items())


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"
