"""Colours with a meaning: the same in every figure and on a run's page, for light and dark backgrounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

INIT, FIT, CONTROL, TRUTH = "#D55E00", "#0072B2", "#E69F00", "#009E73"
"""Colours with a fixed meaning in every figure. The palette suits colour-blind readers (Okabe and Ito 2008)."""
OTHERS = ("#AA4499", "#7A7A2B", "#332288", "#8C6D4F", "#5FB3D9", "#882255", "#5A5A5A")
"""Colours without a fixed meaning, after Tol's muted scheme."""
DASHES = ("-", "--", "-.", ":")
INK, QUIET, GRID = "#222222", "#707070", "#E4E4E4"
PAPER, MAP, IGNORED = "#FFFFFF", "#F4F1EA", "#D3BD8E"
"""Background of the page, background of a depth map, and pixels of a depth map that a loss ignores."""

THEME: dict[str, tuple[str, str]] = {
    "init": (INIT, "#F4863F"),
    "fit": (FIT, "#4FA9E8"),
    "control": (CONTROL, "#E9AE32"),
    "truth": (TRUTH, "#2CC79B"),
    "ink": (INK, "#E8E8E6"),
    "quiet": (QUIET, "#A3A7AD"),
    "grid": (GRID, "#353A41"),
    "card": (PAPER, "#1E2125"),
    "map": (MAP, "#101214"),
    "ignored": (IGNORED, IGNORED),
    "other0": (OTHERS[0], "#D685C9"),
    "other1": (OTHERS[1], "#BFBF66"),
    "other2": (OTHERS[2], "#A094EC"),
    "other3": (OTHERS[3], "#CBA57F"),
    "other4": (OTHERS[4], "#8CCDEB"),
    "other5": (OTHERS[5], "#DB6F9F"),
    "other6": (OTHERS[6], "#BDBDBD"),
}
"""For each variable of the page's style sheet: the colour on light background, as in PNG files, and on dark."""


@dataclass(frozen=True)
class LineLook:
    """Colour and dashes of one result, in curves and bars."""

    colour: str
    dashes: str = "-"


def other_look(number: int) -> LineLook:
    """The look of a result outside a run's lineage. Dashes keep lines distinct in grey print."""
    return LineLook(OTHERS[number % len(OTHERS)], DASHES[(number + number // len(OTHERS)) % len(DASHES)])


def other_looks(names: Iterable[str]) -> dict[str, LineLook]:
    """The looks of several results."""
    return {name: other_look(number) for number, name in enumerate(names)}


def stage_looks(names: Iterable[str], chain: Sequence[str], controls: Mapping[str, str]) -> dict[str, LineLook]:
    """The looks of a run's stages.

    Args:
        names: "init" and all stages, in order.
        chain: the evaluated stages that feed each other (`Lineage.chain`). The first is the start, the last the fit.
        controls: for each control, the stage that it controls.
    """
    names = list(names)
    stages = [name for name in names if name not in controls]
    first = chain[0] if chain else None
    last = chain[-1] if chain else stages[-1] if stages else None
    looks: dict[str, LineLook] = {}
    for name in names:
        if name == last:
            looks[name] = LineLook(FIT)
        elif name == first:
            looks[name] = LineLook(INIT, ":")
        elif controls.get(name) == last:
            looks[name] = LineLook(CONTROL, "--")
        else:
            looks[name] = other_look(len(looks))
    return looks


def page_css() -> str:
    """CSS rules for a page with figures: colours on light and dark background, and lines."""
    light = "".join(f"--{name}:{colours[0]};" for name, colours in THEME.items())
    dark = "".join(f"--{name}:{colours[1]};" for name, colours in THEME.items())
    return (
        f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        "svg.figure *{stroke-linejoin:round;stroke-linecap:butt}\n"
        "svg.figure text{font-family:'DejaVu Sans',Verdana,system-ui,sans-serif}\n"
        "svg.figure image{image-rendering:pixelated}\n"
    )
