"""The one look of all figures, without pyplot and without global state: figures of two threads never meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hpf_core.files.cache import write_atomic

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that colour-blind people tell apart: Okabe and Ito's (2008) without the yellow, which white swallows."""
DASHES = ("-", "--", "-.", ":")
INK = "#222222"
QUIET = "#8A8A8A"
GRID = "#E4E4E4"
PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
"""The box behind text that stands on a plot."""
_DPI = 160


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure of that many inches, with a canvas of its own."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def new_panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of that many inches with rows x columns axes, row by row."""
    figure = new_figure(width, height)
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(rows * columns)]
    for place in axes:
        for side in ("top", "right"):
            place.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            place.spines[side].set_color(QUIET)
        place.grid(color=GRID, linewidth=0.8)
        place.set_axisbelow(True)
        place.tick_params(labelcolor=INK, labelsize=9, color=QUIET)
    return figure, axes


def write_figure(path: Path, figure: Figure) -> Path:
    """Write a PNG in one move and return its path.

    Raises:
        RunError: the file can't be written.
    """
    path = Path(path)
    # The version of matplotlib is left out, so that the same data make the same file.
    write_atomic(path, lambda temporary: figure.savefig(temporary, format="png", metadata={"Software": None}))
    return path


def line_style(number: int) -> dict[str, Any]:
    """Colour and dashes of the line with that number: dashes tell apart what grey print doesn't."""
    return {
        "color": PALETTE[number % len(PALETTE)],
        "linestyle": DASHES[(number + number // len(PALETTE)) % len(DASHES)],
    }


def heading(axes: Axes, text: str) -> None:
    """A title at the left, over the axes."""
    axes.set_title(text, fontsize=10.5, color=INK, loc="left")


def axis_labels(axes: Axes, x: str, y: str) -> None:
    """What the axes show."""
    axes.set_xlabel(x, fontsize=9.5, color=INK)
    axes.set_ylabel(y, fontsize=9.5, color=INK)


def legend(axes: Axes, **where: Any) -> None:
    """A legend without a frame."""
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, **where)
