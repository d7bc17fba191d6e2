"""What this installation can do, what it lacks, and the command that mends each gap."""

import json as json_text
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from vesalius import __version__
from vesalius.language import say

Status = Literal["ok", "missing", "warning"]

# families of fonts that have Chinese glyphs, as matplotlib names them
CJK_FONTS = (
    "Noto Sans CJK", "Noto Serif CJK", "Source Han", "WenQuanYi", "Droid Sans Fallback",
    "AR PL", "PingFang", "Heiti", "Songti", "STHeiti", "Hiragino Sans GB", "Arial Unicode MS",
    "Microsoft YaHei", "SimHei", "SimSun", "KaiTi", "LXGW",
)  # fmt: skip
LOW_DISK_GIB = 5
HIDDEN_EXTRAS = {"dev"}


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis.

    Attributes:
        name: what was looked at.
        status: "ok", "missing" or "warning".
        detail: what was found.
        remedy: what to do, "" where nothing is needed.
        required: whether Vesalius cannot work without it.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""
    required: bool = False


def diagnose_installation() -> list[Check]:
    """Look at Python, torch, devices, packages, data sets, fonts and disk; change nothing.

    A probe that fails itself becomes a warning with its error, so one broken package never hides
    the rest.
    """
    probes: list[Callable[[], Iterator[Check]]] = [
        _python, _packages, _torch, _cpu, _gpus, _automatic, _torchvision, _extras, _datasets,
        _fonts, _disk, _write_permission,
    ]  # fmt: skip
    checks: list[Check] = []
    for probe in probes:
        try:
            checks += probe()
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"
            checks.append(Check(probe.__name__.strip("_"), "warning", detail))
    return checks


