"""The paper's Figures 5, 6 and 7 redrawn from an ablation's runs, and one of the rows that none of them shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import PercentFormatter

from hpf_core.ablation.paper import FIGURES
from hpf_core.ablation.plan import Plan
from hpf_core.ablation.results import SUCCESS_MM, VariantResult, full_of, simulated
from hpf_core.evaluation.metrics import CURVE_MM
from hpf_core.figures.style import QUIET, axis_labels, heading, legend, line_style, new_panels, write_figure

_MOST_LINES = 8


def draw(plan: Plan, results: Sequence[VariantResult]) -> list[Path]:
    """Draw what there is something to show of; returns the files.

    Raises:
        RunError: one can't be written.
    """
    folder = plan.out / "figures"
    by_name = {result.variant.name: result for result in results if len(result.curves())}
    drawn = []
    shown = {name for figure in FIGURES for name in figure.rows}
    for figure in FIGURES:
        found = [(by_name[name], label) for name, label in figure.rows.items() if name in by_name]
        path = folder / f"figure{figure.number}.png"
        # The whole method by itself is no comparison.
        if any(result is not full_of(results) for result, _ in found):
            drawn.append(_curves(path, found, f"{figure.title} (the paper's Figure {figure.number}, redrawn)", plan))
        else:
            path.unlink(missing_ok=True)
    others = [result for name, result in by_name.items() if name not in shown]
    full = full_of(list(by_name.values()))
    most = _MOST_LINES - (full is not None)
    for start in range(0, len(others), most):
        page = [*([full] if full is not None else []), *others[start : start + most]]
        path = folder / (f"others-{start // most + 1}.png" if len(others) > most else "others.png")
        drawn.append(
            _curves(
                path, [(result, result.variant.name) for result in page], "Rows that no figure of the paper shows", plan
            )
        )
    return drawn


def _curves(path: Path, rows: Sequence[tuple[VariantResult, str]], title: str, plan: Plan) -> Path:
    """Success curves: the mean over seeds, with the range of the seeds as a band."""
    figure, (axes,) = new_panels(1, 1, width=6.8, height=5.0)
    ringed = False
    for number, (result, label) in enumerate(rows):
        curves = result.curves()
        style = line_style(number)
        error = result.values("mean_mm").mean()
        axes.plot(CURVE_MM, curves.mean(axis=0), linewidth=2.0, label=f"{label}: mean {error:.1f} mm", **style)
        if len(curves) > 1:
            axes.fill_between(
                CURVE_MM, curves.min(axis=0), curves.max(axis=0), color=style["color"], alpha=0.15, linewidth=0
            )
        paper = result.published
        if paper is not None and paper.success_20 is not None and not simulated([result]):
            ringed = True
            axes.plot(SUCCESS_MM, paper.success_20, "o", markersize=7, fillstyle="none", color=style["color"], zorder=4)
    if ringed:
        axes.plot([], [], "o", markersize=7, fillstyle="none", color=QUIET, label="the paper's text, at 20 mm")
    axes.set_xlim(0, float(CURVE_MM[-1]))
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    heading(axes, f"{title}\n{_about([result for result, _ in rows], plan)}")
    axis_labels(axes, "largest error of a frame's joints, at most (mm)", "frames")
    # On short trainings all curves stay low, on long ones all of them rise early: where there is room differs.
    legend(axes, loc="best")
    return write_figure(path, figure)


def _about(rows: Sequence[VariantResult], plan: Plan) -> str:
    """What the curves are of: data, seeds, and what keeps them from being results."""
    where = ", ".join(dict.fromkeys(result.measured_on for result in rows))
    counts = sorted({len(result.runs) for result in rows})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    about = f"{where}; {seeds} seed{'' if counts == [1] else 's, band: their range'}"
    return about + (f"; shortened, scale {plan.scale:g}" if plan.scale != 1 else "")
