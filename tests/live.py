"""How much memory tensors take while something is computed, on any device: by PyTorch's operators, not the process."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class _Live(TorchDispatchMode):
    """Counts bytes of what operators return, until it is gone. What an operator needs inside of itself isn't seen."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(out)[0]:
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return out

    def _note(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or not size:
            return
        self._known.add(key)
        self.now += size

        def gone() -> None:
            self._known.discard(key)
            self.now -= size

        weakref.finalize(storage, gone)


def peak_bytes(work: Callable[[], Any]) -> int:
    """The most that tensors made by `work` hold at a time."""
    with _Live() as live:
        kept = work()
    del kept
    return live.peak


def kept_bytes(work: Callable[[], Any]) -> tuple[int, int]:
    """What `work` keeps for its backward pass: in all, and its largest part. Memory that tensors share counts once."""
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        alive = work()
    del alive
    return sum(found.values()), max(found.values())
