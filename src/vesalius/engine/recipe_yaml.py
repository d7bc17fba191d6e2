"""Recipes as YAML: reading, merging, overriding by path, and writing with explanations."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from vesalius.block import Block
from vesalius.errors import RecipeError

_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)|[0-9][0-9_]*\.[0-9_]*"
    r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$"
)
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_OURS = [("bool", _BOOL, "tTfF"), ("int", _INT, "-+0123456789"), ("float", _FLOAT, "-+0123456789.")]
_NOT_MEANT = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "timestamp")}


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: 3e-4 is a number, `no`, `on`, 010, 1:30 and 2020-01-01 are words.

    Keys are words as typed, and do not repeat.
    """

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NOT_MEANT]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(yaml.SafeDumper):
    """Quotes whatever this loader, or a standard one, would not read as the word that it is."""

    def ignore_aliases(self, data: Any) -> bool:
        return True  # anchors are for machines


for _name, _pattern, _first in _OURS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, list(_first))
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, list(_first))


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Double quotes escape; the other styles fold line ends and lose some characters.
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(
                None, None, "a key is a single word", key.start_mark
            )
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{key.value}' stands twice in the block", key.start_mark
            )
        seen.add(key.value)
    loader.flatten_mapping(node)  # "<<: *anchor"
    return {key.value: loader.construct_object(value, deep=True) for key, value in node.value}


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
    changed: Any = _copy(values)
    *parents, last = path.split(".")
    place: Any = changed
    for depth, part in enumerate(parents):
        place = _descend(place, part, ".".join(parents[: depth + 1]))
    _assign(place, last, value, path)
    return changed


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


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
    if not items:
        raise RecipeError(f"'{path}': the list is empty; give it whole, for example key=[...]")
    if not part.isdecimal() or int(part) >= len(items):
        raise RecipeError(f"'{path}': the list has items 0 to {len(items) - 1}, not '{part}'")
    return int(part)


def dump(recipe: Block, *, comments: bool) -> str:
    """Return YAML in field order; with `comments`, every field's description above it."""
    if not comments:
        return _dumped(recipe.model_dump(mode="json"))
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
    return _dumped(value, default_flow_style=True).removesuffix("...\n").strip()


def _dumped(value: Any, **options: Any) -> str:
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf, **options
    )
