"""The fit sheet: the cameras' depth maps beside the estimate's renders, for a few frames and all their views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hpf_core.errors import DataError
from hpf_core.figures import drawing
from hpf_core.figures.colours import FIT, IGNORED, INIT, INK, QUIET, TRUTH
from hpf_core.figures.style import house_style, new_figure

# Inches.
_WIDTH, _LARGEST_PANEL = 12.6, 1.7
_OWN_PANEL = 1.25
_GAP, _VIEW_GAP, _EDGE = 0.04, 0.16, 0.08
_TITLE, _LINE, _ROW_TITLE, _FOOT = 0.3, 0.2, 0.24, 0.55
_BAR = 2.2


@dataclass(frozen=True)
class FitRow:
    """One frame of a fit sheet.

    Attributes:
        title: line above the row, e.g. "frame 812: 21.3 mm after init, 9.8 mm after fit".
        depth: (V, H, W) mm, the input; the far value or more at pixels without hit.
        rendered: (V, H, W) mm, the estimate's depth maps, likewise.
        points: (V, J, 2) pixels, u and v of the estimate in each view, pixel centres at + 0.5.
        before: (V, J, 2) pixels, an earlier estimate for comparison, or None.
        truth: (V, K, 2) pixels, the true or annotated joints, or None.
        ignored: (V, H, W) bool, pixels of the input that the loss ignores, or None.
        present: (V,) bool, the present views; None means all.
    """

    title: str
    depth: np.ndarray
    rendered: np.ndarray
    points: np.ndarray
    before: np.ndarray | None = None
    truth: np.ndarray | None = None
    ignored: np.ndarray | None = None
    present: np.ndarray | None = None


@dataclass(frozen=True)
class SheetLook:
    """Properties of all rows of a sheet.

    Attributes:
        links: pairs of point indices with a connecting line.
        far_mm: depth at which the background starts.
        names: of the earlier estimate and of the estimate, e.g. ("init", "fit").
        view_names: V names; "view 1", ... when None.
        truth_name: description of `FitRow.truth`.
        scale: depth scale, shared between sheets; None for the rows' own range.
    """

    links: Sequence[tuple[int, int]] = ()
    far_mm: float = 150.0
    names: tuple[str, str] = ("before", "after")
    view_names: Sequence[str] | None = None
    truth_name: str = "annotated joints"
    scale: Normalize | None = None


@dataclass(frozen=True)
class _Layout:
    """Positions in inches from the left and from the top."""

    views: int
    kinds: Sequence[str]
    width: float
    panel: float
    head: float
    height: float

    def left(self, view: int, place: int) -> float:
        group = len(self.kinds) * (self.panel + _GAP) - _GAP
        return _EDGE + view * (group + _VIEW_GAP) + place * (self.panel + _GAP)


@house_style()
def fit_sheet(rows: Sequence[FitRow], look: SheetLook, title: str = "", about: str = "") -> Figure:
    """Draw one row per frame, with a group of panels per view.

    A group shows the input with the earlier estimate (if given), the input with the estimate, the render, and the depth
    difference (blue: the render is nearer to the camera). All maps share one scale. Each view is cropped so that the
    hand fills the panels.

    Args:
        rows: all with the same number of views and the same map size.
        look: properties of all rows.
        title, about: the figure's content, and its data; without a title, the column heads are at the top.

    Raises:
        DataError: there are no rows, or they don't match.
    """
    views = _check(rows)
    kinds = _kinds(rows[0], look)
    space = _WIDTH - 2 * _EDGE - (views - 1) * _VIEW_GAP - views * (len(kinds) - 1) * _GAP
    panel = min(_LARGEST_PANEL, space / (len(kinds) * views))
    group = len(kinds) * (panel + _GAP) - _GAP
    head = (_TITLE + _LINE if title else 0.04) + 2 * _LINE
    width = 2 * _EDGE + views * group + (views - 1) * _VIEW_GAP
    layout = _Layout(views, kinds, width, panel, head, head + len(rows) * (_ROW_TITLE + panel) + _FOOT)
    figure = new_figure(layout.width, layout.height, layout=None)
    _heads(figure, layout, look, title, about)
    scale = look.scale or drawing.depth_scale(np.concatenate([row.depth.ravel() for row in rows]), look.far_mm)
    for number, row in enumerate(rows):
        top = head + number * (_ROW_TITLE + panel)
        _text(figure, layout, _EDGE, top + _ROW_TITLE / 2, row.title, 8.5)
        for view in range(views):
            _fill(_panels(figure, layout, view, top + _ROW_TITLE), layout.kinds, row, view, look, scale)
    _foot(figure, layout, layout.height - _FOOT, rows, look, scale)
    return figure


@house_style()
def one_view(row: FitRow, view: int, look: SheetLook, again: Figure | None = None) -> Figure:
    """Draw one view's panels with their heads, for a page with a separate legend.

    Args:
        row: the frame.
        view: the view's index.
        look: common to all pictures of the page.
        again: an earlier result for the same `look` and kinds of panels, to draw on. Axes take matplotlib longer to
            make than to draw.
    """
    kinds = _kinds(row, look)
    width = 2 * _EDGE + len(kinds) * (_OWN_PANEL + _GAP) - _GAP
    head = _LINE + 0.02
    layout = _Layout(1, kinds, width, _OWN_PANEL, head, head + _OWN_PANEL + _EDGE)
    scale = look.scale or drawing.depth_scale(row.depth, look.far_mm)
    if again is None:
        figure = new_figure(layout.width, layout.height, layout=None)
        _kind_heads(figure, layout, look, 0)
        panels = _panels(figure, layout, 0, head)
    else:
        figure, panels = again, again.axes
        for axes in panels:
            for artist in (*axes.images, *axes.patches, *axes.lines, *axes.texts):
                artist.remove()
    _fill(panels, kinds, row, view, look, scale)
    return figure


@house_style()
def sheet_legend(rows: Sequence[FitRow], look: SheetLook) -> Figure:
    """Draw the colour bars and the legend for the pictures of `one_view`."""
    layout = _Layout(1, _kinds(rows[0], look), 2 * _BAR + 4.6, _OWN_PANEL, 0.0, _FOOT)
    figure = new_figure(layout.width, layout.height, layout=None)
    scale = look.scale or drawing.depth_scale(np.concatenate([row.depth.ravel() for row in rows]), look.far_mm)
    _foot(figure, layout, 0.0, rows, look, scale)
    return figure


def _kinds(row: FitRow, look: SheetLook) -> list[str]:
    """The heads of a view's panels."""
    return [*([look.names[0]] if row.before is not None else []), look.names[1], "render", "difference"]


