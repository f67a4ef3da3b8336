"""The table of a comparison, as Markdown and LaTeX: our measurements first, then published results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hpf_core.evaluation.metrics import AUC_MM, Measured
from hpf_core.evaluation.published import PublishedMethod

_WITHIN_MM = (20, 30, 40)
_UNKNOWN = "-"


def markdown(measured: Mapping[str, Measured], methods: Sequence[PublishedMethod], title: str) -> str:
    """A table for a README: one row per result, the most accurate first."""
    header, body = _table(measured, methods)
    widths = ["---", *["---:"] * (len(header) - 3), "---", "---"]
    lines = [header, widths, *body]
    rows = ["| " + " | ".join(_in_markdown(cell) for cell in line) + " |" for line in lines]
    return f"{title}. {_NOTE}\n\n" + "\n".join(rows) + "\n"


def latex(measured: Mapping[str, Measured], methods: Sequence[PublishedMethod], title: str) -> str:
    """A `tabular` that needs no package. Comments above it hold the citations."""
    header, body = _table(measured, methods)
    short = [[*line[:-1]] for line in body]
    cited = [f"% {line[0]}: {line[-1]}" for line in body if line[-1] != _HERE]
    rows = [" & ".join(_in_latex(cell) for cell in line) + r" \\" for line in [header[:-1], *short]]
    columns = "l" + "r" * (len(header) - 3) + "l"
    lines = [f"% {title}. {_NOTE}", *cited, rf"\begin{{tabular}}{{{columns}}}", r"\hline", rows[0], r"\hline"]
    return "\n".join([*lines, *rows[1:], r"\hline", r"\end{tabular}"]) + "\n"


_HERE = "measured here"
_NOTE = (
    "Errors in mm over all joints and frames; shares of frames with all joints within so many mm; AUC: area under the "
    f"success curves by largest (max) and by mean error, {AUC_MM[0]:g} to {AUC_MM[1]:g} mm, as a share of that range."
)


def _table(measured: Mapping[str, Measured], methods: Sequence[PublishedMethod]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows."""
    people = list(dict.fromkeys(name for each in measured.values() for name in each.subjects))
    within = [f"<= {threshold} mm, %" for threshold in _WITHIN_MM]
    header = ["method", "mean", *people, "median", *within, "AUC max", "AUC mean", "labels", "source"]
    own = [
        [
            name,
            f"{each.mean:.3f}",
            *(f"{each.subjects[who].mean:.3f}" if who in each.subjects else _UNKNOWN for who in people),
            f"{each.median:.3f}",
            *(f"{100 * each.success[threshold]:.1f}" for threshold in _WITHIN_MM),
            f"{each.auc_max:.3f}",
            f"{each.auc_mean:.3f}",
            _UNKNOWN,
            _HERE,
        ]
        for name, each in sorted(measured.items(), key=lambda item: item[1].mean)
    ]
    theirs = [
        [
            f"{method.name} ({method.year})",
            _as_published(method),
            *[_UNKNOWN] * len(people),
            _UNKNOWN,
            *(f"{100 * method.success[t]:.1f}" if t in method.success else _UNKNOWN for t in _WITHIN_MM),
            *[_UNKNOWN] * 2,
            method.labels,
            f"{method.source} ({method.where})",
        ]
        for method in methods
    ]
    return header, own + theirs


def _as_published(method: PublishedMethod) -> str:
    """Print as many decimals as the source: papers have one or two, prediction files allow two or three."""
    if method.mean_error_mm is None:
        return _UNKNOWN
    decimals = len(f"{method.mean_error_mm:g}".partition(".")[2])
    return f"{method.mean_error_mm:.{max(decimals, 1 if method.origin == 'printed' else 2)}f}"


def _in_markdown(text: str) -> str:
    return re.sub(r"([|*_`<\\])", r"\\\1", text) if text not in ("---", "---:") else text


def _in_latex(text: str) -> str:
    escaped = re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", r"\textbackslash "))
    return escaped.replace("<=", r"$\leq$").replace("~", r"\textasciitilde ").replace("^", r"\textasciicircum ")
