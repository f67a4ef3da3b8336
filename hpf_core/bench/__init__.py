"""Speed, measured in one process: what is compared with what, in turn, and the table of it (`docs/performance.md`)."""

from hpf_core.bench.alternate import Timing, alternate
from hpf_core.bench.table import ROWS, Bench, Row

__all__ = ["ROWS", "Bench", "Row", "Timing", "alternate"]