def _panels(figure: Figure, layout: _Layout, column: int, top: float) -> list[Axes]:
    """Make the empty panels of a column of views, at a distance in inches from the top."""
    panels = []
    for place in range(len(layout.kinds)):
        axes = _axes(figure, layout, (layout.left(column, place), top), (layout.panel, layout.panel))
        drawing.tile(axes)
        panels.append(axes)
    return panels


def _fill(
    panels: Sequence[Axes], kinds: Sequence[str], row: FitRow, view: int, look: SheetLook, scale: Normalize
) -> None:
    """Draw the panels of one view."""
    for axes, kind in zip(panels, kinds, strict=True):
        if row.present is None or row.present[view]:
            _draw(axes, row, view, kind, look, scale)
        else:
            axes.text(0.5, 0.5, "no view", transform=axes.transAxes, ha="center", color=QUIET, fontsize=8)


def _check(rows: Sequence[FitRow]) -> int:
    """Return the number of views; raises an error if rows don't match."""
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


def _heads(figure: Figure, layout: _Layout, look: SheetLook, title: str, about: str) -> None:
    if title:
        _text(figure, layout, _EDGE, 0.17, title, 11)
        _text(figure, layout, _EDGE, 0.38, about, 9, QUIET)
    labels = look.view_names if look.view_names is not None else [f"view {view + 1}" for view in range(layout.views)]
    for view, label in enumerate(labels):
        _text(figure, layout, layout.left(view, 0), layout.head - 1.5 * _LINE, label, 9.5)
        _kind_heads(figure, layout, look, view)


def _kind_heads(figure: Figure, layout: _Layout, look: SheetLook, view: int) -> None:
    for place, kind in enumerate(layout.kinds):
        middle = layout.left(view, place) + layout.panel / 2
        colour = {look.names[0]: INIT, look.names[1]: FIT}.get(kind, INK)
        _text(figure, layout, middle, layout.head - 0.5 * _LINE, kind, 8.5, colour, ha="center")


