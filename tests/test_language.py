"""No text that a user reads has one of the phrases that new users had to read twice."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("hpf", "hpf_cli", "hpf_core", "hpf_plugins")
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("examples/*/*.md"),
    *ROOT.glob("hpf_plugins/weights/*/*.md"),
]
PHRASES = (
    r"held against",
    r"hold \w+ against",
    r"tells?",
    r"told",
    r"begun",
    r"(lost|loses?) (their|its) say",
    r"its say",
    r"anew",
    r"go(es|ne)? on (from|with)",
    r"astray",
    r"trained on by",
)
UNCLEAR = re.compile(rf"\b({'|'.join(PHRASES)})\b", re.IGNORECASE)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The literals of a module that may reach a user, with their lines: all texts of two words or more, without
    docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in silent
            and " " in node.value
        ):
            yield node.lineno, node.value


@pytest.mark.parametrize("package", PACKAGES)
def test_messages_and_help(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {UNCLEAR.search(text)[0]!r} in {text!r}"  # type: ignore[index]
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, text in texts(path)
        if UNCLEAR.search(text)
    ]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [f"{number}: {line}" for number, line in enumerate(lines, 1) if UNCLEAR.search(line)] == []


def test_the_phrases_are_found() -> None:
    for text in ("An estimate held against a map", "The run goes on from step 3", "It is told nothing", "made anew"):
        assert UNCLEAR.search(text), text
    assert not UNCLEAR.search("The estimate is compared with each camera's depth map.")
