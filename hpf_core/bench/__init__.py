"""Speed, measured in one process: what is compared with what, in turn, and the table of it (`docs/performance.md`)."""

from hpf_core.bench.alternate import Measured, alternate
from hpf_core.bench.table import ROWS, Bench, Row

__all__ = ["ROWS", "Bench", "Measured", "Row", "alternate"]
