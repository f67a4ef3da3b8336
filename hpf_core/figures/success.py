"""Success curves: the share of frames within each error (the paper's Figures 5 to 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from hpf_core.figures.colours import QUIET, LineLook, other_looks
from hpf_core.figures.style import house_style, new_axes, shortened, titles

LARGEST, MEAN = "largest error of a frame's joints", "mean error of a frame's joints"
_MARKS = "osD^v<>P"


@dataclass(frozen=True)
class Curve:
    """The success curve of one result.

    Attributes:
        label: text in the legend.
        shares: (T,) in [0, 1].
        look: None for the next free look.
        low, high: (T,) the range over several seeds, drawn as a band, or None.
        published: published share within 20 mm from the paper's text, or None.
    """

    label: str
    shares: np.ndarray
    look: LineLook | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    published: float | None = None


@house_style()
def success_figure(
    curves: Sequence[Curve],
    thresholds: np.ndarray,
    title: str,
    about: str = "",
    *,
    points: Mapping[str, Mapping[int, float]] | None = None,
    error: str = LARGEST,
    size: tuple[float, float] = (5.5, 4.2),
) -> Figure:
    """Draw the share of frames whose error is within each threshold; one line per result.

    Args:
        curves: in the order of the legend.
        thresholds: (T,) mm, increasing.
        title, about: the figure's content, and its data.
        points: published shares for the same frames, by name and threshold in mm.
        error: which error of a frame.
        size: width and height, inches.
    """
    figure, axes = new_axes(*size)
    looks = other_looks(curve.label for curve in curves)
    for curve in curves:
        look = curve.look or looks[curve.label]
        axes.plot(
            thresholds,
            100 * curve.shares,
            label=shortened(curve.label, 60),
            color=look.colour,
            linestyle=look.dashes,
            zorder=3,
        )
        if curve.low is not None and curve.high is not None:
            axes.fill_between(
                thresholds, 100 * curve.low, 100 * curve.high, color=look.colour, alpha=0.15, linewidth=0, zorder=2
            )
        if curve.published is not None:
            axes.plot(20, 100 * curve.published, "o", markersize=7, fillstyle="none", color=look.colour, zorder=4)
    if any(curve.published is not None for curve in curves):
        axes.plot([], [], "o", markersize=7, fillstyle="none", color=QUIET, label="published in the paper, at 20 mm")
    for number, (name, known) in enumerate((points or {}).items()):
        axes.plot(
            list(known),
            [100 * share for share in known.values()],
            _MARKS[number % len(_MARKS)],
            label=name,
            color=QUIET,
            markersize=5.5,
            zorder=4,
        )
    axes.set_xlim(float(thresholds[0]), float(thresholds[-1]))
    axes.set_ylim(0, 102)  # Avoids clipping a curve at 100 %.
    axes.set_xlabel(f"{error}, at most (mm)")
    axes.set_ylabel("% of frames")
    titles(figure, title, about)
    # Curves of short trainings stay low, those of long trainings rise early, so the free space differs.
    axes.legend(loc="best")
    return figure
