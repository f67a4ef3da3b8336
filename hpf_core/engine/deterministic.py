"""On the CPU the same run gives the same bits, with any number of threads; a GPU is left to be fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Within it, on the CPU, operations that would add up in whatever order threads come by do it in one order.

    One that matters: the gradient of `points[rows]`, where rows come more than twice (`index_put` with accumulation).
    """
    if device.type != "cpu":
        yield
        return
    settings = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = settings.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        # A plugin's operation that can't be deterministic warns and still runs.
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Would write NaN into all new memory first; nothing here reads memory that it didn't write.
        settings.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        settings.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
