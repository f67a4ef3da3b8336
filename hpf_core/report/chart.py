"""Small charts as SVG that takes its colours from the page, so that they read on light and on dark paper.

Matplotlib's SVG fixes its colours and spells out each letter; these are a few kilobytes each. All text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from markupsafe import Markup

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 36
_MOST_POINTS = 160
"""Points of a line: more can't be told apart at this size."""


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        label: what the legend says; empty for none.
        style: its class in the page's style sheet: colour and dashes.
        x, y: (N,) finite values.
    """

    label: str
    style: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Mark:
    """A single point with a label beside it."""

    label: str
    style: str
    x: float
    y: float


@dataclass
class Chart:
    """One pair of axes.

    Attributes:
        title: what it shows, as its accessible name.
        x_label, y_label: names of the axes, with units.
        lines: the curves.
        marks: labelled points.
        x_range, y_range: ends of the axes; None for what the data need.
        log: whether the y axis may be logarithmic; it is where all values are positive and range over a factor of 10.
        percent: y is a share from 0 to 1.
        width, height: of the drawing, in units of about a pixel.
    """

    title: str
    x_label: str = ""
    y_label: str = ""
    lines: list[Line] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    log: bool = False
    percent: bool = False
    width: int = 360
    height: int = 220

    def svg(self) -> Markup:
        """The drawing, an `svg` element with a name for screen readers."""
        lines = [thinned(line) for line in self.lines if len(line.x)]
        x = _Scale.of([line.x for line in self.lines], self.x_range, _LEFT, self.width - _RIGHT, False)
        y = _Scale.of([line.y for line in lines], self.y_range, self.height - _BOTTOM, _TOP, self.log, room=True)
        parts = [self._axes(x, y)]
        for line in lines:
            path = "".join(
                f"{'L' if n else 'M'}{x.at(a):.1f} {y.at(b):.1f}"
                for n, (a, b) in enumerate(zip(line.x, line.y, strict=True))
            )
            parts.append(Markup('<path class="line {}" d="{}"/>').format(line.style, path))
            if len(line.x) == 1:
                parts.append(_dot(x.at(line.x[0]), y.at(line.y[0]), line.style, line.label))
        for mark in self.marks:
            parts.append(_dot(x.at(mark.x), y.at(mark.y), mark.style, mark.label))
        return wrap(self.title, self.width, self.height, Markup("").join(parts))

    def _axes(self, x: _Scale, y: _Scale) -> Markup:
        bottom, right = self.height - _BOTTOM, self.width - _RIGHT
        parts = []
        for value in y.ticks():
            at = y.at(value)
            text = f"{value:.0%}" if self.percent else told(value)
            parts.append(Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(_LEFT, at, right))
            parts.append(Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(_LEFT - 5, at + 4, text))
        for value in x.ticks():
            at = x.at(value)
            parts.append(Markup('<path class="tick" d="M{:.1f} {}v4"/>').format(at, bottom))
            parts.append(
                Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(at, bottom + 15, told(value))
            )
        parts.append(Markup('<path class="tick" d="M{} {}H{}"/>').format(_LEFT, bottom, right))
        parts.append(
            Markup('<text class="axis" x="{:.0f}" y="{}" text-anchor="middle">{}</text>').format(
                (_LEFT + right) / 2, self.height - 4, self.x_label
            )
        )
        if self.y_label:
            middle = (_TOP + bottom) / 2
            parts.append(
                Markup(
                    '<text class="axis" transform="rotate(-90)" x="{:.0f}" y="9" text-anchor="middle">{}</text>'
                ).format(-middle, self.y_label)
            )
        return Markup("").join(parts)


def wrap(title: str, width: int, height: int, content: Markup) -> Markup:
    """An `svg` element that scales with the page."""
    return Markup(
        '<svg class="chart" style="max-width:{}px" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(round(1.35 * width), width, height, title, content)


def bars(title: str, names: Sequence[str], results: Sequence[tuple[str, str, np.ndarray]], unit: str) -> Markup:
    """Horizontal bars, a group for each name.

    Args:
        results: label, style, and (K,) values >= 0 of each result.
    """
    width, left, thick, gap = 420, 104, 8, 7
    group = thick * len(results) + gap
    height = group * len(names) + _BOTTOM
    x = _Scale.of([np.concatenate([values for _, _, values in results])], None, left, width - 16, False, room=True)
    parts = []
    for value in x.ticks():
        parts.append(Markup('<path class="grid" d="M{:.1f} 0V{}"/>').format(x.at(value), height - _BOTTOM))
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                x.at(value), height - _BOTTOM + 14, told(value)
            )
        )
    for k, name in enumerate(names):
        top = k * group + gap / 2
        parts.append(
            Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                left - 6, top + thick * len(results) / 2 + 4, name if len(name) <= 16 else f"{name[:15]}…"
            )
        )
        for n, (label, style, values) in enumerate(results):
            value = float(values[k])
            parts.append(
                Markup(
                    '<rect class="bar {}" x="{}" y="{:.1f}" width="{:.1f}" height="{}"><title>{}</title></rect>'
                ).format(
                    style, left, top + n * thick, max(0.5, x.at(value) - left), thick - 1,
                    f"{name}, after {label}: {value:.2f} {unit}",
                )
            )  # fmt: skip
    parts.append(
        Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            (left + width - 16) / 2, height - 4, f"mean error ({unit})"
        )
    )
    return wrap(title, width, height, Markup("").join(parts))


def pairs(title: str, x: np.ndarray, y: np.ndarray, x_label: str, y_label: str) -> Markup:
    """Each (x, y) a dot over the diagonal of equality: below it, y is the smaller. Both (F,) >= 0, in one unit."""
    size = 340
    limit = float(np.quantile(np.concatenate([x, y]), 0.995)) * 1.05 + 1e-9
    chart = Chart(title, x_label, y_label, x_range=(0.0, limit), y_range=(0.0, limit), width=size, height=size - 10)
    across = _Scale(0.0, limit, _LEFT, size - _RIGHT)
    up = _Scale(0.0, limit, chart.height - _BOTTOM, _TOP)
    # All dots of a kind are one path of points with round caps: a test set has thousands of frames.
    parts = [chart._axes(across, up)]
    parts.append(
        Markup('<path class="same" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(
            across.at(0), up.at(0), across.at(limit), up.at(limit)
        )
    )
    some = np.unique(np.linspace(0, len(x) - 1, min(len(x), 2000)).round().astype(int))
    for chosen, style in ((x[some] > y[some], "after"), (x[some] <= y[some], "before")):
        # Outliers sit on the edge instead of shrinking all others into a corner.
        path = "".join(
            f"M{across.at(min(a, limit)):.1f} {up.at(min(b, limit)):.1f}h0"
            for a, b in zip(x[some][chosen], y[some][chosen], strict=True)
        )
        parts.append(Markup('<path class="dots {}" d="{}"/>').format(style, path))
    return wrap(title, size, chart.height, Markup("").join(parts))


def thinned(line: Line) -> Line:
    """The line with at most `_MOST_POINTS` points, each the mean of a run of neighbours."""
    count = len(line.x)
    if count <= _MOST_POINTS:
        return line
    starts = np.linspace(0, count, _MOST_POINTS, endpoint=False).astype(int)
    sizes = np.diff([*starts, count])
    x, y = (np.add.reduceat(np.asarray(v, dtype=np.float64), starts) / sizes for v in (line.x, line.y))
    return Line(line.label, line.style, x, y)


def told(value: float) -> str:
    """A tick's value, short: 1200 as 1.2k."""
    if abs(value) >= 1000:
        return f"{value / 1000:g}k" if abs(value) < 1e6 else f"{value / 1e6:g}M"
    return f"{value:.3g}"


