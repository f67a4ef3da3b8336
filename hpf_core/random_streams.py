"""Named streams of random numbers: each draw is a function of (seed, names) alone, not of what ran before."""

from __future__ import annotations

import hashlib

import torch


def seed_of(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one named stream of random numbers."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(device: torch.device | str, seed: int, *names: str | int) -> torch.Generator:
    """A generator on `device`, seeded by name."""
    return torch.Generator(device=device).manual_seed(seed_of(seed, *names))
