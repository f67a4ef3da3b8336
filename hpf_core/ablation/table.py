"""The table of an ablation: in words, and as JSON, CSV, LaTeX and Markdown files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpf_core.ablation.plan import Plan
from hpf_core.ablation.results import VariantResult, full_of, simulated, spread
from hpf_core.ablation.variants import FULL
from hpf_core.evaluation.metrics import CURVE_MM
from hpf_core.files.cache import write_atomic

HEADINGS = ("row", "mean mm", "paper", "<= 20 mm", "paper", "seeds", "after/before", "fitted/control", "measured on")
BORROWED = "*"
"""Mark after a `fitted/control` with another variant's control."""


def caption(plan: Plan, results: Sequence[VariantResult]) -> list[str]:
    """The caption, one sentence a line. The first sentence states the limits of the figures."""
    said = []
    if simulated(results):
        said.append("Rows marked as simulated use SIMULATED data. Do not compare them with results on real data.")
    if plan.scale != 1:
        said.append(
            f"SHORTENED: everything was trained for {plan.scale:g} of its steps (--scale {plan.scale:g}); these are no "
            "results of the method. Priors that learn beforehand (vae) were shortened as well, so a variant with "
            "them may look worse than one without: don't compare these figures with the paper's."
        )
    said.append(
        "mean mm: error over all joints and frames; <= 20 mm: share of frames with all joints within that distance; "
        "both mean ± standard deviation over seeds. after/before: error by that of what the last stage started from. "
        "fitted/control: error by that of the same steps without the fitting terms. paper: Wan et al., CVPR 2019, on "
        "NYU."
    )
    if any(result.control_of for result in results):
        said.append(
            f"With {BORROWED}: against the control of {FULL}, which has the same start, steps and synthetic samples; "
            "the row has none of its own."
        )
    if plan.sets:
        said.append(f"In every row: {', '.join(plan.sets)}.")
    return said


def cells(result: VariantResult) -> tuple[str, ...]:
    """A row's cells under `HEADINGS`."""
    mean, success, gain, ratio = (result.values(name) for name in ("mean_mm", "success", "gain", "ratio"))
    paper = result.published
    return (
        result.label,
        _with_spread(mean, "{:.2f}"),
        f"{paper.mean_error_mm:.2f}" if paper and paper.mean_error_mm is not None else "",
        _with_spread(100 * success, "{:.1f}", " %"),
        f"{100 * paper.success_20:.1f} %" if paper and paper.success_20 is not None else "",
        f"{len(result.runs)}" if not result.state() else f"{len(result.runs)} of {_asked(result)}",
        _with_spread(gain, "{:.3f}"),
        _with_spread(ratio, "{:.3f}", f" {BORROWED}" if result.control_of else ""),
        result.measured_on,
    )


def notes(results: Sequence[VariantResult]) -> list[str]:
    """Missing results and their reasons, one line for each variant and reason."""
    said = [f"{result.label}: {result.state()}" for result in results if result.state()]
    return said + [f"{r.label}: no fitted/control: {r.without_control()}" for r in results if r.without_control()]


def differences(results: Sequence[VariantResult]) -> list[str]:
    """Difference of each variant's mean error from that of `full`, one line a variant.

    Variants with different terms only draw the same samples and frames from the same seed. So these differences may
    vary less than the variants' own spreads suggest.
    """
    said = []
    for result in results:
        found = _beyond_full(result, results)
        if len(found):
            seeds = f"{len(found)} seeds" if len(found) > 1 else "one seed, which has no spread"
            said.append(
                f"{result.label}: {_with_spread(found, '{:.2f}', sign='+')} mm compared with full, per seed ({seeds})"
            )
    return said


def document(plan: Plan, results: Sequence[VariantResult]) -> dict[str, Any]:
    """The whole table as plain JSON values."""
    return {
        "base": str(plan.base),
        "scale": plan.scale,
        "scaled": plan.scale != 1,
        "simulated": simulated(results),
        "sets": list(plan.sets),
        "seeds": list(plan.seeds),
        "notes": caption(plan, results),
        "rows": [_entry(result, results) for result in results],
    }


def write(plan: Plan, results: Sequence[VariantResult]) -> list[Path]:
    """Write table.json, .csv, .tex and .md, and curves.csv, into the ablation's folder; returns the paths.

    Raises:
        RunError: a file can't be written.
    """
    texts = {
        "table.json": json.dumps(document(plan, results), indent=2, allow_nan=False) + "\n",
        "table.csv": _csv(plan, results),
        "table.tex": latex(plan, results),
        "table.md": markdown(plan, results),
        "curves.csv": _curves_csv(plan, results),
    }
    for name, text in texts.items():
        write_atomic(plan.out / name, lambda path, text=text: _write(path, text))  # type: ignore[misc]
    return [plan.out / name for name in texts]


def markdown(plan: Plan, results: Sequence[VariantResult]) -> str:
    """The table as a page."""
    lines = [*(f"{line}\n" for line in caption(plan, results))]
    lines += [_bar(HEADINGS), "| --- |" + " ---: |" * (len(HEADINGS) - 2) + " --- |"]
    lines += [_bar([f"`{cell}`" if k == 0 else cell for k, cell in enumerate(cells(result))]) for result in results]
    below = [*differences(results), *notes(results)]
    lines += ["", *(f"- {_one_line(note)}" for note in below)] if below else []
    return "\n".join(lines) + "\n"


