"""Lies here so that tests of any folder can import what they share: `balls`, `reference` and `scenes`."""

import os
from typing import Any

# Before torch is loaded: where cores are shared, threads that wait for one another by spinning take twenty times as
# long as threads that sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Also in the processes that tests start: two of them would measure threads, and could choose different numbers.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# pytest-xdist gives its workers a width, which rich keeps for good; tests set their own.
os.environ.pop("COLUMNS", None)

import torch

# Tests work on small tensors, which threads only slow down.
torch.set_num_threads(1)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many tests that need a CUDA device ran, and how many were skipped."""
    found = [
        report.outcome
        for reports in terminalreporter.stats.values()
        for report in reports
        if "cuda" in getattr(report, "keywords", ()) and (report.when == "call" or report.skipped)
    ]
    if found:
        skipped = found.count("skipped")
        terminalreporter.line(f"tests that need a CUDA device: {len(found) - skipped} ran, {skipped} skipped")
