"""On the CPU a run gives the same bits with any number of threads; on a GPU speed has priority."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Within this context, CPU operations with an order of summation that depends on threads use a fixed order.

    One relevant example: the gradient of `points[rows]`, where rows repeat more than twice (`index_put` with
    accumulation).
    """
    if device.type != "cpu":
        yield
        return
    settings = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = settings.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        # A plugin's operation without a deterministic version warns and still runs.
        torch.use_deterministic_algorithms(True, warn_only=True)
        # This setting would write NaN into all new memory first; no code here reads uninitialised memory.
        settings.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        settings.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