def latex(plan: Plan, results: Sequence[VariantResult]) -> str:
    """The table for a paper: a tabular that needs no package."""
    says = [f"% {_one_line(line)}" for line in (*caption(plan, results), *differences(results), *notes(results))]
    # The caption's comments travel with a table that a user copies elsewhere.
    flags = ["simulated data"] if simulated(results) else []
    flags += [f"shortened, scale {plan.scale:g}"] if plan.scale != 1 else []
    title = [rf"\multicolumn{{{len(HEADINGS)}}}{{l}}{{\textit{{{'; '.join(flags)}}}}} \\"] if flags else []
    lines = [
        *says,
        rf"\begin{{tabular}}{{l{'r' * (len(HEADINGS) - 2)}l}}",
        r"\hline",
        *title,
        " & ".join(_tex(heading) for heading in HEADINGS) + r" \\",
        r"\hline",
        *(" & ".join(_tex(cell) for cell in cells(result)) + r" \\" for result in results),
        r"\hline",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _beyond_full(result: VariantResult, results: Sequence[VariantResult]) -> np.ndarray:
    """(S,) mm relative to `full`; empty for `full` itself, and if no `full` was measured on the same data."""
    full = full_of(results)
    if full is None or full is result or full.measured_on != result.measured_on:
        return np.zeros(0)
    return result.beyond(full)


def _entry(result: VariantResult, results: Sequence[VariantResult]) -> dict[str, Any]:
    mean, success, gain, ratio = (result.values(name) for name in ("mean_mm", "success", "gain", "ratio"))
    beyond = _beyond_full(result, results)
    paper = result.published
    return {
        "row": result.variant.name,
        "path": None if result.variant.path is None else str(result.variant.path),
        "label": paper.label if paper else None,
        "measured_on": result.measured_on or None,
        "simulated": simulated([result]) if result.runs else None,
        "mean_error_mm": _mean(mean),
        "mean_error_spread_mm": spread(mean),
        "beyond_full_mm": _mean(beyond),
        "beyond_full_spread_mm": spread(beyond),
        "success_20": _mean(success),
        "success_20_spread": spread(success),
        "after_by_before": _mean(gain),
        "after_by_before_spread": spread(gain),
        "fitted_by_control": _mean(ratio),
        "fitted_by_control_spread": spread(ratio),
        "control_of": result.control_of,
        "no_control": {str(seed): reason for seed, reason in result.no_control.items()},
        "seeds": len(result.runs),
        "paper": {
            "mean_error_mm": paper.mean_error_mm,
            "success_20": paper.success_20,
            "source": paper.source,
        }
        if paper
        else None,
        "runs": [run.document() for run in result.runs],
        "errors": {str(seed): reason for seed, reason in result.errors.items()},
        "pending": list(result.pending),
    }


def _csv(plan: Plan, results: Sequence[VariantResult]) -> str:
    names = (
        *("mean_error_mm", "mean_error_spread_mm", "beyond_full_mm", "beyond_full_spread_mm"),
        *("success_20", "success_20_spread"),
    )
    more = (
        *("after_by_before", "after_by_before_spread", "fitted_by_control", "fitted_by_control_spread", "seeds"),
    )  # fmt: skip
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(
        [
            "row",
            *names,
            *more,
            "paper_mm",
            "paper_success_20",
            "measured_on",
            "simulated",
            "scale",
            "missing",
            "control_of",
            "no_control",
        ]
    )
    for result in results:
        entry = _entry(result, results)
        paper = entry["paper"] or {}
        rows.writerow(
            [
                entry["row"],
                *(_number(entry[name]) for name in (*names, *more)),
                _number(paper.get("mean_error_mm")),
                _number(paper.get("success_20")),
                entry["measured_on"] or "",
                "" if entry["simulated"] is None else str(entry["simulated"]).lower(),
                f"{plan.scale:g}",
                _one_line(result.state()),
                entry["control_of"] or "",
                _one_line(result.without_control()),
            ]
        )
    return out.getvalue()


def _curves_csv(plan: Plan, results: Sequence[VariantResult]) -> str:
    """Share of frames whose worst joint is within each threshold, as the mean over seeds; one column per variant."""
    drawn = [result for result in results if len(result.curves())]
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    marks = " (shortened)" if plan.scale != 1 else ""
    titles = [f"{r.variant.name}{' (simulated)' if simulated([r]) else ''}{marks}" for r in drawn]
    rows.writerow(["within_mm", *titles])
    for k, threshold in enumerate(CURVE_MM):
        rows.writerow([f"{threshold:g}", *(f"{result.curves()[:, k].mean():.6f}" for result in drawn)])
    return out.getvalue()


def _asked(result: VariantResult) -> int:
    return len(result.runs) + len(result.errors) + len(result.pending)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _with_spread(values: np.ndarray, form: str, unit: str = "", sign: str = "") -> str:
    if not len(values):
        return ""
    over = spread(values)
    text = form.replace(":", f":{sign}").format(values.mean())
    return (text if over is None else f"{text} ± {form.format(over)}") + unit


def _number(value: float | int | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _bar(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in texts) + " |"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _tex(text: str) -> str:
    plain = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "\\": "/"}
    maths = {"±": r"$\pm$", "<=": r"$\le$"}
    made = "".join(plain.get(letter, letter) for letter in text)
    for written, sign in maths.items():
        made = made.replace(written, sign)
    return made


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
