"""Errors in a written document: file, line, column, the text, what was expected, the nearest valid name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from hpf_core.documents.tree import Node, Origin, Path_, path_text
from hpf_core.errors import RecipeError

_MOST_PROBLEMS = 10
_EXCERPT = 100  # longest excerpt of a source line


@dataclass(frozen=True)
class Problem:
    """One error in a document.

    Attributes:
        message: what is wrong and what was expected.
        path: name of the value, e.g. "terms.m2d.weight"; empty for the whole text.
        at: place in the source, or None.
        hint: the nearest valid choice.
    """

    message: str
    path: str = ""
    at: Origin | None = None
    hint: str = ""

    @property
    def where(self) -> str:
        """`file:line:column`, or the command line's option, or empty."""
        if self.at is None:
            return ""
        source = self.at.source
        return f"{source.name}:{self.at.line}:{self.at.column}" if source.is_file else source.name

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.where, self.path, self.message) if part)
        lines = [head, *_excerpt(self.at)]
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)


class InvalidRecipe(RecipeError):
    """A recipe is wrong; holds all of its errors."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(dict.fromkeys(problems), key=_order))
        shown = [str(problem) for problem in self.problems[:_MOST_PROBLEMS]]
        hidden = len(self.problems) - len(shown)
        if hidden:
            shown.append(f"... and {hidden} more of these.")
        # Names of files and texts of plugins may contain control characters, which must not reach a terminal.
        super().__init__("".join(c if c.isprintable() or c == "\n" else " " for c in "\n".join(shown)))


def problem_at(node: Node | None, path: Path_, message: str, hint: str = "", key: bool = False) -> Problem:
    """Describe a problem with a node; with `key`, the problem points to the node's key."""
    at = None if node is None else (node.key_at or node.at) if key else node.at
    return Problem(message, path_text(path), at, hint)


class Problems:
    """Collects the errors in a document.

    Attributes:
        tree: the document.
        found: the errors so far.
    """

    def __init__(self, tree: Node) -> None:
        self.tree = tree
        self.found: list[Problem] = []

    def add(self, path: Path_, message: str, hint: str = "", key: bool = False) -> None:
        """Add a problem with the value at a path; with `key`, the problem points to the value's key."""
        self.found.append(problem_at(self.tree.at_path(path), path, message, hint, key))

    def raise_if_any(self) -> None:
        """Raise `InvalidRecipe` if there are problems."""
        raise_if(self.found)


def fail(message: str, path: str = "", at: Origin | None = None, hint: str = "") -> NoReturn:
    """Raise `InvalidRecipe` for one problem."""
    raise InvalidRecipe([Problem(message, path, at, hint)])


def raise_if(problems: Sequence[Problem]) -> None:
    """Raise `InvalidRecipe` if there are problems."""
    if problems:
        raise InvalidRecipe(problems)


def _order(problem: Problem) -> tuple[str, int, int]:
    return ("", 0, 0) if problem.at is None else (problem.at.source.name, problem.at.line, problem.at.column)


def _excerpt(at: Origin | None) -> list[str]:
    """The source line with a caret under the column; a long line is cut around the column."""
    if at is None or not at.source.is_file or not 1 <= at.line <= len(at.source.lines):
        return []
    line = "".join(c if c.isprintable() else " " for c in at.source.lines[at.line - 1])
    column = min(at.column - 1, len(line))
    start = max(0, column - _EXCERPT // 2) if len(line) > _EXCERPT else 0
    cut = line[start : start + _EXCERPT].rstrip()
    if not cut:
        return []
    margin = f"{at.line:>6} | "
    return [margin + cut, " " * (len(margin) + column - start) + "^"]
