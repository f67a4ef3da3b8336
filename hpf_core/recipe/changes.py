"""Says in words what `--set` and `--seed` changed: the value before and after, defaults included."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hpf_core.documents.tree import Path_, canonical, path_text, shorten


def describe_sets(
    paths: Iterable[Path_], before: Mapping[str, Any], after: Mapping[str, Any], option: str
) -> list[str]:
    """A line for each path, such as "terms.m2d.weight: 1.0 -> 0.5 (--set)".

    Args:
        paths: what was set.
        before: the recipe as it would have been, as a document.
        after: the recipe as it is.
        option: the option that changed it.
    """
    lines = []
    for path in dict.fromkeys(_in_document(path) for path in paths):
        old, new = _shown(path, before), _shown(path, after)
        lines.append(f"{path_text(path)}: {f'stays {new}' if old == new else f'{old} -> {new}'} ({option})")
    return lines


def _in_document(path: Path_) -> Path_:
    """The path in a resolved recipe, where terms go by their canonical names."""
    return ("terms", canonical(str(path[1])), *path[2:]) if len(path) > 1 and path[0] == "terms" else path


def _shown(path: Path_, document: Any) -> str:
    value = document
    for token in path:
        try:
            value = value[token]
        except (KeyError, IndexError, TypeError):  # the path leads nowhere in this document
            is_stage = len(path) == 2 and path[0] == "stages"
            return "off" if value == "off" or is_stage else "not set"
    if len(path) == 2 and path[0] == "stages":
        return "on"
    if isinstance(value, Mapping) and "use" in value:  # a plugin with all of its options
        return f"on, weight {value['weight']:g}" if len(path) == 2 and path[0] == "terms" else str(value["use"])
    return value if isinstance(value, str) and value else shorten(json.dumps(value, ensure_ascii=False))
