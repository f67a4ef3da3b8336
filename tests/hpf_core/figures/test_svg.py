"""Figures on a page follow its colours and load nothing; their texts are escaped, and their ids don't meet."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from hpf_core.figures.colours import FIT, THEME, LineLook, page_css
from hpf_core.figures.errors import before_after_figure
from hpf_core.figures.success import Curve, success_figure
from hpf_core.figures.svg import to_svg

HOSTILE = '<script>alert(1)</script>"&'


def _svg(name: str, label: str = "fit") -> str:
    curve = Curve(label, np.linspace(0, 1, 5), LineLook(FIT))
    return to_svg(success_figure([curve], np.arange(5.0), label), name, f"words {HOSTILE}")


def _tree(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.replace("<svg", '<svg xmlns:xlink="x"', 1))


def test_colours_are_variables_that_the_page_defines() -> None:
    text = _svg("a")
    assert not re.search(r"#[0-9a-fA-F]{6}\b", text)
    used = set(re.findall(r"var\((--\w+)\)", text))
    assert {"--fit", "--ink", "--card", "--grid"} <= used
    light, dark = page_css().split("@media")
    assert all(f"{name}:#" in light and f"{name}:#" in dark for name in used)
    assert len({colours[0] for colours in THEME.values()}) == len(THEME)


def test_it_loads_nothing_and_texts_are_escaped() -> None:
    text = _svg("a", HOSTILE)
    assert "http" not in text
    assert all(found.startswith("#a-") for found in re.findall(r'href="([^"]*)"', text))
    assert all(found.startswith("#a-") for found in re.findall(r"url\(([^)]*)\)", text))
    assert "<script" not in text
    tree = _tree(text)
    assert tree.get("aria-label") == f"words {HOSTILE}"
    assert tree.get("role") == "img"
    assert HOSTILE in "".join(tree.itertext())


def test_ids_of_two_figures_differ_and_the_same_data_make_the_same_text() -> None:
    one, other = _svg("a"), _svg("b")
    ids = [set(re.findall(r' id="([^"]*)"', text)) for text in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert one == _svg("a")
    referred = set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', one))
    assert {name for pair in referred for name in pair if name} <= ids[0]


def test_every_dot_takes_a_few_bytes(tmp_path: Path) -> None:
    errors = np.random.default_rng(0).gamma(4.0, 3.0, (2, 1000))
    text = to_svg(before_after_figure(errors[0], errors[1], ("init", "fit"), "t"), "p", "w")
    _tree(text)
    path = max(re.findall(r' d="([^"]*)"', text), key=len)
    assert path.count("M") > 300
    assert len(path) < 20 * path.count("M")
