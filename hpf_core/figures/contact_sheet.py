"""The contact sheet: many depth maps at a glance, with the hand's points drawn over every other column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize

from hpf_core.errors import DataError
from hpf_core.figures.fit_sheet import _BACKGROUND, _depth_map
from hpf_core.figures.style import GRID, INK, PALETTE, new_figure, write_figure

_CELL, _GAP, _HEAD = 1.2, 0.05, 0.36  # inches


def contact_sheet(
    path: Path,
    depth: np.ndarray,
    points: np.ndarray,
    *,
    links: Sequence[tuple[int, int]] = (),
    far_mm: float = 150.0,
    title: str = "",
) -> Path:
    """Write a PNG of N maps in rows as long as there are rows; every second column has the points over it.

    Args:
        depth: (N, H, W) mm; the far value or more where nothing is hit.
        points: (N, J, 2) pixels, u and v, pixel centres at + 0.5.
        links: pairs of point indices that a line joins.
        far_mm: depth from which on a pixel is background; near is light, far is dark.
        title: a line above.

    Raises:
        DataError: there are no maps, or not as many points.
        RunError: the file can't be written.
    """
    if not len(depth) or depth.ndim != 3 or points.shape[:1] + points.shape[2:] != (len(depth), 2):
        raise DataError(
            f"A contact sheet needs maps (N, H, W) with points (N, J, 2), got {depth.shape} and {points.shape}."
        )
    columns = math.ceil(math.sqrt(len(depth)))
    rows = math.ceil(len(depth) / columns)
    width = columns * (_CELL + _GAP) + _GAP
    height = rows * (_CELL + _GAP) + _GAP + _HEAD
    figure = new_figure(width, height, layout=None)
    figure.text(_GAP / width, 1 - _HEAD / 2 / height, title, fontsize=10, color=INK, ha="left", va="center")
    for number, (shown, drawn) in enumerate(zip(depth, points, strict=True)):
        row, column = divmod(number, columns)
        left, bottom = _GAP + column * (_CELL + _GAP), height - _HEAD - (row + 1) * (_CELL + _GAP)
        axes = figure.add_axes((left / width, bottom / height, _CELL / width, _CELL / height))
        _cell(axes, shown, far_mm)
        if column % 2:
            lines = LineCollection([drawn[list(link)] for link in links], colors=PALETTE[0], linewidths=0.5)
            axes.add_collection(lines)
            axes.plot(drawn[:, 0], drawn[:, 1], ".", color=PALETTE[1], markersize=1.6, markeredgewidth=0)
    return write_figure(path, figure)


def _cell(axes: Axes, depth: np.ndarray, far_mm: float) -> None:
    height, width = depth.shape
    axes.imshow(
        np.ma.masked_where(depth >= far_mm, depth),
        cmap=_depth_map(),
        norm=Normalize(-0.6 * far_mm, 0.6 * far_mm),
        extent=(0, width, height, 0),
        interpolation="nearest",
    )
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_facecolor(_BACKGROUND)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color(GRID)
