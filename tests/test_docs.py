"""The documentation is true: its code runs, its commands parse, its links lead somewhere.

A comment above a fenced block says what is done with it: `<!-- run -->` executes it (all such
blocks of a page in order, in one namespace and an empty folder), `<!-- printed -->` runs the
command and compares what it prints, `<!-- recipe -->` and `<!-- tricks -->` load the YAML.
"""

import ast
import importlib
import re
import shlex
import sys
import tomllib
import unicodedata
from pathlib import Path

import pytest

from vesalius.cli import main
from vesalius.cli.app import app
from vesalius.diagnose.pretraining.recipe import PretrainRecipe
from vesalius.diagnose.recipe import DiagnoseRecipe
from vesalius.engine.tricks import catalogue
from vesalius.segment.recipe import SegmentRecipe

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md"))}
FENCE = re.compile(r"^(?:<!-- (\w+) -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)", re.DOTALL)
LONGEST_PAGE = 185  # lines; the walk through a whole department is the longest


def blocks(*languages: str, marked: str | None = None) -> list:
    """Return (page, code) of the fenced blocks in a language, with a mark or (None) any."""
    found = []
    for name, path in PAGES.items():
        for mark, language, code in FENCE.findall(path.read_text(encoding="utf-8")):
            if language in languages and marked in (None, mark):
                found.append(pytest.param(code, id=f"{name}-{code.strip().splitlines()[0]}"))
    return found


def commands() -> list:
    """Return the arguments of every `vesalius` command line."""
    lines = {}
    for block in blocks("bash", "console"):
        for line in block.values[0].replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            words = words[words.index("-m") + 1 :] if words[:1] == ["torchrun"] else words
            if words[:1] == ["vesalius"]:
                lines[shlex.join(words)] = words[1:]
    return [pytest.param(words, id=line) for line, words in lines.items()]


def slug(heading: str) -> str:
    """Return the anchor that Markdown's table of contents gives a heading."""
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def anchors(path: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {slug(match) for match in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def pages_with(mark: str) -> list[str]:
    return [name for name, path in PAGES.items() if f"<!-- {mark} -->" in path.read_text("utf-8")]


@pytest.mark.parametrize("page", pages_with("run"))
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    try:
        for mark, language, code in FENCE.findall(PAGES[page].read_text(encoding="utf-8")):
            if mark == "run":
                assert language == "python"
                exec(compile(code, f"docs/{page}", "exec"), names)
    finally:
        for name in [name for name in sys.modules if name.startswith("vesalius.beats")]:
            del sys.modules[name]


@pytest.mark.parametrize("code", blocks("python", marked=""))
def test_code_that_is_only_shown_imports_what_exists(code):
    for node in ast.parse(code).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(compile(ast.Module([node], []), "docs", "exec"), {})


@pytest.mark.parametrize("words", commands())
def test_every_command_line_is_understood(words):
    _, bound, *_ = app.parse_args(words, exit_on_error=False, print_error=False)
    overrides = bound.arguments.get("overrides", ())
    named = bound.arguments.get("recipe") or bound.arguments.get("name")
    a_file = str(named).endswith(".yaml")
    recipe = {"segment": SegmentRecipe, "diagnose": DiagnoseRecipe}.get(words[0])
    recipe = PretrainRecipe if words[:2] == ["diagnose", "pretrain"] else recipe
    if recipe is not None and not expects_an_error(words):
        recipe.load(None if a_file else named, overrides)


def expects_an_error(words: list[str]) -> bool:
    shown = [block.values[0].splitlines()[0] for block in blocks("console", marked="printed")]
    return shlex.join(words) in {shlex.join(shlex.split(line)[2:]) for line in shown}


@pytest.mark.parametrize("block", blocks("console", marked="printed"))
def test_what_a_command_prints_is_what_the_page_shows(block, capsys, monkeypatch):
    monkeypatch.delenv("VESALIUS_LANG", raising=False)
    command, _, expected = block.partition("\n")
    main(shlex.split(command)[2:])
    printed = capsys.readouterr()
    assert printed.out + printed.err == expected


@pytest.mark.parametrize("text", blocks("yaml", marked="recipe"))
def test_recipes_load(text, tmp_path):
    path = tmp_path / "shown.yaml"
    path.write_text(text, encoding="utf-8")
    SegmentRecipe.load(path)


@pytest.mark.parametrize("text", blocks("yaml", marked="tricks"))
def test_catalogues_load_and_apply(text, tmp_path):
    path = tmp_path / "shown.yaml"
    path.write_text(text, encoding="utf-8")
    for trick in catalogue("segment", extra=path).values():
        trick.apply(SegmentRecipe())


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", PAGES[page].read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in LINK.findall(text):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (PAGES[page].parent / file).resolve() if file else PAGES[page]
        assert target.is_file(), f"{link} does not exist"
        assert not anchor or anchor in anchors(target), f"{link} has no such heading"


def test_the_site_lists_every_page_once():
    def pages(entries) -> list[str]:
        inner = [value for entry in entries for value in entry.values()]
        return [p for item in inner for p in ([item] if isinstance(item, str) else pages(item))]

    site = tomllib.loads((DOCS.parent / "zensical.toml").read_text(encoding="utf-8"))
    assert sorted(pages(site["project"]["nav"])) == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_the_reference_names_what_exists(page):
    for name in re.findall(r"^::: (\S+)$", PAGES[page].read_text(encoding="utf-8"), re.MULTILINE):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            module, _, attribute = name.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_short(page):
    assert len(PAGES[page].read_text(encoding="utf-8").splitlines()) <= LONGEST_PAGE


ROW = re.compile(r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \| ([\d,]+) \|$", re.MULTILINE)


def rows_of_models() -> list[tuple[str, ...]]:
    return ROW.findall(PAGES["reference/models.md"].read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", rows_of_models(), ids=lambda row: f"{row[0]} {row[3]}")
def test_parameter_counts_of_models_are_measured(row):
    import torch

    from vesalius.segment import models

    name, images, words, count = row
    options = re.findall(r"`([^`]*=[^`]*)`", words)
    with torch.device("meta"):
        model = models.build(
            name,
            in_channels=3 if images == "RGB" else 1,
            dims=3 if "3D" in images else 2,
            classes=1,
            **(eval(f"dict({options[0]})") if options else {}),
        )
    assert sum(p.numel() for p in model.parameters()) == int(count.replace(",", ""))


def test_every_encoder_stands_in_the_table_with_its_measured_count():
    import torch

    from vesalius.images import encoders

    text = PAGES["reference/models.md"].read_text(encoding="utf-8")
    for name in encoders.ENCODERS:
        with torch.device("meta"):
            count = sum(p.numel() for p in encoders.build(name).parameters())
        assert f"| `{name}` | {count:,} |" in text, name


def test_everything_that_a_recipe_can_name_is_documented():
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES.values())
    schema = SegmentRecipe.model_json_schema()
    kinds = {key: schema["properties"][key] for key in ("model", "loss", "step", "optimizer")}
    kinds |= {"schedule": schema["properties"]["schedule"]}
    kinds |= {key: schema["properties"][key]["items"] for key in ("pieces", "augment")}
    for kind, field in kinds.items():
        missing = [name for name in field["discriminator"]["mapping"] if f"`{name}`" not in text]
        assert not missing, f"{kind}: {missing}"
