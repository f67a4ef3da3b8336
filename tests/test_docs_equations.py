"""docs/equations.md is what the tool writes, each equation is marked on every path, and the named options exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from hpf_core.plugins import PluginHost
from hpf_core.recipe import load

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import equations  # noqa: E402

PATHS = {
    1: {"tensor", "reference"}, 2: {"tensor", "reference"}, 3: {"tensor", "reference"}, 4: {"tensor", "reference"},
    5: {"tensor", "c", "reference"}, 6: {"tensor", "c", "reference"}, 7: {"tensor", "c", "reference"},
    8: {"tensor", "c", "reference"}, 9: {"tensor", "reference"}, 10: {"tensor", "c", "reference"},
    11: {"tensor", "c", "reference"}, 12: {"tensor", "reference"}, 13: {"tensor", "reference"},
    14: {"tensor", "reference"}, 15: {"tensor", "reference"}, 16: {"tensor", "reference"},
}  # fmt: skip
"""The ways in which the project computes each equation."""


def kind(path: str) -> str:
    return "reference" if path.startswith("tests/") else "c" if path.endswith(".c") else "tensor"


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "equations.md").read_text(encoding="utf-8") == equations.page()


@pytest.mark.parametrize("number", range(1, 17))
def test_an_equation_is_marked_on_every_path(number: int) -> None:
    assert {kind(line.path) for line in equations.lines() if line.number == number} == PATHS[number]
    assert re.search(rf"^\| Eq\. {number} \|", equations.page(), re.MULTILINE)


def test_the_options_that_are_as_printed_exist() -> None:
    host = PluginHost.load(only=[])
    checked = 0
    for equation in equations.EQUATIONS.values():
        for path, value in re.findall(r"`([\w.]+): ([\w.-]+)`", equation.printed):
            resolved = load(ROOT / "recipes" / "quickstart.yaml", sets=[f"{path}={value}"], host=host)
            place = resolved.document()
            for key in path.split("."):
                place = place[key]
            checked += 1
    assert checked >= 11
