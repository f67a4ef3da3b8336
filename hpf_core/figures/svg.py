"""A figure as SVG for a page: with the page's fonts, and with colours for light and dark backgrounds."""

from __future__ import annotations

import html
import io
import re

import matplotlib
from matplotlib.figure import Figure

from hpf_core.figures.colours import THEME
from hpf_core.figures.style import house_style

_VARIABLES = {light.lower(): name for name, (light, _) in THEME.items()}
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_GEOMETRY = re.compile(r' (d|x|y|transform|points)="([^"]*)"')
_PATH = re.compile(r' d="([^"]*)"')
_LONG = re.compile(r"-?\d+\.\d+")
_UNUSED = re.compile(
    r'<metadata>.*?</metadata>|<!--.*?-->|<style\b.*?</style>|(?<=<g) id="[^"]*"| id="image[^"]*"'
    r'| xmlns(:xlink)?="[^"]*"| transform="rotate\(-0 [^"]*"|font-family: [^;"]*; ?',
    re.DOTALL,
)
"""Fonts and line joins: the page's own style sheet holds them, so each figure omits its copy."""


@house_style()
def to_svg(figure: Figure, name: str, words: str) -> str:
    """Convert the figure to an `svg` element of its own size, for a page with the rules of `colours.page_css`.

    Texts stay texts and are escaped. The element loads nothing.

    Args:
        name: name of the figure, unique on the page. All ids start with the name, and equal data give equal text.
        words: description of the figure for readers who can't see it.
    """
    matplotlib.rcParams["svg.hashsalt"] = name
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    text = _UNUSED.sub("", text[text.index("<svg") :])
    text = re.sub(r'style="[^"]*"', lambda found: _COLOUR.sub(_variable, found[0]), text)
    text = _GEOMETRY.sub(lambda found: f' {found[1]}="{_LONG.sub(_short, found[2])}"', text)
    text = _PATH.sub(lambda found: f' d="{_packed(found[1])}"', text)
    text = re.sub(r"\s+", " ", text).replace(";base64, ", ";base64,")
    # Two figures on a page must not share an id.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    head = f'<svg class="figure" role="img" aria-label="{html.escape(words)}"'
    return re.sub(r"<svg\b", lambda _: head, text, count=1)


def _variable(found: re.Match[str]) -> str:
    name = _VARIABLES.get(found[0].lower())
    return found[0] if name is None else f"var(--{name})"


def _packed(path: str) -> str:
    """Remove needless spaces from a path. A line of zero length, which is a dot, gets a short form."""
    path = re.sub(r"\s*([A-Za-z])\s*", r"\1", path)
    return re.sub(r"M(-?[\d.]+) (-?[\d.]+)L(?:\1) (?:\2)(?=M|$)", r"M\1 \2h0", path)


def _short(found: re.Match[str]) -> str:
    """Round a length to a tenth of a point."""
    text = f"{float(found[0]):.1f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
