"""Times two pieces of work in turn, so that other load on the machine affects both equally."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

Work = Callable[[], object]

_LEAST_SECONDS = 0.02
"""Shorter work runs several times per measurement, because clocks and schedulers have a limited resolution."""


@dataclass(frozen=True)
class Timing:
    """Result of an alternation, in ms per call.

    Attributes:
        baseline: median.
        ours: median.
        baseline_spread, ours_spread: first and third quartile.
        faster: median, over the alternations, of baseline divided by ours.
        faster_spread: its first and third quartile.
    """

    baseline: float
    ours: float
    baseline_spread: tuple[float, float]
    ours_spread: tuple[float, float]
    faster: float
    faster_spread: tuple[float, float]


def alternate(baseline: Work, ours: Work, times: int, device: torch.device) -> Timing:
    """Time both pieces of work `times` times in turn; each is first half of the time. Two warm-up calls don't count."""
    repeats = [_repeats(work, device) for work in (baseline, ours)]
    found = np.empty((times, 2))
    for k in range(times):
        for which in (0, 1) if k % 2 == 0 else (1, 0):
            found[k, which] = _timed((baseline, ours)[which], repeats[which], device)
    found *= 1e3
    (base, base_spread), (mine, mine_spread) = (_middle(found[:, which]) for which in (0, 1))
    faster, faster_spread = _middle(found[:, 0] / found[:, 1])
    return Timing(base, mine, base_spread, mine_spread, faster, faster_spread)


def _middle(values: np.ndarray) -> tuple[float, tuple[float, float]]:
    first, median, third = (float(v) for v in np.quantile(values, (0.25, 0.5, 0.75)))
    return median, (first, third)


def _repeats(work: Work, device: torch.device) -> int:
    _timed(work, 1, device)
    return max(1, int(np.ceil(_LEAST_SECONDS / max(_timed(work, 1, device), 1e-9))))


def _timed(work: Work, repeats: int, device: torch.device) -> float:
    """Seconds of one call, including the device's work."""
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / repeats
