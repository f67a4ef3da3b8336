"""The contact sheet of synthetic samples: many depth maps, half of them with the hand's points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hpf_core.errors import DataError
from hpf_core.figures import drawing
from hpf_core.figures.colours import QUIET, TRUTH
from hpf_core.figures.style import house_style, new_figure

_CELL, _GAP, _HEAD, _FOOT = 1.2, 0.05, 0.5, 0.55  # inches
_LEAST_WIDTH = 6.2


@house_style()
def contact_sheet(
    depth: np.ndarray,
    points: np.ndarray,
    *,
    links: Sequence[tuple[int, int]] = (),
    far_mm: float = 150.0,
    title: str = "",
    about: str = "",
) -> Figure:
    """Draw N maps in a square arrangement, cropped around the hand. Every second column shows the points too.

    Args:
        depth: (N, H, W) mm; the far value or more at pixels without hit.
        points: (N, J, 2) pixels, u and v, pixel centres at + 0.5.
        links: pairs of point indices with a connecting line.
        far_mm: depth at which the background starts; near is light, far is dark.
        title, about: the figure's content, and its data.

    Raises:
        DataError: there are no maps, or the numbers of maps and points differ.
    """
    if not len(depth) or depth.ndim != 3 or points.shape[:1] + points.shape[2:] != (len(depth), 2):
        raise DataError(
            f"A contact sheet needs maps (N, H, W) with points (N, J, 2), got {depth.shape} and {points.shape}."
        )
    columns = math.ceil(math.sqrt(len(depth)))
    rows = math.ceil(len(depth) / columns)
    width = max(columns * (_CELL + _GAP) + _GAP, _LEAST_WIDTH)
    height = rows * (_CELL + _GAP) + _GAP + _HEAD + _FOOT
    figure = new_figure(width, height, layout=None)
    figure.text(_GAP / width, 1 - 0.15 / height, title, fontsize=10.5, ha="left", va="center")
    figure.text(_GAP / width, 1 - 0.35 / height, about, fontsize=8.5, color=QUIET, ha="left", va="center")
    scale = Normalize(-0.6 * far_mm, 0.6 * far_mm)
    for number, (shown, drawn) in enumerate(zip(depth, points, strict=True)):
        row, column = divmod(number, columns)
        left, bottom = _GAP + column * (_CELL + _GAP), height - _HEAD - (row + 1) * (_CELL + _GAP)
        axes = figure.add_axes((left / width, bottom / height, _CELL / width, _CELL / height))
        drawing.tile(axes)
        picture = drawing.map_picture(shown, drawing.depth_colours(), scale, shown >= far_mm)
        drawing.show_map(axes, picture, drawing.window(shown.shape, [], [drawn]))
        if column % 2:
            drawing.skeleton(axes, drawn, links, TRUTH, width=0.6)
    bar_axes = figure.add_axes((0.15 / width, 0.36 / height, 2.2 / width, 0.07 / height))
    bar = figure.colorbar(
        ScalarMappable(scale, drawing.depth_colours()), cax=bar_axes, orientation="horizontal", extend="both"
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2, pad=1.5)
    bar.set_label("depth from the crop's centre (mm)", fontsize=7.5, labelpad=1)
    mark = Line2D([], [], color=TRUTH, marker="o", markersize=2.5, linewidth=0.9, label="the hand's points (truth)")
    figure.legend(
        handles=[mark], loc="center left", bbox_to_anchor=(2.6 / width, 0.34 / height), frameon=False, fontsize=8
    )
    return figure