def _draw(axes: Axes, row: FitRow, view: int, kind: str, look: SheetLook, scale: Normalize) -> None:
    """Draw one panel of a present view."""
    seen, made = row.depth[view], row.rendered[view]
    far = look.far_mm
    ignored = np.zeros(seen.shape, dtype=bool) if row.ignored is None else row.ignored[view] & (seen < far)
    points = row.points[view]
    earlier = None if row.before is None else row.before[view]
    true = None if row.truth is None else row.truth[view]
    # Without ground truth, an estimate may be anywhere: show all visible surfaces except the forearm.
    hand = [made < far] if true is not None else [made < far, (seen < far) & ~ignored]
    place = drawing.window(seen.shape, hand, [p for p in (points, earlier, true) if p is not None])
    if kind == "difference":
        values, nothing = np.minimum(made, far) - np.minimum(seen, far), (seen >= far) & (made >= far)
        colours, own_scale = drawing.difference_colours(), drawing.difference_scale()
        picture = drawing.map_picture(values, colours, own_scale, nothing, ignored)
    elif kind == "render":
        picture = drawing.map_picture(made, drawing.depth_colours(), scale, made >= far)
    else:
        picture = drawing.map_picture(seen, drawing.depth_colours(), scale, seen >= far, ignored)
    drawing.show_map(axes, picture, place)
    if kind in look.names:
        is_earlier = kind == look.names[0] and earlier is not None
        drawn, colour = (earlier, INIT) if is_earlier and earlier is not None else (points, FIT)
        drawing.skeleton(axes, drawn, look.links, colour)
        if true is not None:
            drawing.dots(axes, true, "white", 4.2, alpha=0.8, zorder=3.5)
            drawing.dots(axes, true, TRUTH, 3.2, zorder=3.6)


def _foot(
    figure: Figure, layout: _Layout, top: float, rows: Sequence[FitRow], look: SheetLook, scale: Normalize
) -> None:
    """Draw colour bars and the legend of lines, dots and ignored pixels, at a distance in inches from the top."""
    length = min(_BAR, (layout.width - 3 * _EDGE) / 4)
    bars = (
        (scale, drawing.depth_colours(), "depth from the crop's centre (mm)"),
        (drawing.difference_scale(), drawing.difference_colours(), "difference: render minus input (mm)"),
    )
    for number, (values, colours, label) in enumerate(bars):
        axes = _axes(figure, layout, (_EDGE + 0.1 + number * (length + 0.45), top + 0.12), (length, 0.07))
        bar = figure.colorbar(ScalarMappable(values, colours), cax=axes, orientation="horizontal", extend="both")
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7, length=2, pad=1.5)
        bar.set_label(label, fontsize=7.5, labelpad=1)
    marks: list[Line2D | Patch] = []
    if rows[0].before is not None:
        marks.append(_line(INIT, look.names[0]))
    marks.append(_line(FIT, look.names[1] if rows[0].before is not None else "estimate"))
    if any(row.truth is not None for row in rows):
        marks.append(Line2D([], [], color=TRUTH, marker="o", linestyle="", markersize=3.5, label=look.truth_name))
    if any(row.ignored is not None and row.ignored.any() for row in rows):
        marks.append(Patch(color=IGNORED, label="ignored by the loss (forearm)"))
    left = _EDGE + 0.1 + 2 * (length + 0.45)
    figure.legend(
        handles=marks,
        loc="upper left",
        bbox_to_anchor=(left / layout.width, 1 - top / layout.height),
        ncols=2,
        frameon=False,
        fontsize=8,
        columnspacing=1.4,
        handlelength=1.4,
        borderaxespad=0.3,
    )


def _line(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker="o", markersize=3, linewidth=1.4, label=label)


def _axes(figure: Figure, layout: _Layout, at: tuple[float, float], size: tuple[float, float]) -> Axes:
    """Create axes of a size, at inches from the left and the top."""
    width, height = layout.width, layout.height
    bottom = height - at[1] - size[1]
    return figure.add_axes((at[0] / width, bottom / height, size[0] / width, size[1] / height))


def _text(
    figure: Figure, layout: _Layout, x: float, y: float, text: str, size: float, colour: str = INK, ha: str = "left"
) -> None:
    """Write text at inches from the left and the top."""
    figure.text(x / layout.width, 1 - y / layout.height, text, fontsize=size, color=colour, ha=ha, va="center")
