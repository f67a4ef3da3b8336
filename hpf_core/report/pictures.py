"""The figures of a report. The code of a run's PNG files draws them. A failed figure is missing, with a warning."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from markupsafe import Markup

from hpf_core.errors import skip_on_failure
from hpf_core.report.material import Material
from hpf_core.runs.folder import INIT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WORDS = {
    "success": "Success curves: the share of frames whose worst joint is within each distance",
    "joints": "Bars: the mean error of each joint after each stage; the table below has the numbers",
    "before_after": "Each frame's mean error before and after fitting, and the share of frames within each error",
    "training": "Curves over the steps of training: the loss, each term and what else was logged",
    "terms": "Curves over the steps: each term times its weight, one panel for each stage",
    "gradients": "Curves over the steps: the norm of each term's gradient on the points, one panel for each stage",
}


def run_pictures(run: Material) -> dict[str, Markup]:
    """The figures of a run as SVG, by name."""
    found: dict[str, Markup] = {}
    with skip_on_failure("figures in the report"):
        from hpf_core.figures.of_run import RunData, figures_of_run
        from hpf_core.figures.words import about_training

        data = RunData(
            name=run.name,
            stages=[INIT, *(stage.name for stage in run.stages)],
            chain=run.lineage.chain,
            controls=run.lineage.controls,
            metrics=run.metrics,
            # A run with simulated evaluation data also trained on simulated data.
            trained_on=about_training(run.simulated) if run.evaluations else "",
            evaluations=run.evaluations,
            errors=run.errors,
        )
        for name, draw in figures_of_run(data).items():
            picture = drawn(name, draw, _WORDS[name])
            if picture is not None:
                found[name] = picture
    return found


def drawn(name: str, draw: Callable[[], Figure | None], words: str) -> Markup | None:
    """Draw one figure as SVG, with a unique name on the page; None without data."""
    with skip_on_failure(f"figure {name} in the report"):
        from hpf_core.figures.svg import to_svg

        figure = draw()
        return None if figure is None else Markup(to_svg(figure, name, words))
    return None
