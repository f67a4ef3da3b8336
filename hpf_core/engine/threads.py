"""The number of CPU threads of a run: the fastest for its network on this machine, now."""

from __future__ import annotations

import copy
import os
import time

import torch

from hpf_core.inference.build import Parts
from hpf_core.inference.estimate import last_estimate

_IMAGES = 8  # of a measured pass
_ROUNDS = 3
_WORTH = 0.9  # fewer threads must save a tenth of the time


def fastest_threads(parts: Parts) -> int:
    """Measure the network's forward and backward pass with all threads, half of them, and one.

    If other programs use the cores, fewer threads are faster, because each waits for the slowest one.
    `OMP_NUM_THREADS`, or a single thread, leaves no choice. Network and random states stay unchanged.
    """
    most = torch.get_num_threads()
    if most == 1 or os.environ.get("OMP_NUM_THREADS"):
        return most
    maps = torch.zeros(_IMAGES, parts.grid.size, parts.grid.size)
    seconds: dict[int, list[float]] = {count: [] for count in (most, max(most // 2, 1), 1)}
    try:
        network = copy.deepcopy(parts.backbone).train()
        with torch.random.fork_rng(devices=[]):
            for _ in range(_ROUNDS):
                for count, times in seconds.items():
                    torch.set_num_threads(count)
                    times.append(_pass(network, maps))
    except Exception:
        return most  # the first step says what is wrong with the network
    finally:
        torch.set_num_threads(most)
    return _chosen({count: min(times) for count, times in seconds.items()})


def _chosen(seconds: dict[int, float]) -> int:
    """The number of threads for the shortest time; all threads unless fewer are clearly faster."""
    most = max(seconds)
    best = min(seconds, key=lambda count: seconds[count])
    return best if seconds[best] < _WORTH * seconds[most] else most


def _pass(network: torch.nn.Module, maps: torch.Tensor) -> float:
    began = time.perf_counter()
    last_estimate(network, maps).points.sum().backward()
    return time.perf_counter() - began
