"""The fit sheet: what the cameras saw beside what the estimate renders to, for a few frames and all their views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from hpf_core.errors import DataError
from hpf_core.figures.style import GRID, INK, PALETTE, QUIET, new_figure, write_figure

_BACKGROUND = "#F4F1EA"
_DIFFERENCE_MM = 30.0
# Inches.
_WIDTH, _LARGEST_PANEL = 10.0, 1.7
_GAP, _VIEW_GAP, _EDGE = 0.04, 0.2, 0.08
_HEAD, _ROW_TITLE, _FOOT = 0.5, 0.24, 0.52


@dataclass(frozen=True)
class FitRow:
    """One frame of a fit sheet.

    Attributes:
        title: a line over the row, e.g. "frame 812: 21.3 mm before, 9.8 mm after".
        depth: (V, H, W) mm, the input; the far value or more where nothing is hit.
        rendered: (V, H, W) mm, the estimate's depth maps, likewise.
        points: (V, J, 2) pixels, u and v of the estimate in each view, pixel centres at + 0.5.
        before: (V, J, 2) pixels, an earlier estimate to compare with, or None.
        present: (V,) bool, which views there are; None means all.
    """

    title: str
    depth: np.ndarray
    rendered: np.ndarray
    points: np.ndarray
    before: np.ndarray | None = None
    present: np.ndarray | None = None


def to_pixels(points: np.ndarray, size: int, cube_mm: float) -> np.ndarray:
    """(..., 2) pixels of points (..., 3) mm in the crop's frame, on its orthographic grid of size x size."""
    return np.asarray(points, dtype=np.float64)[..., :2] * (size / cube_mm) + size / 2


def fit_sheet(
    path: Path,
    rows: Sequence[FitRow],
    *,
    links: Sequence[tuple[int, int]] = (),
    far_mm: float = 150.0,
    view_names: Sequence[str] | None = None,
    names: tuple[str, str] = ("before", "after"),
) -> Path:
    """A row for each frame, a group of panels for each view.

    A group is input with points, render, and difference (blue: the render is nearer to the camera); where the rows
    have an earlier estimate it is input with the earlier points, input with the points, and render. All maps share one
    scale and one cut-out, the square around all that is seen, rendered or estimated.

    Args:
        rows: all with the same number of views and the same map size.
        links: pairs of point indices that are joined by a line.
        far_mm: depth from which on a pixel is background.
        view_names: V names; "view 1", ... when None.
        names: of the earlier estimate and of the estimate.

    Raises:
        DataError: there are no rows, or they don't match.
        RunError: the file can't be written.
    """
    views = _check(rows)
    compares = rows[0].before is not None
    kinds = (names[0], names[1], "render") if compares else ("input", "render", "difference")
    room = _WIDTH - 2 * _EDGE - views * 2 * _GAP - (views - 1) * _VIEW_GAP
    panel = min(_LARGEST_PANEL, room / (3 * views))
    group = 3 * panel + 2 * _GAP
    width = 2 * _EDGE + views * group + (views - 1) * _VIEW_GAP
    height = _HEAD + len(rows) * (_ROW_TITLE + panel) + _FOOT
    figure = new_figure(width, height, layout=None)

    depth_scale = _depth_scale(rows, far_mm)
    window = _window(rows, far_mm)
    labels = view_names if view_names is not None else [f"view {view + 1}" for view in range(views)]
    for view in range(views):
        left = _EDGE + view * (group + _VIEW_GAP)
        _text(figure, left + group / 2, height - 0.16, labels[view], 10, INK, width, height, ha="center")
        for number, kind in enumerate(kinds):
            middle = left + number * (panel + _GAP) + panel / 2
            _text(figure, middle, height - 0.38, kind, 8, QUIET, width, height, ha="center")
    for number, row in enumerate(rows):
        top = height - _HEAD - number * (_ROW_TITLE + panel)
        _text(figure, _EDGE, top - _ROW_TITLE / 2, row.title, 9, INK, width, height, ha="left")
        for view in range(views):
            for place in range(3):
                left = _EDGE + view * (group + _VIEW_GAP) + place * (panel + _GAP)
                bottom = top - _ROW_TITLE - panel
                axes = figure.add_axes((left / width, bottom / height, panel / width, panel / height))
                _frame(axes)
                if row.present is None or row.present[view]:
                    _draw(axes, row, view, place, compares, links, far_mm, depth_scale)
                    axes.set_xlim(window[0], window[1])
                    axes.set_ylim(window[3], window[2])
                else:
                    axes.text(0.5, 0.5, "no view", transform=axes.transAxes, ha="center", color=QUIET, fontsize=8)
    _scales(figure, width, height, depth_scale, with_difference=not compares)
    return write_figure(path, figure)


def _check(rows: Sequence[FitRow]) -> int:
    """The number of views; an error where rows don't fit together."""
    if not rows:
        raise DataError("A fit sheet needs at least one frame.")
    shape = rows[0].depth.shape
    for number, row in enumerate(rows):
        if len(row.depth.shape) != 3 or row.depth.shape != shape or row.rendered.shape != shape:
            raise DataError(
                f"Row {number} of the fit sheet has depth {row.depth.shape} and rendered {row.rendered.shape}; "
                f"expected (views, height, width) alike in all rows, as {shape} of row 0."
            )
        if (row.before is None) != (rows[0].before is None):
            raise DataError("Either all rows of a fit sheet have an earlier estimate, or none.")
    return shape[0]


