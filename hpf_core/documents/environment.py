"""Environment variables in a tree: `${NAME}` and `${NAME:-default}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from hpf_core.documents.errors import Problem, problem_at, raise_if
from hpf_core.documents.tree import Node, Path_

_MOST_CHARACTERS = 100_000  # longest text after substitution
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}|\$\{")


def substitute(tree: Node, environment: Mapping[str, str]) -> Node:
    """Replace variables by their values, always as text; `$${` becomes `${`.

    An unset or empty variable takes its default. Without a default, the variable becomes the empty text, and the node's
    `unset` lists it. The dataset that needs the folder can then report the missing variable best.

    Raises:
        InvalidRecipe: a reference has no end, or a value is not UTF-8 or enormous.
    """
    problems: list[Problem] = []
    result = _substitute(tree, (), environment, problems)
    raise_if(problems)
    return result


def escape(text: str) -> str:
    """Escape a text, so that `substitute` returns the original."""
    return text.replace("${", "$${")


def _substitute(node: Node, path: Path_, environment: Mapping[str, str], problems: list[Problem]) -> Node:
    if isinstance(node.value, dict):
        return node.with_entries(
            {key: _substitute(child, (*path, key), environment, problems) for key, child in node.value.items()}
        )
    if isinstance(node.value, tuple):
        items = [_substitute(item, (*path, i), environment, problems) for i, item in enumerate(node.value)]
        return replace(node, value=tuple(items))
    if not isinstance(node.value, str) or "${" not in node.value:
        return node
    unset: list[str] = []
    grown = 0

    def value(match: re.Match[str]) -> str:
        nonlocal grown
        if match.group() == "$${":
            return "${"
        name = match["name"]
        if name is None:
            expected = "expected ${NAME} or ${NAME:-default}, and $${ for the characters themselves"
            problems.append(problem_at(node, path, f"'${{' without an end or a name: {expected}"))
            return ""
        text = environment.get(name, "") or match["default"]
        if text is None:
            unset.append(name)
            return ""
        grown += len(text)
        if not _is_utf8(text) or grown > _MOST_CHARACTERS:
            fault = "makes the text enormous" if _is_utf8(text) else "is not UTF-8"
            problems.append(problem_at(node, path, f"the value of the environment variable {name} {fault}"))
            return ""
        return text

    # Substitution stops when the text is enormous.
    text = _REFERENCE.sub(lambda match: "" if grown > _MOST_CHARACTERS else value(match), node.value)
    return replace(node, value=text, unset=tuple(unset))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes in the environment that Python couldn't decode
        return False
    return True
