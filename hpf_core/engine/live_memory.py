"""The memory of the tensors that a computation holds at once, and the largest batch that fits a device."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_USABLE = 0.9  # share of the memory: the rest is for the system, kernels' own buffers and fragments


class LiveMemory(TorchDispatchMode):
    """Count the bytes of all tensors that are made in this context and still live, also in the backward pass.

    Buffers inside kernels don't count. It slows each operation down.

    Attributes:
        peak: most bytes at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if id(storage) not in given and storage not in self._seen:
                    self._seen.add(storage)
                    self._now += storage.nbytes()
                    weakref.finalize(storage, self._gone, storage.nbytes()).atexit = False
        self.peak = max(self.peak, self._now)
        return out

    def _gone(self, size: int) -> None:
        self._now -= size


def largest_batch(total: int, fixed: int, step: int, images: int) -> int:
    """Number of images of the largest batch that fits, if a step's memory grows in proportion to its images.

    Args:
        total: bytes of the device.
        fixed: bytes that don't depend on the batch: weights, the optimiser's state, tables.
        step: bytes of a step with `images` images, without `fixed`.
        images: number of depth maps in that step.
    """
    return max(int((_USABLE * total - fixed) * images / max(step, 1)), 0)
