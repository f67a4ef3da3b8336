"""The style of all figures, and writing a figure as a PNG file.

We create figures without pyplot and with the settings below. The user's settings never apply (`house_style`).
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from hpf_core.figures.colours import GRID, INK, PAPER, QUIET
from hpf_core.files.cache import write_atomic

DPI = 160
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # Included in matplotlib.
    "font.size": 9.0,
    "text.color": INK,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "figure.titlesize": 10.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": True,
    "legend.framealpha": 0.8,
    "legend.edgecolor": "none",
    "legend.facecolor": PAPER,
    "legend.fancybox": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "image.interpolation": "none",
    "image.composite_image": False,
}
_NO_MATTER = ("Glyph .* missing from", "constrained_layout not applied")
"""Warnings about Chinese or very long names: the figure is readable anyway."""
_ONE_AT_A_TIME = threading.RLock()  # matplotlib's settings belong to the process, not to a thread.


@contextmanager
def house_style() -> Iterator[None]:
    """Apply our settings on top of matplotlib's defaults while making or writing a figure.

    Restores the earlier settings afterwards. Also works as a decorator.
    """
    with _ONE_AT_A_TIME, matplotlib.rc_context(), warnings.catch_warnings():
        for message in _NO_MATTER:
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Create an empty figure (size in inches) with its own canvas. Call it inside `house_style`."""
    # Some padding prevents clipping at the borders.
    engine = None if layout is None else ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=engine)
    FigureCanvasAgg(figure)
    return figure


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Create a figure (size in inches) with one pair of axes."""
    figure = new_figure(width, height)
    return figure, figure.add_subplot()


def shortened(name: str, most: int = 40) -> str:
    """Shorten a long name for a figure."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def titles(figure: Figure, title: str, about: str = "") -> None:
    """Write the figure's content, and its data below."""
    figure.suptitle(f"{title}\n{about}" if about else title, x=0.01, ha="left")


@house_style()
def write_figure(path: Path, figure: Figure) -> Path:
    """Write a PNG atomically and return its path.

    Raises:
        RunError: the file can't be written.
    """
    path = Path(path)
    # We omit matplotlib's version, so that the same data make the same file.
    write_atomic(path, lambda temporary: figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None}))
    return path
