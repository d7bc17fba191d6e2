"""Turn pydantic's findings into sentences: path, what is wrong, and the nearest valid name."""

import difflib
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError


def explain(model: type[BaseModel], error: ValidationError) -> list[str]:
    """Return one line for each problem, in the order of the recipe."""
    return [_sentence(model, item) for item in error.errors(include_url=False)]


def nearest(word: str, known: list[str]) -> str:
    """Return " Did you mean 'x'?" with the closest name, or the list of all of them."""
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'? "
    return ""


def _sentence(model: type[BaseModel], item: Any) -> str:
    location = tuple(item["loc"])
    steps = list(_walk(model, location))
    path = ".".join(str(part) for part, is_tag in steps if not is_tag) or "recipe"
    if item["type"] == "extra_forbidden":
        known = _field_names(model, location[:-1])
        return f"{path}: unknown key. {nearest(location[-1], known)}Known: {', '.join(known)}"
    if item["type"] in ("union_tag_invalid", "union_tag_not_found"):
        known = _tags(item["ctx"].get("expected_tags", "")) or _tags_at(model, location)
        given = item["ctx"].get("tag")
        hint = nearest(given, known) if given else ""
        said = f"unknown name '{given}'" if given else "needs a name"
        return f"{path}: {said}. {hint}Known: {', '.join(known)}"
    message = item["msg"].removeprefix("Value error, ")
    given = item.get("input")
    short = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{path}: {message[0].lower()}{message[1:]}{short}"


def _tags(expected: str) -> list[str]:
    return [tag.strip().strip("'") for tag in expected.split(",") if tag.strip()]


def _walk(model: Any, location: tuple) -> Iterator[tuple[Any, bool]]:
    """Yield each part of a location and whether it is a union's tag, which users never typed."""
    here = model
    for part in location:
        choices = _alternatives(here)
        if choices and part in choices:
            here = choices[part]
            yield part, True
            continue
        here = _below(here, part)
        yield part, False


def _below(here: Any, part: Any) -> Any:
    if isinstance(here, type) and issubclass(here, BaseModel):
        field = here.model_fields.get(str(part))
        return _plain(field.annotation, field.discriminator) if field else None
    arguments = [item for item in get_args(here) if item is not Ellipsis]
    return _plain(arguments[0], None) if isinstance(part, int) and arguments else here


def _plain(annotation: Any, _discriminator: Any) -> Any:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [item for item in get_args(annotation) if item is not type(None)]
        if len(members) == 1:
            return _plain(members[0], None)
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
        here = choices[part] if part in choices else _below(here, part)
    return here


def _tags_at(model: Any, location: tuple) -> list[str]:
    return sorted(_alternatives(_at(model, location)))


def _field_names(model: Any, location: tuple) -> list[str]:
    here = _at(model, location)
    return list(here.model_fields) if isinstance(here, type) else []
