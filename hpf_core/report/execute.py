"""Executes a run and writes its report, for the command line, `hpf.run` and ablations."""

from __future__ import annotations

from typing import Any

from hpf_core.engine.run import Run
from hpf_core.errors import skip_on_failure
from hpf_core.report.page import write_report
from hpf_core.runs.folder import RunFolder


def run_and_report(run: Run) -> dict[str, Any]:
    """Execute a run and write its report; returns the content of summary.json.

    If the report fails, a warning follows, and the run's results stay valid. A finished run without a report gets one.

    Raises:
        HPFError, KeyboardInterrupt: as for `Run.execute`.
    """
    summary = run.execute()
    assert run.out is not None
    if run.writes and not (run.was_done and RunFolder(run.out).report.is_file()):
        with skip_on_failure("report"):
            write_report(run.out)
    return summary
