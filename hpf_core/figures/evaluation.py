"""Figures of an evaluation and of a training run: PNG files that stay legible where a README shows them.

Each function writes one file in a single move and returns its path. `fit_sheet` is the picture of a few frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from hpf_core.figures.fit_sheet import FitRow, fit_sheet
from hpf_core.figures.style import (
    INK,
    PALETTE,
    PAPER,
    QUIET,
    axis_labels,
    heading,
    legend,
    line_style,
    new_panels,
    write_figure,
)

__all__ = ["FitRow", "error_before_after", "fit_sheet", "per_joint_bars", "success_curves", "training_curves"]


def success_curves(
    path: Path,
    curves: Mapping[str, np.ndarray],
    thresholds: np.ndarray,
    title: str,
    *,
    points: Mapping[str, Mapping[int, float]] | None = None,
    error: str = "largest error of a frame's joints",
) -> Path:
    """Share of frames whose error is within each threshold; one line for each result (the paper's Figures 5 to 8).

    Args:
        curves: for each result, (T,) shares in [0, 1], as `Measured.curve_max`.
        thresholds: (T,) mm, increasing.
        title: above the axes.
        points: shares that others published, by name and threshold in mm; drawn as marks of their own.
        error: which error of a frame, for the axis.
    """
    figure, axes = new_panels(1, 1, width=6.4, height=4.3)
    marks = "osD^v<>P"
    for number, (name, known) in enumerate((points or {}).items()):
        axes[0].plot(
            list(known),
            list(known.values()),
            marks[number % len(marks)],
            label=name,
            color=QUIET,
            markerfacecolor="white",
            markersize=6,
            zorder=4,
        )
    for number, (name, shares) in enumerate(curves.items()):
        axes[0].plot(thresholds, shares, label=name, linewidth=2.0, **line_style(number))
    axes[0].set_xlim(float(thresholds[0]), float(thresholds[-1]))
    axes[0].set_ylim(0, 1)
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    heading(axes[0], title)
    axis_labels(axes[0], f"{error}, at most (mm)", "frames")
    legend(axes[0], loc="lower right")
    return write_figure(path, figure)


def error_before_after(
    path: Path,
    before: np.ndarray,
    after: np.ndarray,
    control: np.ndarray | None = None,
    names: Sequence[str] = ("before", "after", "control"),
) -> Path:
    """What happened to each frame, and to all of them together.

    Left: each frame is a dot, its error before to the right and after upwards; dots below the diagonal got better.
    Right: the share of frames within each error, before, after and, if given, in a control; the dots are the means.

    Args:
        before, after: (F,) mm, mean error of each frame, of the same frames in the same order.
        control: (F,) mm of a run that had the same training but no fitting, or None.
        names: of `before`, `after` and `control`.
    """
    figure, (pairs, shares) = new_panels(1, 2, width=10.0, height=4.4)
    limit = float(np.quantile(np.concatenate([before, after]), 0.995)) * 1.08 + 1e-9
    better = before > after
    size = float(np.clip(2400 / len(before), 3, 24))
    opacity = float(np.clip(400 / len(before), 0.25, 0.75))
    for chosen, colour in ((better, PALETTE[0]), (~better, PALETTE[1])):
        # Outliers sit on the edge instead of shrinking all others into a corner.
        pairs.scatter(
            np.minimum(before[chosen], limit),
            np.minimum(after[chosen], limit),
            s=size,
            color=colour,
            alpha=opacity,
            linewidths=0,
            clip_on=False,
            zorder=2,
        )
    pairs.plot([0, limit], [0, limit], color=INK, linewidth=1.0, zorder=1)
    pairs.set_xlim(0, limit)
    pairs.set_ylim(0, limit)
    pairs.set_aspect("equal")
    share = float(better.mean())
    note: dict[str, Any] = {"fontsize": 9.5, "transform": pairs.transAxes, "zorder": 3, "bbox": PAPER}
    pairs.text(0.97, 0.04, f"better: {share:.0%} of frames", ha="right", va="bottom", color=PALETTE[0], **note)
    pairs.text(0.03, 0.97, f"not better: {1 - share:.0%}", ha="left", va="top", color=PALETTE[1], **note)
    heading(pairs, f"each of {len(before):,} frames")
    axis_labels(pairs, f"mean error, {names[0]} (mm)", f"mean error, {names[1]} (mm)")

    given = [(names[0], before, QUIET, ":"), (names[1], after, PALETTE[0], "-")]
    if control is not None:
        given.insert(1, (names[2], control, PALETTE[4], "--"))
    for name, errors, colour, dashes in given:
        level = np.arange(1, len(errors) + 1) / len(errors)
        ordered = np.sort(errors)
        mean = float(errors.mean())
        shares.plot(ordered, level, color=colour, linestyle=dashes, linewidth=2.0, label=f"{name}: mean {mean:.1f} mm")
        shares.plot(mean, np.interp(mean, ordered, level), "o", color=colour, markersize=6, zorder=3)
    shares.set_xlim(0, max(limit, max(float(np.quantile(errors, 0.99)) for _, errors, _, _ in given)))
    shares.set_ylim(0, 1)
    shares.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    heading(shares, "all frames together")
    axis_labels(shares, "mean error of a frame, at most (mm)", "frames")
    legend(shares, loc="lower right")
    return write_figure(path, figure)


def per_joint_bars(path: Path, results: Mapping[str, Sequence[float] | np.ndarray], joint_names: Sequence[str]) -> Path:
    """Mean error of each joint and, at the bottom, of all joints; a bar for each result.

    Args:
        results: for each result, (K,) mm.
        joint_names: K names.
    """
    count = len(results)
    rows = [*joint_names, "mean"]
    thickness = 0.8 / count
    # Room for each joint's bars to stay at least about 7 pixels thick.
    figure, axes = new_panels(1, 1, width=6.4, height=1.3 + len(rows) * max(0.24, 0.09 * count + 0.04))
    for number, (name, errors) in enumerate(results.items()):
        values = np.asarray([*errors, float(np.mean(errors))])
        # The mean stands a little apart.
        centres = np.arange(len(rows)) + np.where(np.arange(len(rows)) == len(joint_names), 0.4, 0.0)
        offset = (number - (count - 1) / 2) * thickness
        axes[0].barh(
            centres + offset,
            values,
            height=thickness * 0.9,
            color=PALETTE[number % len(PALETTE)],
            label=f"{name}: {values[-1]:.2f} mm",
        )
    axes[0].set_yticks(centres, rows)
    axes[0].set_ylim(len(rows) + 0.1, -0.7)
    axes[0].yaxis.grid(False)
    axes[0].tick_params(axis="y", length=0)
    axis_labels(axes[0], "mean error (mm)", "")
    legend(axes[0], loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, columnspacing=1.2)
    return write_figure(path, figure)


def training_curves(path: Path, metrics: Sequence[Mapping[str, Any]]) -> Path:
    """The loss, each term and what else is given, over the steps of all stages laid end to end; a panel for each.

    Thin: as logged. Thick: a moving mean within the stage. The axis is logarithmic where all values are positive and
    range widely.

    Args:
        metrics: rows in order of logging: "stage" (str), "step" (int, counted within its stage), and numbers by name,
            such as "loss" and each term's raw value. What a row lacks, or isn't a finite number, is left out.
    """
    steps, bounds = _laid_end_to_end(metrics)
    seen = dict.fromkeys(name for row in metrics for name in row if name not in ("stage", "step"))
    names = [name for name in seen if _any_finite(metrics, name)]
    columns = min(3, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    figure, axes = new_panels(rows, columns, width=3.5 * columns + 0.4, height=2.35 * rows + 0.35)
    for place, name in zip(axes, names, strict=False):
        values = np.array([_number(row.get(name)) for row in metrics])
        known = np.isfinite(values)
        _one_curve(place, steps[known], values[known], [start for start, _ in bounds])
        heading(place, name)
        for start, stage in bounds:
            if len(bounds) > 1:
                if start > 0:
                    place.axvline(start, color=QUIET, linewidth=0.8, zorder=0)
                trans = place.get_xaxis_transform()
                place.text(start, 1.0, f" {stage}", transform=trans, fontsize=7.5, color=QUIET, va="top", zorder=4)
        place.set_xlim(0, max(1.0, float(steps.max(initial=1.0))))
        place.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"))
        place.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    for place in axes[len(names) :]:
        place.set_visible(False)
    for place in axes[max(0, len(names) - columns) : len(names)]:
        axis_labels(place, "step", "")
    return write_figure(path, figure)


def _laid_end_to_end(metrics: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """The step (R,) of each row counted over all stages, and where each stage begins."""
    steps = np.zeros(len(metrics))
    bounds: list[tuple[float, str]] = []
    start = last = 0.0
    for number, row in enumerate(metrics):
        stage = str(row.get("stage", ""))
        if not bounds or bounds[-1][1] != stage:
            start = last
            bounds.append((start, stage))
        last = steps[number] = start + _number(row.get("step"))
    return steps, bounds


def _any_finite(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(np.isfinite(_number(row.get(name))) for row in rows)


def _number(value: object) -> float:
    """The value, or NaN where it is no number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def _one_curve(axes: Axes, steps: np.ndarray, values: np.ndarray, starts: Sequence[float]) -> None:
    """Values (R,) at steps (R,), smoothed within each of the stages, which begin after the steps `starts`."""
    for start, end in zip(starts, [*starts[1:], np.inf], strict=True):
        stage = (steps > start) & (steps <= end) | ((steps == 0) & (start == 0))
        if stage.sum() >= 40:
            axes.plot(steps[stage], values[stage], color=PALETTE[5], linewidth=0.7, alpha=0.7)
            # Without its ends, where a mean over few values would only copy the noise.
            smooth = _moving_mean(values[stage])[2:-2]
            axes.plot(steps[stage][2:-2], smooth, color=PALETTE[0], linewidth=1.8)
        elif stage.any():
            axes.plot(steps[stage], values[stage], "o-", color=PALETTE[0], linewidth=1.4, markersize=3)
    axes.margins(y=0.12)
    low, high = float(values.min()), float(values.max())
    if low > 0 and high > 3 * low:
        axes.set_yscale("log")
        wide = high > 30 * low
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=8))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif low == high:
        axes.yaxis.set_major_locator(FixedLocator([low]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _moving_mean(values: np.ndarray) -> np.ndarray:
    """(R,) means of values (R,) over a window of about a twentieth of them, shorter towards the ends."""
    reach = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    middle = np.arange(len(values))
    # As far to the right as to the left, so that a falling curve isn't bent at its ends.
    reaches = np.minimum(reach, np.minimum(middle, len(values) - 1 - middle))
    return (sums[middle + reaches + 1] - sums[middle - reaches]) / (2 * reaches + 1)
