"""The HTML report of a run: one file that shows the run's settings and results. The run's folder is the only
source."""

from hpf_core.report.execute import run_and_report
from hpf_core.report.page import write_report

__all__ = ["run_and_report", "write_report"]
