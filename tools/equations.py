"""Writes docs/equations.md: the place of each equation of the paper in the code, and the deviations of our defaults.

    python tools/equations.py

A comment `# Eq. N` marks each executable line that computes Eq. N, in Python and in C.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "equations.md"
FOLDERS = ("hpf_core", "hpf_plugins", "tests")

MARK = re.compile(r"# Eq\. (\d+)\b")


class Equation(NamedTuple):
    """What an equation is, what our default changes, and the options that are as printed (`path: value`)."""

    what: str
    deviation: str
    printed: str


EQUATIONS = {
    1: Equation(
        "x and y of a point: soft-argmax of its heatmap",
        "the weight exp(0) of the background is subtracted",
        "`backbone.background: keep`",
    ),
    2: Equation(
        "z of a point: its latent depth map under the same weights",
        "the weight exp(0) of the background is subtracted",
        "`backbone.background: keep`",
    ),
    3: Equation(
        "label of the latent depth map",
        "set where the heatmap's label exceeds 0.05, as in the authors' code; with a Gaussian label, > 0 is everywhere",
        "none: the paper's labels have a finite support that it does not state",
    ),
    4: Equation(
        "the loss: weighted sum of the terms",
        "each term is a mean; the paper sums over images. The paper prints no weights",
        "`terms.m2d.weight: 1`",
    ),
    5: Equation(
        "m2d: L1 between render and depth map",
        "a mean over pixels; outside of the silhouette, the sideways distance to it; pixels beyond the estimated wrist "
        "are left out",
        "`terms.m2d.background: far`, `terms.m2d.forearm: keep`",
    ),
    6: Equation(
        "depth of a sphere along a ray",
        "r^2 - d^2 is at least 1 mm^2 under the root, since the root's gradient is infinite at the rim",
        "`renderer.rim_floor_mm2: 1e-9`",
    ),
    7: Equation("distance between a ray and a sphere's centre", "none; the code uses its square", "the default"),
    8: Equation("the depth map: minimum over the spheres", "none", "the default"),
    9: Equation(
        "d2m: distance of each data point to the model",
        "a mean over at most 768 points of a map, evenly spread; points beyond the estimated wrist are left out",
        "`terms.d2m.budget: null`, `terms.d2m.forearm: keep`",
    ),
    10: Equation("distance of a point to a sphere's surface", "none", "the default"),
    11: Equation("minimum over the spheres", "none", "the default"),
    12: Equation(
        "multiview: points of all views against their robust average",
        "a mean over points and images; the average has no gradient",
        "`terms.multiview.detach: false`",
    ),
    13: Equation(
        "vae: evidence lower bound of the points",
        "its negative; points are relative to the palm's centre; the mean of the posterior in place of samples",
        "`terms.vae.centre: crop`, `terms.vae.noise_scale: 1`",
    ),
    14: Equation("bone length: squared excess over a range", "a mean over images", "the default"),
    15: Equation("length of a bone", "none", "the default"),
    16: Equation(
        "collision: radii against the squared distance, mm against mm^2",
        "none: as printed",
        "`terms.collision.mode: printed`",
    ),
}

HEAD = """\
# The paper's equations

`tools/equations.py` writes this page, and a test compares it with the code. A comment `# Eq. N` marks each executable
line that computes Eq. N of Wan et al., CVPR 2019: tensor code, C, the dense formulas of `hpf bench`, and the float64
references of the tests. The gradients in C have no marks.

| equation | computes | our default changes | as printed | lines |
| --- | --- | --- | --- | --- |
"""


class Line(NamedTuple):
    """One marked line: the equation, the file, and the code without its comment."""

    number: int
    path: str
    code: str


def lines() -> list[Line]:
    """Every marked line, by equation and file."""
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in (".py", ".c"):
                continue
            for text in path.read_text(encoding="utf-8").splitlines():
                code, comment = _parted(text, path.suffix)
                found += [
                    Line(int(number), path.relative_to(ROOT).as_posix(), code.strip())
                    for number in MARK.findall(comment)
                    if code.strip()
                ]
    return sorted(found, key=lambda line: line.number)


def _parted(text: str, suffix: str) -> tuple[str, str]:
    """Code and comment of a line."""
    code, start, comment = text.partition("/*" if suffix == ".c" else "  #")
    return code, start + comment


def page() -> str:
    """The page."""
    rows = []
    for number, equation in EQUATIONS.items():
        marked = [line for line in lines() if line.number == number]
        places = "<br>".join(f"`{line.path}`: `{line.code.replace('|', '&#124;')}`" for line in marked)
        rows.append(f"| Eq. {number} | {equation.what} | {equation.deviation} | {equation.printed} | {places} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
