"""Figures of errors: per joint, and per frame before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpf_core.figures.colours import FIT, INIT, INK, PAPER, LineLook, other_looks
from hpf_core.figures.drawing import dots
from hpf_core.figures.joint_names import people_names
from hpf_core.figures.style import house_style, new_axes, new_figure, shortened, titles

_MOST_DOTS = 2000


@house_style()
def joint_errors_figure(
    results: Mapping[str, Sequence[float] | np.ndarray],
    joints: Sequence[str],
    title: str,
    about: str = "",
    looks: Mapping[str, LineLook] | None = None,
) -> Figure:
    """Draw the mean error of each joint and, at the bottom, of all joints; one bar per result.

    Args:
        results: for each result, (K,) mm.
        joints: K names, as in the dataset.
        title, about: the figure's content, and its data.
        looks: colours of the results; None for results without a fixed colour.
    """
    looks = looks or other_looks(results)
    count, rows = len(results), [*(shortened(name, 24) for name in people_names(joints)), "all joints"]
    thickness = 0.8 / max(count, 1)
    # Each bar has at least about 7 pixels of height.
    figure, axes = new_axes(5.5, 1.5 + len(rows) * max(0.22, 0.085 * count + 0.04))
    # A gap separates the mean.
    centres = np.arange(len(rows)) + np.where(np.arange(len(rows)) == len(joints), 0.4, 0.0)
    for number, (name, errors) in enumerate(results.items()):
        values = np.asarray([*errors, float(np.mean(errors))])
        offset = (number - (count - 1) / 2) * thickness
        label = f"{shortened(name)}: {values[-1]:.2f} mm"
        axes.barh(centres + offset, values, height=thickness * 0.9, color=looks[name].colour, label=label)
    axes.set_yticks(centres, rows)
    axes.set_ylim(len(rows) + 0.1, -0.7)
    axes.yaxis.grid(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("mean error (mm)")
    titles(figure, title, about)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, columnspacing=1.2, borderaxespad=0.2)
    return figure


@house_style()
def before_after_figure(
    before: np.ndarray,
    after: np.ndarray,
    names: tuple[str, str],
    title: str,
    about: str = "",
    others: Mapping[str, np.ndarray] | None = None,
    looks: Mapping[str, LineLook] | None = None,
) -> Figure:
    """Draw the change of each frame's error, and the distribution over all frames.

    Left: each frame is a dot, with the error before along x and after along y; dots below the diagonal improved. Right:
    the share of frames within each error; the dots are the means.

    Args:
        before, after: (F,) mm, mean error of each frame, in the same order of frames.
        names: of `before` and `after`.
        title, about: the figure's content, and its data.
        others: more results of the same frames, such as a control, by name; (F,) mm each.
        looks: looks of all results; None for those of the start and the fit.
    """
    looks = {names[0]: LineLook(INIT, ":"), names[1]: LineLook(FIT), **other_looks(others or {}), **(looks or {})}
    figure = new_figure(9.6, 4.5)
    pairs, shares = figure.subplots(1, 2)
    limit = float(np.quantile(np.concatenate([before, after]), 0.995)) * 1.08 + 1e-9
    _pairs(pairs, before, after, names, limit, looks)
    results = {names[0]: before, **(others or {}), names[1]: after}
    for name, errors in results.items():
        level = 100 * np.arange(1, len(errors) + 1) / len(errors)
        ordered, mean = np.sort(errors), float(errors.mean())
        style = {"color": looks[name].colour, "linestyle": looks[name].dashes}
        shares.plot(ordered, level, label=f"{shortened(name)}: mean {mean:.1f} mm", zorder=3, **style)
        shares.plot(mean, np.interp(mean, ordered, level), "o", color=looks[name].colour, markersize=5, zorder=4)
    shares.set_xlim(0, max(limit, max(float(np.quantile(errors, 0.99)) for errors in results.values())))
    shares.set_ylim(0, 102)
    shares.set_title("all frames together")
    shares.set_xlabel("mean error of a frame's joints, at most (mm)")
    shares.set_ylabel("% of frames")
    shares.legend(loc="lower right")
    titles(figure, title, about)
    return figure


def _pairs(
    axes: Axes,
    before: np.ndarray,
    after: np.ndarray,
    names: tuple[str, str],
    limit: float,
    looks: Mapping[str, LineLook],
) -> None:
    """Draw each frame as a dot. Outliers lie on the edge, because a larger range would compress all other dots."""
    better = before > after
    some = np.zeros(len(before), dtype=bool)
    some[np.linspace(0, len(before) - 1, min(len(before), _MOST_DOTS)).round().astype(int)] = True
    size = float(np.clip(60 / np.sqrt(some.sum()), 2.0, 5.5))
    axes.set_xlim(0, limit)
    axes.set_ylim(0, limit)
    axes.set_aspect("equal")
    axes.plot([0, limit], [0, limit], color=INK, linewidth=0.9, zorder=1)
    for chosen, name in ((better, names[1]), (~better, names[0])):
        at = np.minimum(np.stack([before, after], axis=-1), limit)[chosen & some]
        dots(axes, at, looks[name].colour, size, alpha=0.65)
    share = float(better.mean())
    note: dict[str, Any] = {"transform": axes.transAxes, "zorder": 5}
    note["bbox"] = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(0.97, 0.04, f"better after {names[1]}: {share:.0%}", ha="right", color=looks[names[1]].colour, **note)
    axes.text(0.03, 0.97, f"not better: {1 - share:.0%}", ha="left", va="top", color=looks[names[0]].colour, **note)
    drawn = f" ({_MOST_DOTS:,} drawn)" if len(before) > _MOST_DOTS else ""
    axes.set_title(f"each of {len(before):,} frames{drawn}" if len(before) > 1 else "the frame")
    axes.set_xlabel(f"mean error after {names[0]} (mm)")
    axes.set_ylabel(f"mean error after {names[1]} (mm)")
