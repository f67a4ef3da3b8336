"""A run's charts: curves of training, success, joints, and each frame before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from hpf_core.evaluation.metrics import CURVE_MM, success_curve
from hpf_core.report.chart import Chart, Line, Mark, bars, pairs
from hpf_core.report.material import Material, number
from hpf_core.runs.folder import INIT

_OTHERS = ("s3", "s5", "s2", "s6")


@dataclass(frozen=True)
class Titled:
    """A chart with the words over it and its legend, pairs of a style and a label."""

    heading: str
    chart: Markup
    legend: tuple[tuple[str, str], ...] = ()


def styles(run: Material) -> dict[str, str]:
    """The style of each stage: before, after and control look the same in all charts."""
    names = [INIT, *(s.name for s in run.stages)]
    evaluated, controls = run.lineage.chain, run.lineage.controls
    chain = [n for n in names if n not in controls]
    before = evaluated[0] if evaluated else None
    after = evaluated[-1] if evaluated else chain[-1]
    found: dict[str, str] = {}
    others = iter(_OTHERS * len(names))
    for name in names:
        if name == after:
            found[name] = "after"
        elif name == before:
            found[name] = "before"
        elif controls.get(name) == after:
            found[name] = "control"
        else:
            found[name] = next(others)
    return found


def success(run: Material, paper: list[Mark]) -> Titled:
    """Share of frames by their worst joint, one curve for each evaluation; the paper's points stand beside them."""
    style = styles(run)
    lines = [
        Line(name, style[name], CURVE_MM, success_curve(errors.max(axis=1), CURVE_MM))
        for name, errors in run.errors.items()
    ]
    chart = Chart(
        "Success curves: share of frames whose worst joint is within a distance, after "
        + ", ".join(f"{line.label} ({float(line.y[20]):.0%} within 20 mm)" for line in lines),
        "largest error of a frame's joints, at most (mm)",
        "frames",
        lines,
        paper,
        (0.0, 80.0),
        (0.0, 1.0),
        percent=True,
        width=420,
        height=290,
    )
    legend = [(line.style, line.label) for line in lines]
    return Titled(
        "Success",
        chart.svg(),
        (
            *legend,
            *(
                [("dot paper", "published, " + ("own synthetic samples" if run.synthetic else "real NYU"))]
                if paper
                else []
            ),
        ),
    )


def joints(run: Material) -> Titled:
    """Mean error of each joint, after each evaluation."""
    style = styles(run)
    names = list(next(iter(run.evaluations.values()))["per_joint_mm"])
    results = []
    for after, document in run.evaluations.items():
        per_joint = document["per_joint_mm"]
        if list(per_joint) == names:
            values = np.array([number(per_joint[n]) or 0.0 for n in names] + [number(document["mean_error_mm"]) or 0.0])
            results.append((after, style[after], values))
    drawn = bars(f"Mean error of each of {len(names)} joints, in mm", [*names, "all joints"], results, "mm")
    return Titled("Joints", drawn, tuple((f"bar {s}", n) for n, s, _ in results))


def before_and_after(run: Material) -> Titled | None:
    """Each frame's error before and after, where both are of the same frames."""
    chain = [name for name in run.lineage.chain if name in run.errors]
    if len(chain) < 2 or len(run.errors[chain[0]]) != len(run.errors[chain[-1]]):
        return None
    x, y = (run.errors[name].mean(axis=1) for name in (chain[0], chain[-1]))
    better = float((y < x).mean())
    drawn = pairs(
        f"Mean error of each of {len(x)} frames, after {chain[0]} and after {chain[-1]}: smaller in {better:.0%}",
        x, y, f"after {chain[0]} (mm)", f"after {chain[-1]} (mm)",
    )  # fmt: skip
    return Titled(
        f"Each of {len(x):,} frames",
        drawn,
        (("dot after", f"better after {chain[-1]}: {better:.0%}"), ("dot before", f"not better: {1 - better:.0%}")),
    )


def training(run: Material) -> list[Titled]:
    """The loss, each raw term and what else was logged, over the steps. A control begins where its stage did."""
    rows, style, start = run.metrics, styles(run), _starts(run)
    raw = dict.fromkeys(name for row in rows for name in _mapping(row, "raw"))
    wanted: list[tuple[str, str, Callable[[Mapping[str, Any]], object]]] = [
        ("loss", "loss, the sum of all weighted terms", lambda row: row.get("loss"))
    ]
    wanted += [("unseen error (mm)", "mean error on unseen synthetic samples, mm", lambda row: row.get("unseen_mm"))]
    wanted += [(f"{term}, raw", f"term {term}, raw", _of_term("raw", term)) for term in raw]
    wanted += [("peak of the heatmaps", "mean peak of the heatmaps", lambda row: row.get("peak"))]
    wanted += [("gradient's norm", "norm of the gradient, before it is clipped", lambda row: row.get("gradient_norm"))]
    wanted += [("learning rate", "learning rate", lambda row: row.get("lr"))]
    charts = []
    for heading, title, value in wanted:
        lines = []
        for stage in start:
            x, y = _series(rows, stage, start, value)
            if len(x):
                lines.append(Line(stage, style[stage], x, y))
        if lines:
            chart = Chart(f"Curve over the steps: {title}", "step", "", lines, log=True)
            charts.append(Titled(heading, chart.svg(), tuple((line.style, line.label) for line in lines)))
    return charts


def shares(run: Material, key: str, what: str) -> list[Titled]:
    """For each stage a chart with a curve for each term, of the mapping `key` of the rows: what terms weigh."""
    start = _starts(run)
    charts = []
    for stage in start:
        names = dict.fromkeys(n for row in run.metrics if row["stage"] == stage for n in _mapping(row, key))
        lines = []
        for place, term in enumerate(names):
            x, y = _series(run.metrics, stage, start, _of_term(key, term))
            if len(y) and y.max() > 0:
                # What is exactly 0 now and then (no collision) has no place on a logarithmic axis.
                lines.append(Line(term, f"t{place % 7}" + (" d2" if place > 6 else ""), x[y > 0], y[y > 0]))
        if lines:
            chart = Chart(f"Curves over the steps of {stage}: {what}, one for each term", "step", "", lines, log=True)
            charts.append(Titled(f"{what}: {stage}", chart.svg(), tuple((line.style, line.label) for line in lines)))
    return charts


def _starts(run: Material) -> dict[str, float]:
    """The step at which each logged stage begins, laid end to end; a control begins where its stage does."""
    last: dict[str, float] = {}
    for row in run.metrics:
        last[str(row["stage"])] = max(last.get(str(row["stage"]), 0.0), float(row["step"]))
    starts: dict[str, float] = {}
    end = 0.0
    for name, steps in last.items():
        partner = run.lineage.controls.get(name)
        starts[name] = starts.get(partner, end) if partner is not None else end
        end = max(end, starts[name] + steps)
    return starts


def _series(
    rows: list[dict[str, Any]], stage: str, start: Mapping[str, float], value: Callable[[Mapping[str, Any]], object]
) -> tuple[np.ndarray, np.ndarray]:
    found = [
        (start[stage] + float(r["step"]), v)
        for r in rows
        if r["stage"] == stage and (v := number(value(r))) is not None
    ]
    pairs_ = np.array(found, dtype=np.float64).reshape(-1, 2)
    return pairs_[:, 0], pairs_[:, 1]


def _of_term(key: str, term: str) -> Callable[[Mapping[str, Any]], object]:
    """Reads a term's value of the mapping `key` of a row."""
    return lambda row: _mapping(row, key).get(term)


def _mapping(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = row.get(key)
    return value if isinstance(value, dict) else {}