def _draw(
    axes: Axes,
    row: FitRow,
    view: int,
    place: int,
    compares: bool,
    links: Sequence[tuple[int, int]],
    far_mm: float,
    depth_scale: Normalize,
) -> None:
    """Fill one panel: the first, second or third of a view's group."""
    seen, made = row.depth[view], row.rendered[view]
    height, width = seen.shape
    whole = (0, width, height, 0)  # pixel (u, v) covers [u, u + 1) x [v, v + 1)
    if place == 2 and not compares:
        values = np.minimum(made, far_mm) - np.minimum(seen, far_mm)
        values = np.ma.masked_where((seen >= far_mm) & (made >= far_mm), values)
        axes.imshow(values, cmap=_difference_map(), norm=_difference_scale(), extent=whole, interpolation="nearest")
        return
    is_render = place == (2 if compares else 1)
    depth = made if is_render else seen
    shown = np.ma.masked_where(depth >= far_mm, depth)
    axes.imshow(shown, cmap=_depth_map(), norm=depth_scale, extent=whole, interpolation="nearest")
    if not is_render:
        earlier = compares and place == 0
        _skeleton(axes, row.before[view] if earlier and row.before is not None else row.points[view], links, earlier)


def _skeleton(axes: Axes, points: np.ndarray, links: Sequence[tuple[int, int]], earlier: bool) -> None:
    colour = PALETTE[1] if earlier else PALETTE[0]
    halo = [withStroke(linewidth=2.2, foreground="white", alpha=0.7)]
    for first, second in links:
        ends = points[[first, second]]
        axes.plot(ends[:, 0], ends[:, 1], color=colour, linewidth=1.1, path_effects=halo, solid_capstyle="round")
    axes.plot(points[:, 0], points[:, 1], "o", color=colour, markersize=2.2, markeredgewidth=0, zorder=3)


def _frame(axes: Axes) -> None:
    axes.set_facecolor(_BACKGROUND)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color(GRID)


def _window(rows: Sequence[FitRow], far_mm: float) -> tuple[float, float, float, float]:
    """Left, right, top and bottom in pixels of a square that holds everything, never larger than the maps."""
    height, width = rows[0].depth.shape[1:]
    inside = np.zeros((height, width), dtype=bool)
    for row in rows:
        views = slice(None) if row.present is None else np.asarray(row.present, dtype=bool)
        inside |= ((row.depth[views] < far_mm) | (row.rendered[views] < far_mm)).any(axis=0)
        points = row.points[views] if row.before is None else np.concatenate([row.points[views], row.before[views]])
        u = np.clip(np.nan_to_num(points[..., 0]), 0, width - 1).astype(int)
        v = np.clip(np.nan_to_num(points[..., 1]), 0, height - 1).astype(int)
        inside[v, u] = True
    if not inside.any():
        inside[:] = True
    v, u = np.nonzero(inside)
    margin = 0.04 * max(height, width)
    side = min(max(np.ptp(u), np.ptp(v)) + 1 + 2 * margin, height, width)
    left = float(np.clip((u.min() + u.max() + 1 - side) / 2, 0, width - side))
    top = float(np.clip((v.min() + v.max() + 1 - side) / 2, 0, height - side))
    return left, left + side, top, top + side


def _depth_scale(rows: Sequence[FitRow], far_mm: float) -> Normalize:
    """One scale for all maps, from the pixels that the inputs hit."""
    hit = np.concatenate([row.depth[row.depth < far_mm].ravel() for row in rows])
    if not len(hit):
        return Normalize(-far_mm, far_mm)
    low, high = np.quantile(hit, [0.01, 0.99])
    return Normalize(float(low), float(max(high, low + 1.0)))


def _depth_map() -> Colormap:
    """Near is light, far is dark; without the ends, so that a hand never melts into the background."""
    shades = colormaps["Greys"](np.linspace(0.28, 0.88, 256))
    return LinearSegmentedColormap.from_list("hpf-depth", shades).with_extremes(bad=_BACKGROUND)


def _difference_map() -> Colormap:
    return colormaps["RdBu_r"].with_extremes(bad=_BACKGROUND)


def _difference_scale() -> Normalize:
    return Normalize(-_DIFFERENCE_MM, _DIFFERENCE_MM)


def _scales(figure: Figure, width: float, height: float, depth: Normalize, with_difference: bool) -> None:
    """The colour bars at the foot."""
    bars = [(depth, _depth_map(), "depth from the crop's centre (mm)", "both")]
    if with_difference:
        bars.append((_difference_scale(), _difference_map(), "render minus input (mm)", "both"))
    length = min(2.4, (width - 3 * _EDGE) / len(bars) - 0.3)
    for number, (scale, colours, label, extend) in enumerate(bars):
        left = _EDGE + 0.1 + number * (length + 0.5)
        axes = figure.add_axes((left / width, 0.37 / height, length / width, 0.07 / height))
        bar = figure.colorbar(ScalarMappable(scale, colours), cax=axes, orientation="horizontal", extend=extend)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7, length=2, pad=1.5, labelcolor=INK, color=QUIET)
        bar.set_label(label, fontsize=7.5, color=INK, labelpad=1)


def _text(
    figure: Figure, x: float, y: float, text: str, size: float, colour: str, width: float, height: float, ha: str
) -> None:
    """Text at inches (x, y) of a figure of width x height."""
    figure.text(x / width, y / height, text, fontsize=size, color=colour, ha=ha, va="center")
