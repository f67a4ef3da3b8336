"""Whether the environment starts several processes as one run, as `torchrun` does. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a group of several processes can form: a cluster may set some of the variables without one."""
    values = [environment.get(name, "").strip() for name in _NEEDED]
    rank, size = values[:2]
    return all(values) and rank.isdecimal() and size.isdecimal() and int(rank) < int(size) and int(size) > 1


def rank(environment: Mapping[str, str] = os.environ) -> int:
    """This process' number in its group; 0 for a process alone."""
    return int(environment["RANK"]) if is_launched(environment) else 0
