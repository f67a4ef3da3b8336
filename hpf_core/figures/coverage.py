"""The figure of a statistic of coverage: one panel for each question."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

from hpf_core.figures.style import INK, PALETTE, QUIET, axis_labels, heading, new_panels, write_figure
from hpf_core.simulation.coverage import BANDS, DEPTH_MM, PINCH_MM, SECTORS, VOXEL_MM


def coverage_figure(path: Path, document: Mapping[str, Any]) -> Path:
    """Write a PNG of what `coverage` found.

    Raises:
        RunError: the file can't be written.
    """
    figure, axes = new_panels(2, 3, width=12.6, height=9.0)
    _angles(axes[0], document["angles"])
    _sets(axes[1], document["sets"], document["fingers"])
    _views(axes[2], document["views"])
    _pinches(axes[3], document["pinches"])
    _workspace(axes[4], document["workspace"])
    _depth(axes[5], document["depth_mm"])
    return write_figure(path, figure)


def _angles(axes: Axes, angles: Mapping[str, Any]) -> None:
    rows = np.arange(len(angles))
    quantiles = np.array([angle["quantiles_deg"] for angle in angles.values()])
    for left, right, height, colour in ((0, 6, 0.12, QUIET), (1, 5, 0.34, PALETTE[5]), (2, 4, 0.62, PALETTE[0])):
        width = quantiles[:, right] - quantiles[:, left]
        axes.barh(rows, width, left=quantiles[:, left], height=height, color=colour)
    axes.plot(quantiles[:, 3], rows, "|", color="white", markersize=6, markeredgewidth=1.6)
    axes.set_yticks(rows, [name.replace("_", " ") for name in angles])
    axes.tick_params(axis="y", labelsize=7, length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.yaxis.grid(False)
    heading(axes, "angles: all, 5-95 %, 25-75 %, median")
    axis_labels(axes, "degrees", "")


def _sets(axes: Axes, sets: Mapping[str, float], fingers: list[str]) -> None:
    names = sorted(sets, key=lambda name: (name.count("1"), name))
    shares = np.array([sets[name] for name in names])
    rows = np.arange(len(names))
    axes.barh(rows, np.maximum(shares, 1e-5), height=0.7, color=PALETTE[0])
    axes.set_xscale("log")
    axes.set_xlim(5e-4, 1)
    axes.set_yticks(rows, [name.replace("0", "·").replace("1", "|") for name in names])
    axes.tick_params(axis="y", labelsize=7 if len(rows) <= 32 else 4, length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.yaxis.grid(False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    heading(axes, f"sets of extended fingers ({int((shares > 0).sum())} of {len(shares)} occur)")
    axis_labels(axes, "poses", f"extended |: {fingers[0]} ... {fingers[-1]}")


def _views(axes: Axes, views: Mapping[str, Any]) -> None:
    cells = np.array(views["cells"]) * BANDS * SECTORS
    # Height against azimuth: Lambert's cylinder, on which equal areas are equal.
    image = axes.imshow(cells, extent=(-180, 180, -1, 1), aspect="auto", cmap="Blues", vmin=0, vmax=max(2, cells.max()))
    axes.grid(False)
    axes.set_xticks([-180, -90, 0, 90, 180])
    axes.set_yticks([-1, 0, 1], ["back", "side", "palm"])
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2, labelcolor=INK, color=QUIET)
    heading(axes, f"views of the hand ({views['occupied']:.0%} of cells hit)")
    axis_labels(axes, "direction of the tilt (degrees); colour: times the mean", "")


def _pinches(axes: Axes, pinches: Mapping[str, float]) -> None:
    axes.bar(list(pinches), list(pinches.values()), width=0.6, color=PALETTE[0])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.grid(False)
    heading(axes, f"pinches: tips within {PINCH_MM:g} mm of touching")
    axis_labels(axes, "finger that meets the thumb", "poses")


def _workspace(axes: Axes, workspace: Mapping[str, Any]) -> None:
    axes.bar(list(workspace), [row["covered"] for row in workspace.values()], width=0.6, color=PALETTE[0])
    axes.plot(list(workspace), [row["largest"] for row in workspace.values()], "o", color=PALETTE[1])
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.grid(False)
    heading(axes, f"reachable voxels ({VOXEL_MM:g} mm) that tips visit")
    axis_labels(axes, "dot: share of poses in the fullest voxel", "")


def _depth(axes: Axes, depths: Mapping[str, float]) -> None:
    axes.bar(list(depths), list(depths.values()), width=0.6, color=PALETTE[0])
    for number, depth in enumerate(depths.values()):
        axes.text(number, depth, f"{depth:.1f}", ha="center", va="bottom", fontsize=9, color=INK)
    axes.set_ylim(0, max(DEPTH_MM, *depths.values()) * 1.1)
    axes.xaxis.grid(False)
    heading(axes, "how far a pose runs into itself at worst")
    axis_labels(axes, "quantile of the poses", "mm")
