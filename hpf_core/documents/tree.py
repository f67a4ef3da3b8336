"""Plain values with their places in a source, and the names of values in messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Scalar = str | int | float | bool | None
Path_ = tuple[str | int, ...]
"""The path of a value in a document: keys and list indices from the top, e.g. ("stages", "fit", "terms", 2)."""


@dataclass(frozen=True)
class Source:
    """A text with values.

    Attributes:
        name: the name for people: a file as given by the user, or an option such as "--set terms.m2d.weight=1".
        lines: the text's lines.
        folder: base of the text's relative paths; the working directory for the command line.
        is_file: whether line and column are meaningful for a reader.
    """

    name: str
    lines: tuple[str, ...] = ()
    folder: Path = Path()
    is_file: bool = True


@dataclass(frozen=True)
class Origin:
    """A place in a source; `line` and `column` count from 1."""

    source: Source
    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class Node:
    """A value and its place.

    Attributes:
        value: a scalar, a dict of nodes or a tuple of nodes.
        at: start of the value.
        key_at: start of the value's key, for entries of a mapping.
        unset: unset environment variables in the value.
    """

    value: Scalar | dict[str, Node] | tuple[Node, ...]
    at: Origin
    key_at: Origin | None = None
    unset: tuple[str, ...] = ()

    @property
    def entries(self) -> dict[str, Node]:
        """The node's entries if it is a mapping, else none."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """The node's items if it is a list, else none."""
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)

    def get(self, name: str) -> Node | None:
        """The entry of this key; `-` and `_` are equal."""
        key = find_key(self.entries, name)
        return None if key is None else self.entries[key]

    def with_entries(self, entries: Mapping[str, Node]) -> Node:
        """The same place with other entries."""
        return replace(self, value=dict(entries))

    def child(self, token: str | int) -> Node | None:
        """The entry or item for one step of a path."""
        if isinstance(token, int):
            return self.items[token] if 0 <= token < len(self.items) else None
        return self.entries.get(token)

    def at_path(self, path: Path_) -> Node:
        """The node at a path, or the deepest existing node on the path."""
        node = self
        for token in path:
            child = node.child(token)
            if child is None:
                break
            node = child
        return node

    def plain(self) -> Any:
        """The value as plain dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, tuple) else self.value

    def walk(self, path: Path_ = ()) -> Iterator[tuple[Path_, Node]]:
        """Yield this node and every node below it, with their paths."""
        yield path, self
        for key, node in self.entries.items():
            yield from node.walk((*path, key))
        for index, node in enumerate(self.items):
            yield from node.walk((*path, index))


def constant(value: Scalar, name: str) -> Node:
    """The value of a command line option."""
    return Node(value, Origin(Source(name, is_file=False)))


def tree_of(document: Any, name: str) -> Node:
    """Convert plain data, such as `Resolved.document()`, to a tree."""
    at = Origin(Source(name, is_file=False))
    if isinstance(document, Mapping):
        return Node({str(key): tree_of(value, name) for key, value in document.items()}, at, at)
    if isinstance(document, list | tuple):
        return Node(tuple(tree_of(item, name) for item in document), at)
    return Node(document, at)


# --------------------------------------------------------------------------------------------------------------- words


def canonical(name: str) -> str:
    """The canonical form of a name for comparison: `-` and `_` are equal."""
    return name.replace("-", "_")


def find_key(mapping: Mapping[str, Any], name: str) -> str | None:
    """The mapping's key that equals this name in canonical form, or None."""
    if name in mapping:
        return name
    wanted = canonical(name)
    return next((key for key in mapping if canonical(key) == wanted), None)


def path_text(path: Path_) -> str:
    """Format a path as `stages.fit.terms[2]`; quotes a key with a dot or a blank."""
    text = ""
    for token in path:
        if isinstance(token, int):
            text += f"[{token}]"
        else:
            plain = token and token.isprintable() and not set(token) & set(". []:")
            shown = shorten(token if plain else repr(token), 60)
            text += f".{shown}" if text else shown
    return text


def shorten(text: str, most: int = 80) -> str:
    """Shorten a text to at most `most` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def describe(value: Any) -> str:
    """Describe a value for an error message, always briefly."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {shorten(repr(value))}"
    if isinstance(value, str):
        return f"the text {shorten(repr(value))}"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