def _dot(x: float, y: float, style: str, label: str) -> Markup:
    return Markup('<circle class="mark {}" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}</title></circle>').format(
        style, x, y, label
    )


@dataclass(frozen=True)
class _Scale:
    """From values to places: `low` lies at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    kind: Literal["linear", "log"] = "linear"

    @staticmethod
    def of(
        values: Sequence[np.ndarray],
        ends: tuple[float, float] | None,
        start: float,
        end: float,
        log: bool,
        room: bool = False,
    ) -> _Scale:
        """A scale that holds all values, with some room, unless its ends are given."""
        if ends is not None:
            return _Scale(*ends, start, end)
        every = np.concatenate([np.asarray(v, dtype=np.float64) for v in values]) if values else np.zeros(1)
        low, high = float(every.min()), float(every.max())
        if log and low > 0 and high > 10 * low:
            return _Scale(low / 1.1, high * 1.1, start, end, "log")
        low = min(0.0, low)
        if high <= low:
            high = low + max(1.0, abs(low))
        return _Scale(low, high + (0.05 * (high - low) if room else 0.0), start, end)

    def at(self, value: float) -> float:
        """The place of a value."""
        if self.kind == "log":
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within, about five."""
        if self.kind == "log":
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            wide = self.high > 300 * self.low
            steps = (1,) if wide else (1, 2, 5) if self.high < 60 * self.low else (1, 3)
            every = max(1, len(decades) // 6) if wide else 1
            values = [s * 10.0**d for d in decades if d % every == 0 for s in steps]
            return [v for v in values if self.low <= v <= self.high]
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]
