"""Redraws the paper's Figures 5, 6 and 7 from an ablation's runs, and draws the remaining variants in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpf_core.ablation.paper import FIGURES
from hpf_core.ablation.plan import Plan
from hpf_core.ablation.results import VariantResult, full_of
from hpf_core.ablation.variants import FULL
from hpf_core.errors import skip_on_failure
from hpf_core.evaluation.metrics import CURVE_MM
from hpf_core.evaluation.published import comparable
from hpf_core.figures.colours import FIT, LineLook, other_looks
from hpf_core.figures.style import write_figure
from hpf_core.figures.success import Curve, success_figure

_MOST_LINES = 8


def draw(plan: Plan, results: Sequence[VariantResult]) -> list[Path]:
    """Draw every figure that has data; returns the files.

    Warns:
        ReportWarning: for each figure that can't be made.
    """
    folder = plan.out / "figures"
    by_name = {result.variant.name: result for result in results if len(result.curves())}
    drawn = []
    shown = {name for figure in FIGURES for name in figure.rows}
    for figure in FIGURES:
        found = [(by_name[name], label) for name, label in figure.rows.items() if name in by_name]
        path = folder / f"figure{figure.number}.png"
        # One curve of the full method alone compares nothing.
        if any(result is not full_of(results) for result, _ in found):
            title = f"{figure.title} (the paper's Figure {figure.number}, redrawn)"
            drawn += _curves(path, found, title, plan)
        else:
            path.unlink(missing_ok=True)
    others = [result for name, result in by_name.items() if name not in shown]
    full = full_of(list(by_name.values()))
    most = _MOST_LINES - (full is not None)
    for start in range(0, len(others), most):
        page = [*([full] if full is not None else []), *others[start : start + most]]
        path = folder / (f"others-{start // most + 1}.png" if len(others) > most else "others.png")
        several = [(result, result.variant.name) for result in page]
        drawn += _curves(path, several, "Rows that no figure of the paper shows", plan)
    return drawn


def _curves(path: Path, rows: Sequence[tuple[VariantResult, str]], title: str, plan: Plan) -> list[Path]:
    """Draw success curves: the mean over seeds, and the range of the seeds as a band. Empty if drawing fails."""
    looks = other_looks(label for result, label in rows if result.variant.name != FULL)
    curves = []
    for result, label in rows:
        shares, several = result.curves(), len(result.curves()) > 1
        paper = result.published if all(comparable(run.evaluation) for run in result.runs) else None
        curves.append(
            Curve(
                f"{label}: mean {result.values('mean_mm').mean():.1f} mm",
                shares.mean(axis=0),
                looks.get(label, LineLook(FIT)),
                low=shares.min(axis=0) if several else None,
                high=shares.max(axis=0) if several else None,
                published=None if paper is None else paper.success_20,
            )
        )
    about = _about([result for result, _ in rows], plan)
    with skip_on_failure(f"figure {path.name}"):
        return [write_figure(path, success_figure(curves, CURVE_MM, title, about, size=(6.8, 5.0)))]
    return []


def _about(rows: Sequence[VariantResult], plan: Plan) -> str:
    """The caption's data and seeds, and the reasons why the curves aren't results."""
    where = ", ".join(dict.fromkeys(result.measured_on for result in rows))
    counts = sorted({len(result.runs) for result in rows})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    about = f"{where}; {seeds} seed{'' if counts == [1] else 's, band: their range'}"
    return about + (f"; shortened, scale {plan.scale:g}" if plan.scale != 1 else "")
