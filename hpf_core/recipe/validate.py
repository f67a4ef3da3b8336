"""Checks a part of a tree with a pydantic model, and describes each error in plain words with its place."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from hpf_core.documents.errors import Problem, problem_at
from hpf_core.documents.tree import Node, Path_, describe, path_text
from hpf_core.errors import HPFError, nearest
from hpf_core.recipe.models import PATTERNS

_M = TypeVar("_M", bound=BaseModel)

_EXPECTED = {
    kind: words
    for words, kinds in {
        "a whole number": "int_type int_parsing int_from_float",
        "a number": "float_type float_parsing",
        "true or false": "bool_type bool_parsing",
        "text": "string_type",
        "text, a path": "path_type",
        "null": "none_required",
        "a list": "list_type tuple_type set_type",
        "a mapping": "dict_type mapping_type model_type model_attributes_type dataclass_type",
    }.items()
    for kind in kinds.split()
}
_CLASS_EXPECTED = {
    "Use": "the name of a plugin, or a mapping {use: name, option: value, ...}",
    "TermUse": "on, off, or a mapping {weight: number, option: value, ...}",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}


def validate(
    model: type[_M],
    data: Any,
    node: Node,
    path: Path_,
    problems: list[Problem],
    owner: str = "",
    choices: str = "Known",
    extra: tuple[str, ...] = (),
) -> _M | None:
    """An instance of the model from plain data, or None and the problems.

    Args:
        model: the expected form of the data.
        data: plain data; it may hold entries that the node lacks, such as an alias's presets.
        node: the data's place in the source.
        path: the node's path in the recipe.
        problems: receives all errors.
        owner: owner of the options, for messages; e.g. "m2d (plugin of hpf 0.1.0)".
        choices: introduction of a list of legal keys.
        extra: legal keys besides the model's own.
    """
    try:
        return _instance(model, data)
    except ValidationError as error:
        found: dict[Path_, Problem] = {}
        for detail in _given(error, data) or error.errors(include_url=False):
            problem_path, problem = _problem(model, detail, node, path, owner, choices, extra)
            # pydantic reports each branch of a union. We keep one problem.
            found.setdefault(problem_path, problem)
        problems.extend(found.values())
    except HPFError as error:
        problems.append(problem_at(node, path, str(error)))
    except Exception as error:
        # A plugin's own validator raised an unexpected error: the plugin is broken, not HPF.
        message = f"the options' model of {owner or model.__name__} failed with {type(error).__name__}: {error}"
        problems.append(problem_at(node, path, message))
    return None


def _instance(model: type[_M], data: Any) -> _M:
    """Build the model from plain data, without type conversions beyond those that YAML needs.

    We pass JSON: pydantic's strict mode then accepts lists for tuples and texts for paths and enumerations, and
    converts nothing else. But pydantic also checks the model's own defaults as JSON, and a path isn't valid JSON. If it
    refuses only defaults, the given values are right, and we build the model in the usual way.

    Raises:
        ValidationError: the data are wrong.
    """
    try:
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        if _given(error, data):
            raise
    return model.model_validate(data, strict=False)


def _given(error: ValidationError, data: Any) -> list[Any]:
    """The errors about given data, without errors about the model's defaults."""
    details = error.errors(include_url=False)
    return [detail for detail in details if _reached(data, detail["loc"]) == detail["input"]]


def _reached(data: Any, location: tuple[int | str, ...]) -> Any:
    """The innermost existing part of the data at a location."""
    for token in location:
        try:
            data = data[token]
        except (KeyError, IndexError, TypeError):  # the name of a union's branch, or a missing value
            continue
    return data


