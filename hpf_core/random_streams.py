"""Named streams of random numbers: each draw depends on (seed, names) only, not on earlier draws."""

from __future__ import annotations

import hashlib

import torch


def seed_of(seed: int, *names: str | int) -> int:
    """Compute a 63-bit seed for one named stream of random numbers."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(device: torch.device | str, seed: int, *names: str | int) -> torch.Generator:
    """Create a generator on `device` with the seed of the named stream."""
    return torch.Generator(device=device).manual_seed(seed_of(seed, *names))
