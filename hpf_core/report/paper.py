"""The paper's own figures, to stand beside a run's."""

from __future__ import annotations

from dataclasses import dataclass

from hpf_core.evaluation.published import rows
from hpf_core.report.chart import Mark

_SYNTHETIC = "synth_on_synth"


@dataclass(frozen=True)
class PaperPoint:
    """A row of the paper with a published share of frames within 20 mm; `mean` in mm where it gives one."""

    name: str
    share: float
    mean: float | None
    where: str

    @property
    def mark(self) -> Mark:
        """The point on the success curves."""
        return Mark(f"{self.name}: {self.share:.1%} within 20 mm (published)", "paper", 20.0, self.share)


def paper_points(synthetic: bool) -> list[PaperPoint]:
    """The paper's rows whose share of frames within 20 mm is published, best first: those of the real NYU test frames,
    or, for a run that is evaluated on synthetic samples, the one of the paper's own synthetic samples."""
    found = [
        PaperPoint(row.label, row.success_20, row.mean_error_mm, row.where)
        for row in rows().values()
        if row.success_20 is not None and (row.name == _SYNTHETIC) == synthetic
    ]
    return sorted(found, key=lambda point: -point.share)