def _problem(
    model: type[BaseModel], detail: Any, node: Node, path: Path_, owner: str, choices: str, extra: tuple[str, ...]
) -> tuple[Path_, Problem]:
    """Convert one of pydantic's errors to a problem with its path."""
    kind, location = detail["type"], tuple(detail["loc"])
    inner, found = _descend(node, location)
    context = detail.get("ctx", {})
    if kind in ("extra_forbidden", "missing"):
        holder = inner[:-1] if inner and inner[-1] == location[-1] else inner
        whole = (*path, *holder, location[-1])
        name = str(location[-1])
        known = _fields(model, holder)
        info = known.get(name)
        if kind == "missing":
            message = "is missing" + (f" ({info.description.rstrip('.')})" if info and info.description else "")
            return whole, problem_at(found, whole, message, key=True)
        legal = [*known, *(() if holder else extra)]
        if holder and owner:
            owner = f"{path_text(holder)} of {owner}"
        what = "unknown option" if owner else "unknown key"
        return whole, problem_at(found, whole, what, _unknown_hint(name, legal, owner, choices), key=True)
    whole = (*path, *inner)
    info = _fields(model, inner[:-1]).get(str(inner[-1])) if inner else None
    hint = info.description if info is not None and info.description else ""
    value = detail.get("input")
    on_key = bool(location) and location[-1] == "[key]"
    if kind in _EXPECTED:
        expected = _CLASS_EXPECTED.get(context.get("class_name", ""), _EXPECTED[kind])
        message = f"expected {expected}, got {describe(value)}"
        hint = _number_hint(value, expected) or hint
    elif kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        message = f"must be {words} {context[key]}, got {describe(value)}"
    elif kind in ("literal_error", "enum"):
        legal = [text.strip().strip("'") for text in context["expected"].replace(" or ", ",").split(",")]
        message = f"expected {context['expected']}, got {describe(value)}"
        hint = nearest(value, legal) if isinstance(value, str) else hint
    elif kind == "string_pattern_mismatch":
        words = PATTERNS.get(context["pattern"], f"it must match {context['pattern']}")
        message = f"{describe(value)} is not allowed here: {words}"
    elif kind == "too_short":
        message = f"needs at least {context['min_length']} of them, got {context['actual_length']}"
    elif kind in ("value_error", "assertion_error"):
        message = str(context.get("error", detail["msg"]))
        hint = ""
    else:
        message = f"{detail['msg']}, got {describe(value)}"
    return whole, problem_at(found, whole, message, hint, key=on_key)


def _number_hint(value: Any, expected: str) -> str:
    """A suggestion if the recipe has another type instead of a number."""
    if expected == "a whole number" and isinstance(value, float) and value.is_integer():
        return f"Write {int(value)}."
    if "number" in expected and isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return ""
        return f"Write {value.replace('_', '').strip()} without quotes or '_'."
    return ""


def _unknown_hint(name: str, known: Sequence[str], owner: str, choices: str) -> str:
    """Suggest the nearest legal keys, and list all of them."""
    close = nearest(name, known)
    listed = f"{choices}{' of ' + owner if owner else ''}: {', '.join(sorted(known))}." if known else ""
    if close.startswith("Did you mean"):
        return f"{close} {listed}".rstrip()
    return listed or f"{owner or 'It'} has no options."


def _descend(node: Node, location: tuple[Any, ...]) -> tuple[Path_, Node]:
    """Follow a pydantic location through the tree. The location may also name branches of unions and models."""
    inner: list[str | int] = []
    for token in location:
        child = node.child(token)
        if child is not None:
            node = child
            inner.append(token)
    return tuple(inner), node


def _fields(model: type[BaseModel], path: Path_) -> dict[str, FieldInfo]:
    """The fields of the model at a path; none if no model is there."""
    found = model_at(model, path)
    return {} if found is None else dict(found.model_fields)


def model_at(model: type[BaseModel] | None, path: Path_) -> type[BaseModel] | None:
    """The model of the value at a path below another model, as far as annotations determine it."""
    annotation: Any = model
    for token in path:
        current = _model_in(annotation)
        if current is not None:
            info = current.model_fields.get(str(token))
            annotation = None if info is None else info.annotation
        else:  # an entry of a mapping or an item of a list: its type is the last argument
            arguments = [a for a in _flatten(annotation) if get_args(a)]
            annotation = get_args(arguments[0])[-1] if arguments else None
    return _model_in(annotation)


def with_defaults(model: type[BaseModel], written: Any) -> Any:
    """Fill in the model's defaults, also in nested models; unchecked."""
    if not isinstance(written, dict):
        return written
    filled: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        key = info.alias or name
        if key in written:
            inner = model_at(model, (name,))
            filled[key] = written[key] if inner is None else with_defaults(inner, written[key])
        elif not info.is_required():
            with contextlib.suppress(Exception):  # a plugin's factory of defaults may fail, or need other options
                filled[key] = to_jsonable_python(info.get_default(call_default_factory=True), fallback=repr)
    return {**filled, **{key: value for key, value in written.items() if key not in filled}}


def _flatten(annotation: Any) -> list[Any]:
    """The branches of a union and the type inside Annotated, or the annotation itself."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _flatten(arguments[0])
    if origin in (Union, UnionType):
        return [branch for argument in arguments for branch in _flatten(argument)]
    return [annotation]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for branch in _flatten(annotation):
        if isinstance(branch, type) and not get_args(branch) and issubclass(branch, BaseModel):
            return branch
    return None
