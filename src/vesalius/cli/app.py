"""The commands by name, and what happens with errors."""

import json
import os
import sys
from typing import Any

from cyclopts import App, CycloptsError
from rich.console import Console

from vesalius import __version__
from vesalius.errors import VesaliusError
from vesalius.language import say

app = App(
    name="vesalius",
    version=__version__,
    help=say(
        "Biomedical deep learning that measures which ideas help. Research software, not a "
        "medical device.",
        "生物医学深度学习工具：测量哪些技巧真正有效。科研软件，不是医疗器械。",
    ),
    help_format="plaintext",
    # Errors go to standard error so that --json output stays one document.
    error_console=Console(stderr=True),
    result_action="return_value",
)
for _name, _place, _help in (
    (
        "demo",
        "demo:demo",
        say("The main job on embedded data; ends with a report.", "用内置数据完整演示，生成报告。"),
    ),
    ("segment", "segment:app", say("Images to masks.", "图像分割：由图像得到掩码。")),
    (
        "detect",
        "detect:app",
        say("Images to boxes and masks.", "目标检测：由图像得到检测框与实例掩码。"),
    ),
    (
        "diagnose",
        "diagnose:app",
        say("Medical records to diseases.", "由病历判断疾病（多标签）。"),
    ),
    (
        "text",
        "text:app",
        say("Clean, cut, augment, audit clinical text.", "临床文本：清洗、分词、增强、审查。"),
    ),
    (
        "cross-validate",
        "study:cross_validate",
        say("Train and score a recipe fold by fold.", "逐折训练并评估一个配方。"),
    ),
    (
        "dissect",
        "study:dissect",
        say("Measure which tricks help on your data.", "测量哪些技巧对你的数据真正有效。"),
    ),
    (
        "search",
        "study:search",
        say("Search for better settings of a recipe.", "搜索更好的配方设置。"),
    ),
    (
        "ensemble",
        "ensemble:ensemble",
        say("Combine runs and measure the gain.", "集成多个模型并测量增益。"),
    ),
    (
        "pseudo-label",
        "pseudo_label:pseudo_label",
        say("Train on sure predictions of unlabelled cases.", "用可信的伪标签再训练。"),
    ),
    ("datasets", "datasets:app", say("Data sets without a download.", "无需下载的数据集。")),
    ("tricks", "tricks:tricks", say("What can be switched on.", "可以开关的技巧列表。")),
    (
        "doctor",
        "doctor:doctor",
        say("What is installed, what is missing, which device.", "检查安装、缺失部件与设备。"),
    ),
):
    app.command(f"vesalius.cli.{_place}", name=_name, help=_help)


def run(arguments: list[str]) -> int:
    """Run a command; print one clear message where it fails."""
    wants_json = "--json" in arguments
    try:
        result = app(arguments, exit_on_error=False, print_error=False)
    except VesaliusError as error:
        return _fail(str(error), error.exit_status, wants_json, error.problems)
    except CycloptsError as error:
        return _fail(_usage(error), 2, wants_json)
    except KeyboardInterrupt:
        return _fail(say("stopped by the user", "已被用户中止"), 130, wants_json)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return result if isinstance(result, int) else 0


def _usage(error: CycloptsError) -> str:
    words = getattr(error, "command_chain", None) or ()
    path = " ".join(["vesalius", *(word for word in words if word != "vesalius")])
    return f"{error}\n{say('See', '参见')}: {path} --help"


def _fail(message: str, status: int, wants_json: bool, problems: list[str] | None = None) -> int:
    print(f"{say('error', '错误')}: {message}", file=sys.stderr)
    if wants_json:
        emit({"error": message.splitlines()[0], "problems": problems or []})
    return status


def emit(value: Any) -> None:
    """Print one JSON document to standard output: NaN as null, infinities as words."""
    from vesalius.engine.run import to_json

    print(json.dumps(json.loads(to_json(value)), ensure_ascii=False, indent=2))
