"""What a step draws, as a function of (seed, stream, step) alone: not of a process, a worker or what ran before."""

from __future__ import annotations

import functools

import numpy as np

from hpf_core.random_streams import seed_of


def frame_numbers(seed: int, stream: str, first: int, count: int, frames: int, clip: int = 1) -> np.ndarray:
    """(count,) numbers of the frames that global samples first, first + 1, ... are.

    Every frame comes once in each pass over the `frames`, in an order of its own for each pass. Each `clip` of samples
    are frames that follow each other.
    """
    samples = np.arange(first, first + count)
    numbers = np.empty(count, dtype=np.int64)
    for one_pass in np.unique(samples // frames):
        order = _order(seed_of(seed, stream, "pass", int(one_pass)), frames, clip)
        mine = samples // frames == one_pass
        numbers[mine] = order[samples[mine] % frames]
    return numbers


@functools.lru_cache(maxsize=8)  # a step draws a handful of what is made for tens of thousands
def _order(seed: int, frames: int, clip: int) -> np.ndarray:
    """(frames,) the order of a pass."""
    numbers = np.random.default_rng(seed)
    if clip == 1:
        order = numbers.permutation(frames)
    else:
        # Clips of each pass begin elsewhere: else a frame would never meet the one before its clip. The shorter clip
        # comes last, so that the others begin at multiples of their length.
        whole, rest = divmod(frames, clip)
        begins = int(numbers.integers(frames)) + clip * numbers.permutation(whole)
        order = (begins[:, None] + np.arange(clip)).ravel()
        order = np.concatenate([order, begins.min(initial=frames) + whole * clip + np.arange(rest)]) % frames
    order.setflags(write=False)
    return order


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
