"""An exponential moving average of a network's weights over training steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from hpf_core.errors import DataError

_PREFIX = "average."
_DELAY = 10
"""The first steps count more: the decay of step t is at most (1 + t) / (_DELAY + t), so that the start is forgotten."""


class WeightAverage:
    """The average of the parameters; buffers are the network's own.

    Args:
        network: its parameters are read at each update. They stay as they are, except inside `in_place`.
        decay: share of the old average that each step keeps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._named = dict(network.named_parameters())
        self._average = {name: weight.detach().clone() for name, weight in self._named.items()}

    @torch.no_grad()
    def begin(self) -> None:
        """Take the network's weights as the average."""
        torch._foreach_copy_(list(self._average.values()), list(self._named.values()))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights that step `step`, counted from 0, left."""
        decay = min(self._decay, (1 + step) / (_DELAY + step))
        torch._foreach_lerp_(list(self._average.values()), list(self._named.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the network has the average; after it, its own weights again, bit for bit."""
        own = [weight.detach().clone() for weight in self._named.values()]
        with torch.no_grad():
            torch._foreach_copy_(list(self._named.values()), list(self._average.values()))
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(list(self._named.values()), own)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        return {_PREFIX + name: tensor for name, tensor in self._average.items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Go on from a checkpoint's tensors.

        Raises:
            DataError: it lacks the average.
        """
        for name, tensor in self._average.items():
            if _PREFIX + name not in tensors:
                raise DataError(f"{path}: the average of {name} is missing")
            tensor.copy_(tensors[_PREFIX + name])
