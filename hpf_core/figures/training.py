"""Training curves over the steps of a run, from the rows of metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from hpf_core.figures.colours import QUIET, LineLook, other_looks
from hpf_core.figures.style import house_style, new_figure, shortened, titles

Rows = Sequence[Mapping[str, Any]]
"""Rows of metrics.jsonl, each with `stage`, `step`, `loss`, mappings such as `raw`, and more numbers."""

_MOST_POINTS = 160
"""Largest number of points of a line; more aren't visible at this size."""
_COLUMNS = (4, 3)
_PANEL_WIDTH, _PANEL_HEIGHT, _HEAD = 2.7, 1.75, 0.75  # inches


@dataclass(frozen=True)
class _Line:
    """One curve: steps (R,) counted over all stages, and values (R,)."""

    name: str
    look: LineLook
    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class _Panel:
    title: str
    lines: tuple[_Line, ...]


@house_style()
def training_figure(
    rows: Rows, controls: Mapping[str, str], looks: Mapping[str, LineLook], title: str, about: str = ""
) -> Figure | None:
    """Draw panels for the loss, each raw term and the other logged values, with one curve per stage.

    Stages are concatenated, but a control starts at the same step as its stage. Values that are always 0 have no panel;
    the title lists them instead.

    Args:
        rows: in the order of logging.
        controls: for each control, the stage that it controls.
        looks: of all stages.
        title, about: the figure's content, and its data.

    Returns:
        None without logged values.
        None where nothing was logged.
    """
    starts = _starts(rows, controls)
    raw = dict.fromkeys(name for row in rows for name in _mapping(row, "raw"))
    wanted: list[tuple[str, Callable[[Mapping[str, Any]], object]]] = [
        ("loss (sum of all weighted terms)", lambda row: row.get("loss")),
        ("error on unseen synthetic samples (mm)", lambda row: row.get("unseen_mm")),
        *((f"term {term}", _of_term("raw", term)) for term in raw),
        ("mean peak of the heatmaps", lambda row: row.get("peak")),
        ("norm of the gradient", lambda row: row.get("gradient_norm")),
        ("learning rate", lambda row: row.get("lr")),
    ]
    panels, zero = [], []
    for heading, value in wanted:
        lines = [_Line(stage, looks[stage], *_series(rows, stage, start, value)) for stage, start in starts.items()]
        lines = [line for line in lines if len(line.steps)]
        if any(line.values.any() for line in lines):
            panels.append(_Panel(heading, tuple(lines)))
        elif lines:
            zero.append(heading)
    if zero:
        about = "; ".join(filter(None, [about, f"0 at every step: {', '.join(zero)}"]))
    return _figure(panels, title, about) if panels else None


@house_style()
def terms_figure(rows: Rows, key: str, controls: Mapping[str, str], title: str, about: str = "") -> Figure | None:
    """Draw the contribution of each term: one panel per stage, with one curve per term.

    Args:
        rows: in the order of logging.
        key: the rows' mapping from terms to values, "weighted" or "gradient".
        controls: for each control, the stage that it controls.
        title, about: the figure's content, and its data.

    Returns:
        None without logged values.
    """
    starts = _starts(rows, controls)
    looks = other_looks(dict.fromkeys(term for row in rows for term in _mapping(row, key)))
    panels = []
    for stage, start in starts.items():
        lines = []
        for term, look in looks.items():
            steps, values = _series(rows, stage, start, _of_term(key, term))
            # A logarithmic axis can't show values of exactly 0 (no collision).
            if (values > 0).any():
                lines.append(_Line(term, look, steps[values > 0], values[values > 0]))
        if lines:
            panels.append(_Panel(f"stage {stage}", tuple(lines)))
    return _figure(panels, title, about, each_has_its_legend=True) if panels else None


def _figure(panels: Sequence[_Panel], title: str, about: str, each_has_its_legend: bool = False) -> Figure:
    """Arrange panels row by row. The panels of the last row fill the whole width."""
    columns = min(_columns(len(panels)), len(panels))
    count = math.ceil(len(panels) / columns)
    tall = 1.35 if each_has_its_legend else 1.0
    width = max(columns * _PANEL_WIDTH * (2 if each_has_its_legend else 1), 5.5)
    figure = new_figure(min(width, 10.8), count * _PANEL_HEIGHT * tall + _HEAD + (0 if each_has_its_legend else 0.2))
    grids = figure.subfigures(count, 1, squeeze=False)[:, 0]
    known: dict[str, Any] = {}
    for row, place in enumerate(grids):
        shown = panels[row * columns : (row + 1) * columns]
        for panel, axes in zip(shown, place.subplots(1, len(shown), squeeze=False)[0], strict=True):
            for line in panel.lines:
                known.setdefault(shortened(line.name), _draw(axes, line))
            _scale(axes, panel.lines)
            axes.set_title(shortened(panel.title))
            if row == count - 1:
                axes.set_xlabel("step")
            if each_has_its_legend:
                axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    titles(figure, title, about)
    if not each_has_its_legend:
        figure.legend(known.values(), known, loc="outside upper right", ncols=len(known))
    return figure