def print_doctor(json: bool = False) -> int:
    """Print the diagnosis and return an exit status: 1 when something required is missing.

    A table on a terminal, plain lines elsewhere, one JSON document with `json`.
    """
    checks = diagnose_installation()
    healthy = not any(check.required and check.status == "missing" for check in checks)
    if json:
        document = {"ok": healthy, "version": __version__, "checks": [asdict(c) for c in checks]}
        print(json_text.dumps(document, indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        _print_table(checks)
    else:
        _print_lines(checks)
    return 0 if healthy else 1


def _python() -> Iterator[Check]:
    detail = f"{platform.python_version()} ({sys.executable}), {platform.platform()}"
    yield Check("Python", "ok", detail, required=True)


def _packages() -> Iterator[Check]:
    requirements = _requirements()
    if requirements is None:
        remedy = say("Install it: pip install -e .", "请安装：pip install -e .")
        yield Check(
            "vesalius", "warning", say("not installed as a package", "未作为软件包安装"), remedy
        )
        return
    yield Check("vesalius", "ok", __version__, required=True)
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _package(requirement)


def _package(requirement) -> Check:
    installed = _installed(requirement.name)
    wanted = f"{requirement.name}{requirement.specifier}"
    if installed is None:
        detail = say(f"not installed, {wanted} is needed", f"未安装，需要 {wanted}")
    elif not requirement.specifier.contains(installed, prereleases=True):
        detail = say(f"{installed}, but {wanted} is needed", f"{installed}，但需要 {wanted}")
    else:
        return Check(requirement.name, "ok", installed, required=True)
    return Check(requirement.name, "missing", detail, f'pip install "{wanted}"', required=True)


def _torch() -> Iterator[Check]:
    if find_spec("torch") is None:
        return  # `_packages` has said it
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    if getattr(torch.version, "hip", None):
        build = f"ROCm {torch.version.hip}"
    yield Check(say("torch build", "torch 构建"), "ok", f"{torch.__version__} ({build})")


def _cpu() -> Iterator[Check]:
    import torch

    cores, threads = _usable_cores(), torch.get_num_threads()
    capability = torch.backends.cpu.get_cpu_capability()
    from vesalius.engine.device import cpu_has_bfloat16

    has, lacks = (
        say("bfloat16 in hardware", "硬件支持 bfloat16"),
        say("no fast bfloat16", "无快速 bfloat16"),
    )
    speed = has if cpu_has_bfloat16() else lacks
    detail = say(
        f"{cores} cores usable, {threads} torch threads, {capability}, {speed}",
        f"可用 {cores} 核，torch 线程 {threads}，{capability}，{speed}",
    )
    yield Check("CPU", "ok", detail)


def _gpus() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            short = say("no bfloat16", "无 bfloat16")
            kind = "bfloat16" if found.major >= 8 or torch.version.hip else short
            memory = f"{found.total_memory / 2**30:.0f} GiB"
            yield Check(f"GPU cuda:{index}", "ok", f"{found.name}, {memory}, {kind}")
        return
    if torch.backends.mps.is_available():
        hint = say("take it with device=mps", "用 device=mps 选用")
        yield Check("GPU mps", "ok", "Apple Metal", hint)
        return
    if shutil.which("nvidia-smi"):
        detail = say(
            "the NVIDIA driver is there, but torch reaches no GPU",
            "有 NVIDIA 驱动，但 torch 用不了 GPU",
        )
        remedy = say(
            "Install a CUDA build of torch: https://pytorch.org/get-started/locally",
            "请安装 CUDA 版 torch：https://pytorch.org/get-started/locally",
        )
        yield Check("GPU", "warning", detail, remedy)
        return
    yield Check("GPU", "ok", say("none; training uses the CPU", "无；使用 CPU 训练"))


def _automatic() -> Iterator[Check]:
    from vesalius.engine.device import choose_device, choose_precision

    device = choose_device("auto")
    precision = choose_precision("auto", device)
    yield Check(say("'auto' takes", "“auto” 会选"), "ok", f"device={device}, precision={precision}")


def _torchvision() -> Iterator[Check]:
    if find_spec("torchvision") is None:
        return
    # in a process of its own: a broken build fails half-way and would stay in sys.modules
    command = [sys.executable, "-c", "import torchvision"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if run.returncode == 0:
        unused = say("works; Vesalius does not use it", "可用；Vesalius 并不需要它")
        yield Check("torchvision", "ok", unused)
        return
    reason = run.stderr.strip().splitlines()[-1:] or [f"exit status {run.returncode}"]
    detail = say(
        f"installed but broken ({reason[0]}). Vesalius never needs it, but other packages "
        "(transformers) import it where they find it and then fail too",
        f"已安装但损坏（{reason[0]}）。Vesalius 从不需要它，"
        "但其他软件包（如 transformers）会导入它并随之失败",
    )
    remedy = say("Remove it: pip uninstall torchvision", "请卸载：pip uninstall torchvision")
    yield Check("torchvision", "warning", detail, remedy)


def _extras() -> Iterator[Check]:
    requirements = _requirements() or []
    names = metadata.metadata("vesalius").get_all("Provides-Extra") if requirements else None
    for extra in sorted(set(names or ()) - HIDDEN_EXTRAS):
        needed = [r for r in requirements if r.marker and _belongs(r, extra)]
        lacking = [r.name for r in needed if not _satisfied(r)]
        have = ", ".join(f"{r.name} {_installed(r.name)}" for r in needed if _satisfied(r))
        name = say(f"extra '{extra}'", f"附加组件 {extra}")
        if lacking:
            detail = say(f"not installed: {', '.join(lacking)}", f"未安装：{', '.join(lacking)}")
            yield Check(name, "missing", detail, f'pip install "vesalius[{extra}]"')
        else:
            yield Check(name, "ok", have)


def _datasets() -> Iterator[Check]:
    from vesalius.datasets import catalogue

    for entry in catalogue():
        name = say(f"data set '{entry.name}'", f"数据集 {entry.name}")
        if entry.available:
            yield Check(name, "ok", say(f"from {entry.package}", f"来自 {entry.package}"))
        else:
            detail = say(f"{entry.package} is not installed", f"未安装 {entry.package}")
            yield Check(name, "missing", detail, entry.install)


def _fonts() -> Iterator[Check]:
    from matplotlib.font_manager import fontManager

    families = {font.name for font in fontManager.ttflist}
    chinese = sorted(name for name in families if name.startswith(CJK_FONTS))
    name = say("Chinese font for figures", "图中的中文字体")
    if chinese:
        yield Check(name, "ok", chinese[0])
        return
    remedy = say(
        "Install one, for example: apt-get install fonts-noto-cjk (then remove matplotlib's font "
        "cache: rm ~/.cache/matplotlib/fontlist-*.json)",
        "请安装，例如：apt-get install fonts-noto-cjk（然后删除 matplotlib 的字体缓存："
        "rm ~/.cache/matplotlib/fontlist-*.json）",
    )
    detail = say("none: Chinese labels would be empty boxes", "无：中文标签会显示为方框")
    yield Check(name, "warning", detail, remedy)


def _disk() -> Iterator[Check]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    detail = say(f"{free:.1f} GiB free here", f"此处剩余 {free:.1f} GiB")
    name = say("disk", "磁盘")
    if free >= LOW_DISK_GIB:
        yield Check(name, "ok", detail)
    else:
        remedy = say(
            "Free some space, or write runs elsewhere (--out).", "请清理空间，或用 --out 写到别处。"
        )
        yield Check(name, "warning", detail, remedy)


def _write_permission() -> Iterator[Check]:
    name, here = say("writing here", "写入权限"), str(Path.cwd())
    try:
        # permission bits do not tell (network file systems, containers): a file does
        with tempfile.TemporaryFile(dir=here):
            yield Check(name, "ok", here)
    except OSError as error:
        remedy = say("Change to another folder, or use --out.", "请换一个文件夹，或使用 --out。")
        yield Check(name, "warning", f"{here}: {error.strerror or error}", remedy)


def _requirements() -> list | None:
    """Return what the installed package declares, extras included; None if not installed."""
    from packaging.requirements import Requirement

    try:
        return [Requirement(line) for line in metadata.requires("vesalius") or []]
    except metadata.PackageNotFoundError:
        return None


def _belongs(requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _satisfied(requirement) -> bool:
    installed = _installed(requirement.name)
    return installed is not None and requirement.specifier.contains(installed, prereleases=True)


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _usable_cores() -> int:
    # a container or a batch system may grant fewer than the machine has
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _print_table(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "missing": "red", "warning": "yellow"}
    table = Table(title=f"Vesalius {__version__}", box=None, pad_edge=False, title_justify="left")
    for heading in ("", say("status", "状态"), say("found", "发现"), say("remedy", "办法")):
        table.add_column(heading, overflow="fold")
    for check in checks:
        # gaps that cost nothing but an option are not alarming
        colour = colours[check.status] if check.required or check.status != "missing" else "cyan"
        status = Text(_status_word(check.status), style=colour)
        # Text: brackets in 'vesalius[extra]' are not markup
        table.add_row(Text(check.name), status, Text(check.detail), Text(check.remedy))
    Console().print(table)


def _print_lines(checks: list[Check]) -> None:
    for check in checks:
        remedy = f" -> {check.remedy}" if check.remedy else ""
        print(f"[{_status_word(check.status)}] {check.name}: {check.detail}{remedy}")


def _status_word(status: Status) -> str:
    return {
        "ok": say("ok", "正常"),
        "missing": say("missing", "缺少"),
        "warning": say("warning", "注意"),
    }[status]
