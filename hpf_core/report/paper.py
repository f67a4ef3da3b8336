"""The paper's figures for the report, if the paper and the run use the same frames."""

from __future__ import annotations

from dataclasses import dataclass

from hpf_core.evaluation.published import comparable, rows
from hpf_core.report.material import Material


@dataclass(frozen=True)
class PaperPoint:
    """A row of the paper with a published share of frames within 20 mm; `mean` in mm, or None."""

    name: str
    share: float
    mean: float | None
    where: str


def paper_points(run: Material) -> list[PaperPoint]:
    """The paper's rows on the real NYU test frames with a share within 20 mm, best first.

    Empty if the run's evaluation uses other frames: simulated ones, synthetic samples, a part of the test set.
    """
    if not run.evaluations or not all(comparable(document) for document in run.evaluations.values()):
        return []
    found = [
        PaperPoint(row.label, row.success_20, row.mean_error_mm, row.where)
        for row in rows().values()
        if row.success_20 is not None and row.name != "synth_on_synth"
    ]
    return sorted(found, key=lambda point: -point.share)
