"""The draws of a step, as a function of (seed, stream, step): independent of processes, workers and history."""

from __future__ import annotations

import functools

import numpy as np

from hpf_core.random_streams import seed_of


def frame_numbers(seed: int, stream: str, first: int, count: int, frames: int, clip: int = 1) -> np.ndarray:
    """(count,) frame numbers of the global samples first, first + 1, ...

    Every frame comes once in each pass over the `frames`; each pass has its own order. Each `clip` of samples has
    consecutive frames.
    """
    samples = np.arange(first, first + count)
    numbers = np.empty(count, dtype=np.int64)
    for one_pass in np.unique(samples // frames):
        order = _order(seed_of(seed, stream, "pass", int(one_pass)), frames, clip)
        mine = samples // frames == one_pass
        numbers[mine] = order[samples[mine] % frames]
    return numbers


@functools.lru_cache(maxsize=8)  # an order has tens of thousands of frames, a step uses few
def _order(seed: int, frames: int, clip: int) -> np.ndarray:
    """(frames,) the order of one pass."""
    numbers = np.random.default_rng(seed)
    if clip == 1:
        order = numbers.permutation(frames)
    else:
        # The clips of each pass have another offset: else a frame would never share a clip with the frame before its
        # clip. The shorter clip comes last, so that the others begin at multiples of their length.
        whole, rest = divmod(frames, clip)
        begins = int(numbers.integers(frames)) + clip * numbers.permutation(whole)
        order = (begins[:, None] + np.arange(clip)).ravel()
        order = np.concatenate([order, begins.min(initial=frames) + whole * clip + np.arange(rest)]) % frames
    order.setflags(write=False)
    return order


def chunks(first: int, count: int, total: int, size: int) -> list[tuple[int, int, slice]]:
    """The chunks of `size` with the samples first, first + 1, ... of `total`.

    Returns for each (index of the chunk, its samples, the requested ones among them); the last chunk may be smaller.
    """
    found = []
    for chunk in range(first // size, -(-(first + count) // size)):
        begins = chunk * size
        wanted = slice(max(first - begins, 0), min(first + count - begins, size))
        found.append((chunk, min(size, total - begins), wanted))
    return found
