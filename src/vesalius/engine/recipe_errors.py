"""Turn pydantic's findings into sentences: path, what is wrong, and the nearest valid name."""

import difflib
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError


def explain(model: type[BaseModel], error: ValidationError) -> list[str]:
    """Return one line for each problem, in the order of the recipe."""
    found: dict[str, list[Any]] = {}
    for item in error.errors(include_url=False):
        # A plain union (a number or "auto") reports every member that did not fit: one problem.
        path, alternative = _path(model, item["loc"])
        found.setdefault(alternative or f"{path} {item['type']}", []).append((path, item))
    return [_sentence(model, _best_fit(group)) for group in found.values()]


def nearest(word: str, known: list[str]) -> str:
    """Return "Did you mean 'x'? " with the closest of `known`, or nothing."""
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    return f"Did you mean '{close[0]}'? " if close else ""


def _best_fit(group: list[tuple[str, Any]]) -> tuple[str, Any]:
    """Return the finding that lies deepest; findings side by side become one."""
    depth = max(len(item["loc"]) for _, item in group)
    deepest = [(path, item) for path, item in group if len(item["loc"]) == depth]
    path, first = deepest[0]
    if len(deepest) == 1 or len({path for path, _ in deepest}) > 1:
        return path, first
    wanted = [item["msg"].partition(",")[0].removeprefix("Input should be ") for _, item in deepest]
    return path, {**first, "type": "union", "msg": f"Input should be {' or '.join(wanted)}"}


def _path(model: type[BaseModel], location: tuple) -> tuple[str, str]:
    """Return the path as a user would type it, and that of the plain union around it, if any."""
    parts: list[str] = []
    union = ""
    for part, kind in _walk(model, location):
        if kind == "member":
            union = union or ".".join(parts)
        elif kind == "key":
            parts.append(str(part))
    return ".".join(parts) or "recipe", union


def _sentence(model: type[BaseModel], finding: tuple[str, Any]) -> str:
    path, item = finding
    location = tuple(item["loc"])
    kind, given = item["type"], item.get("input")
    if kind == "extra_forbidden":
        known = _field_names(model, location[:-1])
        return f"{path}: unknown key. {nearest(location[-1], known)}Known: {', '.join(known)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return f"{path}: {_unknown_name(model, item, location)}"
    if kind in ("model_attributes_type", "model_type"):
        known = _tags_at(model, location)
        example = f", for example {{name: {_example(given, known)}}}" if known else ""
        names = f". Known names: {', '.join(known)}" if known else ""
        return f"{path}: needs a block of keys and values{example}{_shown(given)}{names}"
    message = item["msg"].removeprefix("Value error, ").replace("alid tuple", "alid list")
    message = message.replace("Tuple should", "List should")
    hint = ""
    if kind == "literal_error":
        hint = nearest(given, re.findall(r"'([^']*)'", item["ctx"]["expected"])).strip()
    if location and location[-1] == "[key]":
        message = f"the key {message[0].lower()}{message[1:]}"
    return f"{path}: {message[0].lower()}{message[1:]}{_shown(given)}{'. ' if hint else ''}{hint}"


def _unknown_name(model: type[BaseModel], item: Any, location: tuple) -> str:
    known = _tags(item["ctx"].get("expected_tags", "")) or _tags_at(model, location)
    given = item["ctx"].get("tag")
    said = f"unknown name '{given}'. {nearest(given, known)}" if given else "needs a name. "
    return f"{said}Known: {', '.join(known)}"


def _example(given: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(given), known, n=1, cutoff=0.5)
    return close[0] if close else known[0]


def _shown(given: Any) -> str:
    if given is None:
        return " (given: null)"
    short = isinstance(given, str | int | float | bool | list) and len(repr(given)) <= 80
    return f" (given: {given!r})" if short else ""


def _tags(expected: str) -> list[str]:
    return [tag.strip().strip("'") for tag in expected.split(",") if tag.strip()]


def _walk(model: Any, location: tuple) -> Iterator[tuple[Any, str]]:
    """Yield each part of a location and what it is: a "key" (or index), or what users never typed.

    That is the "tag" of a union of named blocks, the "member" of a plain union that was tried, or
    the "mark" that a dictionary's key is meant.
    """
    here = model
    for part in location:
        choices = _alternatives(here)
        if choices and part in choices:
            here = choices[part]
            yield part, "tag"
        elif not choices and _is_union(here):
            here = _member(here, part)
            yield part, "member"
        elif part == "[key]":
            yield part, "mark"
        else:
            here = _below(here, part)
            yield part, "key"


def _is_union(annotation: Any) -> bool:
    return get_origin(_plain(annotation)) in (Union, types.UnionType)


def _member(union: Any, label: Any) -> Any:
    """Return the member that pydantic's label means, where something can lie below it."""
    kind = str(label).partition("[")[0]
    members = [_plain(member) for member in get_args(_plain(union))]
    named = {getattr(get_origin(member) or member, "__name__", ""): member for member in members}
    return named.get(kind)


def _below(here: Any, part: Any) -> Any:
    if isinstance(here, type) and issubclass(here, BaseModel):
        field = here.model_fields.get(str(part))
        return _plain(field.annotation) if field else None
    arguments = [item for item in get_args(here) if item is not Ellipsis]
    if not arguments:
        return None
    if isinstance(part, int):
        return _plain(arguments[min(part, len(arguments) - 1)])
    return _plain(arguments[-1])  # a dictionary's values


def _plain(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [item for item in get_args(annotation) if item is not type(None)]
        if len(members) == 1:
            return _plain(members[0])
    return annotation


def _alternatives(annotation: Any) -> dict[str, type[BaseModel]]:
    """Return name -> model for a union of named blocks, else nothing."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()
    named: dict[str, type[BaseModel]] = {}
    for member in members:
        if get_origin(member) is Annotated:
            named |= _alternatives(member)
        elif isinstance(member, type) and issubclass(member, BaseModel):
            field = member.model_fields.get("name")
            named |= dict.fromkeys(get_args(field.annotation) if field else (), member)
    return named


def _at(model: Any, location: tuple) -> Any:
    here = model
    for part in location:
        choices = _alternatives(here)
        if part in choices:
            here = choices[part]
        else:
            here = _member(here, part) if not choices and _is_union(here) else _below(here, part)
    return here


def _tags_at(model: Any, location: tuple) -> list[str]:
    return list(_alternatives(_at(model, location)))


def _field_names(model: Any, location: tuple) -> list[str]:
    here = _at(model, location)
    return list(here.model_fields) if isinstance(here, type) else []
