"""Recipes as YAML: reading, merging, overriding by path, and writing with explanations."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vesalius.block import Block
from vesalius.errors import RecipeError


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: 3e-4 is a number, `no` and `on` are words, keys do not repeat."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            mark = node.start_mark
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{key}' stands twice in the block", mark
            )
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


def parse(text: str, where: str) -> Any:
    """Parse YAML text; raise a `RecipeError` that names `where`, the line and the column."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise RecipeError(f"{where}{place}: not valid YAML: {reason}") from None


def read(source: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the mapping that a YAML file (or a mapping, or nothing) holds."""
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return dict(source)
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    values = parse(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys to values")
    return values


def merge(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `given` over `base`. A block whose `name` changes starts afresh; lists are replaced."""
    merged = dict(base)
    for key, value in given.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and not _renames(old, value):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def _renames(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return "name" in new and new["name"] != old.get("name")


def apply_override(values: Mapping[str, Any], override: str) -> dict[str, Any]:
    """Apply one "key.path=value"; the value is read as YAML ("null", "[1, 2]", "{name: fgm}")."""
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise RecipeError(f"'{override}' is not of the form key.path=value, for example epochs=20")
    return set_path(values, path.strip(), parse(text, f"override '{override}'"))


def set_path(values: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with the value at a dotted path replaced; numbers index lists."""
    changed = json.loads(json.dumps(values))
    *parents, last = path.split(".")
    place: Any = changed
    for depth, part in enumerate(parents):
        place = _descend(place, part, ".".join(parents[: depth + 1]))
    _assign(place, last, value, path)
    return changed


def _descend(place: Any, part: str, path: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, part, path)]
    if place.get(part) is None:
        place[part] = {}
    if not isinstance(place[part], dict | list):
        raise RecipeError(f"'{path}' is a single value, not a block; nothing lies below it")
    return place[part]


def _assign(place: Any, last: str, value: Any, path: str) -> None:
    if isinstance(place, list):
        place[_index(place, last, path)] = value
    elif last == "name" and place.get("name") != value:
        place.clear()  # another alternative: the old one's options mean nothing to it
        place["name"] = value
    elif isinstance(value, Mapping) and isinstance(place.get(last), Mapping):
        place[last] = value if _renames(place[last], value) else merge(place[last], value)
    else:
        place[last] = value


def _index(items: list, part: str, path: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise RecipeError(f"'{path}': the list has items 0 to {len(items) - 1}, not '{part}'")
    return int(part)


def dump(recipe: Block, *, comments: bool) -> str:
    """Return YAML in field order; with `comments`, every field's description above it."""
    if not comments:
        return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return "\n".join(_lines(recipe, indent=0)) + "\n"


def _lines(block: Block, indent: int) -> list[str]:
    lines, space = [], "  " * indent
    fields = type(block).model_fields
    for key in sorted(fields, key=lambda key: key != "name"):  # the name first, else as declared
        field = fields[key]
        value = getattr(block, key)
        if field.description and key != "name":
            lines.append(f"{space}# {' '.join(field.description.split())}")
        if isinstance(value, Block):
            lines += [f"{space}{key}:", *_lines(value, indent + 1)]
        elif isinstance(value, tuple | list) and any(isinstance(item, Block) for item in value):
            lines.append(f"{space}{key}:")
            for item in value:
                first, *rest = _lines(item, indent + 2)
                lines += [f"{space}  - {first.strip()}", *rest]
        else:
            lines.append(f"{space}{key}: {_scalar(block, key)}")
    return lines


def _scalar(block: Block, key: str) -> str:
    value = block.model_dump(mode="json", include={key})[key]
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("...\n").strip()
