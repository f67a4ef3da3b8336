"""The contact sheet of a capture: depth maps around the hand, with the annotated joints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hpf_core.data.checks.capture import CaptureReport, SplitReport
from hpf_core.data.images import read_stored
from hpf_core.data.layouts import nyu
from hpf_core.errors import DataError
from hpf_core.figures import drawing
from hpf_core.figures.colours import QUIET
from hpf_core.figures.style import house_style, new_figure, write_figure

_TILE, _GAP, _CAPTION, _HEAD, _FOOT = 1.3, 0.05, 0.2, 0.5, 0.72  # inches
_TILES_IN_A_ROW = 6
_DEPTH_MM = 150.0  # range of the colours around the palm
_MARGIN = 1.15
_FRAMES = 12
_FINGERS = ("little", "ring", "middle", "index", "thumb", "palm")
_JOINTS_OF_A_FINGER = 6
_PALM = ((30, 31), (30, 35), (31, 33), (35, 34), (33, 34), (34, 32))  # wrist, heel, ball of the thumb, centre
_ROOTS = ((5, 32), (11, 32), (17, 32), (23, 32), (29, 33))  # fingers' knuckles and the thumb's first joint
_COLOURS = ("#FF5A5F", "#FFB400", "#FFFFFF", "#7FD4FF", "#F19CFF", "#B9F27C")
_LOST = "#461414"  # colour of pixels without return


@dataclass(frozen=True)
class _Tile:
    """One image of a frame: an error text, or a map (H, W) mm with the places of joints."""

    caption: str
    depth: np.ndarray | None = None
    joints: np.ndarray | None = None  # (36, 3): u, v, mm
    middle: float = 0.0


def capture_sheet(report: CaptureReport, path: Path) -> int:
    """Draw up to 12 frames from all views, spread over all splits.

    Colours show depth from near (bright) to far (dark) within 150 mm of the palm. Frame numbers are those on disk, from
    1.

    Returns:
        The number of drawn frames; with 0, no file is written.

    Raises:
        RunError: the file can't be written.
    """
    chosen = list(_chosen(report))
    if not chosen:
        return 0
    write_figure(path, _figure(report, chosen))
    return len(chosen)


def _chosen(report: CaptureReport) -> Iterator[tuple[SplitReport, int]]:
    """Choose frames in order: equally many from each split, evenly spaced."""
    parts = [part for part in report.splits if part.frames]
    for number, part in enumerate(parts):
        share = _FRAMES * (number + 1) // len(parts) - _FRAMES * number // len(parts)
        for frame in np.unique(np.linspace(0, part.frames - 1, min(share, part.frames)).round().astype(int)):
            yield part, int(frame)


@house_style()
def _figure(report: CaptureReport, chosen: list[tuple[SplitReport, int]]) -> Figure:
    views = max(len(part.views) for part, _ in chosen)
    beside = max(1, min(_TILES_IN_A_ROW // views, len(chosen)))  # frames in one row
    rows, columns = math.ceil(len(chosen) / beside), beside * views
    width = max(columns * (_TILE + _GAP) + _GAP, 5.4)
    height = _HEAD + rows * (_CAPTION + _TILE) + _FOOT
    figure = new_figure(width, height, layout=None)
    kind = {True: "simulated data", False: "real data", None: "real or simulated isn't known from the folder"}
    figure.text(_GAP / width, 1 - 0.15 / height, report.root.absolute().name, fontsize=10.5, va="center")
    figure.text(_GAP / width, 1 - 0.35 / height, kind[report.simulated], fontsize=8.5, color=QUIET, va="center")
    for number, (part, frame) in enumerate(chosen):
        row, place = divmod(number, beside)
        for column, view in enumerate(part.views):
            left = _GAP + (place * views + column) * (_TILE + _GAP)
            top = _HEAD + row * (_CAPTION + _TILE)
            bottom = height - top - _CAPTION - _TILE
            axes = figure.add_axes((left / width, bottom / height, _TILE / width, _TILE / height))
            tile = _tile(report.root / part.name, part, view, frame)
            figure.text(left / width, 1 - (top + _CAPTION / 2) / height, tile.caption, fontsize=6.1, va="center")
            _draw(axes, tile)
    _foot(figure, width, height)
    return figure


def _tile(split: Path, part: SplitReport, view: int, frame: int) -> _Tile:
    caption = f"{part.name} frame {frame + 1}, view {view + 1}"
    path = nyu.image_path(split, view, frame)
    try:
        depth = nyu.read_depth(path)
    except DataError:
        # Not NYU's colour code, but an image helps more than an empty tile.
        size = nyu.CAMERA.width, nyu.CAMERA.height
        try:
            depth = read_stored(path, "gray16", size, "it has")
        except DataError:
            return _Tile(f"{caption}: unreadable")
        caption += ": 16-bit"
    joints = _joints(part, view, frame)
    if joints is None:
        seen = depth[nyu.returned(depth)]
        return _Tile(f"{caption}: no labels", depth, middle=float(np.median(seen)) if seen.size else 0.0)
    return _Tile(caption, depth, nyu.CAMERA.project(joints), float(joints[nyu.PALM_CENTRE, 2]))


def _joints(part: SplitReport, view: int, frame: int) -> np.ndarray | None:
    """The drawable joints (36, 3) mm of an image, or None."""
    if part.annotation is None:
        return None
    xyz = part.annotation.xyz
    if view >= xyz.shape[0] or frame >= xyz.shape[1]:
        return None
    joints = xyz[view, frame]
    return joints if np.isfinite(joints).all() and (joints[:, 2] > 1).all() else None


def _draw(axes: Axes, tile: _Tile) -> None:
    drawing.tile(axes)
    if tile.depth is None:
        axes.text(0.5, 0.5, "no image", transform=axes.transAxes, ha="center", va="center", color=QUIET, fontsize=8)
        return
    height, width = tile.depth.shape
    axes.set_facecolor(_LOST)
    near = tile.middle - tile.depth.astype(np.float64)
    picture = drawing.map_picture(near, _colours(), Normalize(-_DEPTH_MM, _DEPTH_MM), ~nyu.returned(tile.depth))
    if tile.joints is None:
        side = float(max(height, width))
        drawing.show_map(axes, picture, ((width - side) / 2, (height - side) / 2, side))
        return
    at = tile.joints[:, :2] + 0.5  # A pixel's index is at its centre, but plot coordinates start at the corner.
    middle = (at.min(axis=0) + at.max(axis=0)) / 2
    reach = _MARGIN * max(float(np.ptp(at, axis=0).max()) / 2, 1.0)
    drawing.show_map(axes, picture, (middle[0] - reach, middle[1] - reach, 2 * reach))
    starts = range(0, 5 * _JOINTS_OF_A_FINGER, _JOINTS_OF_A_FINGER)
    fingers = [[*pairwise(range(start, start + _JOINTS_OF_A_FINGER))] for start in starts]
    links = [*([*chain, root] for chain, root in zip(fingers, _ROOTS, strict=True)), [*_PALM]]
    for pairs, colour in zip(links, _COLOURS, strict=True):
        first, second = np.array(pairs).T
        drawing.segments(axes, at[first], at[second], colour, 0.8)
    for finger, colour in enumerate(_COLOURS):
        own = [joint for joint in range(len(at)) if min(joint // _JOINTS_OF_A_FINGER, 5) == finger]
        scored = [joint for joint in own if joint in nyu.EVALUATED]
        drawing.dots(axes, at[own], colour, 1.6)
        drawing.dots(axes, at[scored], "black", 4.4)
        drawing.dots(axes, at[scored], colour, 3.2, zorder=3.1)


def _colours() -> Colormap:
    return colormaps["viridis"]


def _foot(figure: Figure, width: float, height: float) -> None:
    """Draw the legend of the colours."""
    axes = figure.add_axes((0.15 / width, (_FOOT - 0.16) / height, 1.9 / width, 0.07 / height))
    scale = Normalize(-_DEPTH_MM, _DEPTH_MM)
    bar = figure.colorbar(ScalarMappable(scale, _colours()), cax=axes, orientation="horizontal", extend="both")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2, pad=1.5)
    bar.set_label("nearer than the palm by (mm)", fontsize=7.5, labelpad=1)
    marks: list[Line2D | Patch] = [
        Line2D([], [], color=colour, linewidth=2, label=name) for name, colour in zip(_FINGERS, _COLOURS, strict=True)
    ]
    marks.append(
        Line2D([], [], color="white", marker="o", markeredgecolor="black", linestyle="", markersize=4, label="scored")
    )
    marks.append(Patch(color=_LOST, label="no return"))
    legend = figure.legend(
        handles=marks,
        loc="upper left",
        bbox_to_anchor=(2.35 / width, (_FOOT - 0.08) / height),
        ncols=4,
        facecolor="#3A3A40",
        framealpha=1.0,
        labelcolor="white",
        fontsize=7,
        columnspacing=1.0,
        handlelength=1.4,
    )
    legend.set_zorder(5)
