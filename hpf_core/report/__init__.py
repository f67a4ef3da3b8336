"""The page that a run ends with: one HTML file that shows what was run and what came of it, made from the run's folder
alone."""

from hpf_core.report.execute import run_and_report
from hpf_core.report.page import write_report

__all__ = ["run_and_report", "write_report"]
