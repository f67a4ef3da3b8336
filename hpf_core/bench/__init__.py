"""Speed benchmarks: alternate two implementations in one process and make a table (`docs/performance.md`)."""

from hpf_core.bench.alternate import Timing, alternate
from hpf_core.bench.table import ROWS, Bench, Row

__all__ = ["ROWS", "Bench", "Row", "Timing", "alternate"]