def _columns(count: int) -> int:
    """Number of panels in a row, chosen so that few panels are wider than the others."""
    return min(_COLUMNS, key=lambda columns: -count % columns)


def _draw(axes: Axes, line: _Line) -> Any:
    """Draw one curve; returns its legend entry. Means of neighbours replace a large number of values."""
    steps, values = _thinned(line.steps), _thinned(line.values)
    style: dict[str, Any] = {"label": shortened(line.name), "color": line.look.colour, "linestyle": line.look.dashes}
    if len(line.steps) >= 40:
        axes.plot(steps, values, color=line.look.colour, linewidth=0.6, alpha=0.45)
        # Without the ends, where a mean over few values would repeat the noise.
        return axes.plot(steps[2:-2], _moving_mean(values)[2:-2], linewidth=1.7, **style)[0]
    return axes.plot(steps, values, marker="o" if len(steps) < 12 else None, markersize=3, linewidth=1.4, **style)[0]


def _scale(axes: Axes, lines: Sequence[_Line]) -> None:
    every = np.concatenate([line.values for line in lines])
    end = max(float(line.steps.max()) for line in lines)
    axes.set_xlim(0, max(1.0, end))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"))
    axes.margins(y=0.1)
    low, high = float(every.min()), float(every.max())
    # On a logarithmic axis, a schedule that ends near 0 would mostly show its tail.
    if low > 0 and 3 * low < high < 1e4 * low:
        axes.set_yscale("log")
        wide = high > 30 * low
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=6))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    elif low == high:
        axes.yaxis.set_major_locator(FixedLocator([low]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_color(QUIET)


def _starts(rows: Rows, controls: Mapping[str, str]) -> dict[str, float]:
    """The first step of each logged stage in the concatenation; a control starts where its stage starts."""
    last: dict[str, float] = {}
    for row in rows:
        last[str(row["stage"])] = max(last.get(str(row["stage"]), 0.0), _number(row["step"]))
    starts: dict[str, float] = {}
    end = 0.0
    for name, steps in last.items():
        partner = controls.get(name)
        starts[name] = starts.get(partner, end) if partner is not None else end
        end = max(end, starts[name] + steps)
    return starts


def _series(
    rows: Rows, stage: str, start: float, value: Callable[[Mapping[str, Any]], object]
) -> tuple[np.ndarray, np.ndarray]:
    """Steps (R,) counted over all stages, and the stage's finite logged values (R,)."""
    found = np.array(
        [(start + _number(row["step"]), _number(value(row))) for row in rows if row["stage"] == stage], dtype=np.float64
    ).reshape(-1, 2)
    found = found[np.isfinite(found).all(axis=1)]
    return found[:, 0], found[:, 1]


def _of_term(key: str, term: str) -> Callable[[Mapping[str, Any]], object]:
    """Create a reader of a term's value in the mapping `key` of a row."""
    return lambda row: _mapping(row, key).get(term)


def _mapping(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = row.get(key)
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float:
    """The value, or NaN if the value is no number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def _thinned(values: np.ndarray) -> np.ndarray:
    """Reduce to at most `_MOST_POINTS` values, each the mean of consecutive values."""
    if len(values) <= _MOST_POINTS:
        return values
    starts = np.linspace(0, len(values), _MOST_POINTS, endpoint=False).astype(int)
    return np.add.reduceat(values, starts) / np.diff([*starts, len(values)])


def _moving_mean(values: np.ndarray) -> np.ndarray:
    """(R,) moving means of values (R,) over a window of about a twentieth of the values; shorter at the ends."""
    reach = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    middle = np.arange(len(values))
    # Symmetric windows keep a falling curve straight at its ends.
    reaches = np.minimum(reach, np.minimum(middle, len(values) - 1 - middle))
    return (sums[middle + reaches + 1] - sums[middle - reaches]) / (2 * reaches + 1)
