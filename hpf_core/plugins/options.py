"""Describes the options of a plugin's pydantic model in words: the permitted keys and values in a recipe."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

_NAMES: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true or false"),
    int: ("whole number", "whole numbers"),
    float: ("number", "numbers"),
    str: ("text", "texts"),
    Path: ("path", "paths"),
    type(None): ("null", "nulls"),
    Any: ("anything", "anything"),
}
_BOUNDS = {"gt": "> {}", "ge": ">= {}", "lt": "< {}", "le": "<= {}", "multiple_of": "a multiple of {}"}
_LENGTHS = {"min_length": "at least {} long", "max_length": "at most {} long", "pattern": "like {}"}


@dataclass(frozen=True)
class Option:
    """One option, or an option inside of another.

    Attributes:
        name: dotted for an option inside another: "noise.sigma_mm". For one of several alternative models, the name
            includes the alternative: "noise[gauss].sigma_mm".
        type: in words, e.g. "number > 0, or null".
        required: whether a recipe must give it.
        default: its default as plain data; None also if required.
        meaning: the field's description.
    """

    name: str
    type: str
    required: bool
    default: Any
    meaning: str


def describe_options(config: type[BaseModel]) -> list[Option]:
    """All options of a model in the order of their definition, each followed by the options inside it."""
    return list(_options(config, "", ()))


def _options(model: type[BaseModel], prefix: str, within: tuple[type[BaseModel], ...]) -> Iterator[Option]:
    for key, info in model.model_fields.items():
        name = f"{prefix}{info.alias or key}"
        yield Option(name, _field_type(info), info.is_required(), _default(info), _meaning(info))
        inner = list(_models(info.annotation))
        for nested in inner:
            if nested not in within:  # a model may contain itself
                label = f"{name}[{_label(nested)}]." if len(inner) > 1 else f"{name}."
                yield from _options(nested, label, (*within, model, nested))


def _meaning(info: FieldInfo) -> str:
    words = " ".join((info.description or "").split())
    if not info.deprecated:
        return words
    instead = info.deprecated if isinstance(info.deprecated, str) else "leave it out"
    return f"{words} Deprecated: {instead}".strip()


def _field_type(info: FieldInfo) -> str:
    return _with_limits(_words(info.annotation), info.metadata)


def _words(annotation: Any, many: bool = False) -> str:
    """A type in words; `many` for the plural."""
    annotation = _plain(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation][many]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _with_limits(_words(arguments[0], many), arguments[1:])
    if origin is Literal:
        return _either([_value(argument) for argument in arguments])
    if origin in (Union, types.UnionType):
        return _either([_words(argument, many) for argument in sorted(arguments, key=lambda a: a is type(None))])
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        listed = "lists" if many else "list"
        if len(set(arguments)) == 1 and len(arguments) > 1:
            return f"{listed} of {len(arguments)} {_words(arguments[0], True)}"
        return f"{listed} of {len(arguments)}: {', '.join(_words(a) for a in arguments)}"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return f"{'mappings' if many else 'mapping'} of {_words(arguments[0], True)} to {_words(arguments[1], True)}"
    if inspect.isclass(origin) and issubclass(origin, Sequence | set | frozenset):
        return f"{'lists' if many else 'list'} of {_words(arguments[0], True)}"
    if inspect.isclass(annotation):
        if issubclass(annotation, enum.Enum):
            return _either([_value(member.value) for member in annotation])
        if issubclass(annotation, BaseModel):
            return f"{_label(annotation)} {'mappings' if many else 'mapping'}"
        return annotation.__name__
    return str(annotation)


def _with_limits(words: str, metadata: Sequence[Any]) -> str:
    """Adds the limits of `Field(gt=0)` and the like."""
    limits = []
    for item in (part for m in metadata for part in (m.metadata if isinstance(m, FieldInfo) else (m,))):
        for attribute, text in (_BOUNDS | _LENGTHS).items():
            value = getattr(item, attribute, None)
            if value is not None:
                limits.append(text.format(_value(value)))
    return f"{words}, {', '.join(limits)}" if limits else words


def _either(choices: list[str]) -> str:
    return " or ".join(dict.fromkeys(choices))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models anywhere inside a type."""
    annotation = _plain(annotation)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not Literal:
        for argument in get_args(annotation):
            yield from _models(argument)


def _label(model: type[BaseModel]) -> str:
    """A unique label of the model: the only permitted value of one of its fields, else its name."""
    for info in model.model_fields.values():
        if get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1:
            return _value(get_args(info.annotation)[0])
    return model.__name__


def _plain(annotation: Any) -> Any:
    """A type with its alias resolved: `type X = ...` and NewType."""
    while True:
        if isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation


def _default(info: FieldInfo) -> Any:
    value = info.default
    if info.default_factory is not None:
        # Since pydantic 2.10 a factory may request the values of the previous options.
        if getattr(info, "default_factory_takes_validated_data", False):
            return "made from the other options"
        value = info.default_factory()  # type: ignore[call-arg]
    return None if value is PydanticUndefined else to_jsonable_python(value, fallback=repr)


def _value(value: Any) -> str:
    """A value in a recipe's notation."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return f"{value:g}" if isinstance(value, float) else str(value)
