"""The figure of the coverage statistic, with one panel per question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from hpf_core.figures.colours import OTHERS, QUIET
from hpf_core.figures.style import house_style, new_figure, titles
from hpf_core.simulation.coverage import BANDS, DEPTH_MM, PINCH_MM, SECTORS, VOXEL_MM

_DARK, _MIDDLE = OTHERS[2], OTHERS[4]
_MARK = OTHERS[0]


@house_style()
def coverage_figure(document: Mapping[str, Any], about: str = "") -> Figure:
    """Draw the result of `coverage`, one panel per question; `about` names the data."""
    figure = new_figure(12.6, 9.4)
    panels = figure.subplots(2, 3).ravel()
    _angles(panels[0], document["angles"])
    _sets(panels[1], document["sets"], document["fingers"])
    _views(panels[2], document["views"])
    _pinches(panels[3], document["pinches"])
    _workspace(panels[4], document["workspace"])
    _depth(panels[5], document["depth_mm"])
    titles(figure, f"What {document['samples']:,} synthetic samples cover", about)
    return figure


_JOINTS = {"mcp", "pip", "dip", "cmc", "ip"}  # abbreviations in the names of angles


def _angle_name(name: str) -> str:
    """Readable name of an angle: "thumb CMC flexion" for thumb_cmc_flexion."""
    return " ".join(word.upper() if word in _JOINTS else word for word in name.split("_"))


def _angles(axes: Axes, angles: Mapping[str, Any]) -> None:
    rows = np.arange(len(angles))
    quantiles = np.array([angle["quantiles_deg"] for angle in angles.values()])
    for left, right, height, colour in ((0, 6, 0.12, QUIET), (1, 5, 0.34, _MIDDLE), (2, 4, 0.62, _DARK)):
        width = quantiles[:, right] - quantiles[:, left]
        axes.barh(rows, width, left=quantiles[:, left], height=height, color=colour)
    axes.plot(quantiles[:, 3], rows, "|", color="white", markersize=6, markeredgewidth=1.6)
    axes.set_yticks(rows, [_angle_name(name) for name in angles])
    axes.tick_params(axis="y", labelsize=7, length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.yaxis.grid(False)
    axes.use_sticky_edges = False  # So that no whisker ends at the axis.
    axes.autoscale_view()
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_title("angles: all, 5 to 95 %, 25 to 75 %, median")
    axes.set_xlabel("degrees")


def _sets(axes: Axes, sets: Mapping[str, float], fingers: list[str]) -> None:
    names = sorted(sets, key=lambda name: (name.count("1"), name))
    shares = 100 * np.array([sets[name] for name in names])
    rows = np.arange(len(names))
    axes.barh(rows, np.maximum(shares, 1e-3), height=0.7, color=_DARK)
    axes.set_xscale("log")
    axes.set_xlim(0.05, 100)
    axes.set_yticks(rows, [name.replace("0", "·").replace("1", "|") for name in names])
    axes.tick_params(axis="y", labelsize=7 if len(rows) <= 32 else 4, length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.yaxis.grid(False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g}"))
    axes.set_title(f"sets of extended fingers ({int((shares > 0).sum())} of {len(shares)} occur)")
    axes.set_xlabel("% of poses")
    axes.set_ylabel(f"extended |: {fingers[0]} ... {fingers[-1]}")


def _views(axes: Axes, views: Mapping[str, Any]) -> None:
    cells = np.array(views["cells"]) * BANDS * SECTORS
    # Height and azimuth: Lambert's cylindrical projection preserves areas.
    image = axes.imshow(cells, extent=(-180, 180, -1, 1), aspect="auto", cmap="Blues", vmin=0, vmax=max(2, cells.max()))
    axes.grid(False)
    axes.set_xticks([-180, -90, 0, 90, 180])
    axes.set_yticks([-1, 0, 1], ["back", "side", "palm"])
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2, color=QUIET)
    axes.set_title(f"views of the hand ({views['occupied']:.0%} of cells hit)")
    axes.set_xlabel("direction of the tilt (degrees); colour: times the mean")


def _pinches(axes: Axes, pinches: Mapping[str, float]) -> None:
    axes.bar(list(pinches), [100 * share for share in pinches.values()], width=0.6, color=_DARK)
    axes.xaxis.grid(False)
    axes.set_title(f"pinches: tips within {PINCH_MM:g} mm of touching")
    axes.set_xlabel("finger that meets the thumb")
    axes.set_ylabel("% of poses")


def _workspace(axes: Axes, workspace: Mapping[str, Any]) -> None:
    axes.bar(list(workspace), [100 * row["covered"] for row in workspace.values()], width=0.6, color=_DARK)
    axes.plot(list(workspace), [100 * row["largest"] for row in workspace.values()], "o", color=_MARK)
    axes.set_ylim(0, 100)
    axes.xaxis.grid(False)
    axes.set_title(f"reachable voxels ({VOXEL_MM:g} mm) that tips visit")
    axes.set_xlabel("dot: % of poses in the fullest voxel")
    axes.set_ylabel("% of voxels")


def _depth(axes: Axes, depths: Mapping[str, float]) -> None:
    axes.bar(list(depths), list(depths.values()), width=0.6, color=_DARK)
    for number, depth in enumerate(depths.values()):
        axes.text(number, depth, f"{depth:.1f}", ha="center", va="bottom", fontsize=9)
    axes.set_ylim(0, max(DEPTH_MM, *depths.values()) * 1.1)
    axes.xaxis.grid(False)
    axes.set_title("how far a pose runs into itself at worst")
    axes.set_xlabel("quantile of the poses")
    axes.set_ylabel("mm")
