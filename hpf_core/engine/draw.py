"""What a step draws, as a function of (seed, stream, step) alone: not of a process, a worker or what ran before."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def seed_of(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one named stream of random numbers."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(device: torch.device | str, seed: int, *names: str | int) -> torch.Generator:
    """A generator on `device`, seeded by name."""
    return torch.Generator(device=device).manual_seed(seed_of(seed, *names))


def frame_numbers(seed: int, stream: str, first: int, count: int, frames: int) -> np.ndarray:
    """(count,) numbers of the frames that global samples first, first + 1, ... are.

    Every frame comes once in each pass over the `frames`, in an order of its own for each pass.
    """
    samples = np.arange(first, first + count)
    numbers = np.empty(count, dtype=np.int64)
    for one_pass in np.unique(samples // frames):
        order = np.random.default_rng(seed_of(seed, stream, "pass", int(one_pass))).permutation(frames)
        mine = samples // frames == one_pass
        numbers[mine] = order[samples[mine] % frames]
    return numbers


def chunks(first: int, count: int, total: int, size: int) -> list[tuple[int, int, slice]]:
    """The chunks of `size` that samples first, first + 1, ... of `total` lie in.

    Returns (number of the chunk, its samples, those of them that are asked for) of each; the last chunk may be smaller.
    """
    found = []
    for chunk in range(first // size, -(-(first + count) // size)):
        begins = chunk * size
        wanted = slice(max(first - begins, 0), min(first + count - begins, size))
        found.append((chunk, min(size, total - begins), wanted))
    return found
