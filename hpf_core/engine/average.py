"""An exponential moving average of a network's weights over training steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from hpf_core.errors import DataError

PREFIX = "average."
"""Prefix of the names of averaged weights in a checkpoint."""

_DELAY = 10
"""Step t decays by at most (1 + t) / (_DELAY + t): the first steps have more weight, and the initial value decays
fast."""


class WeightAverage:
    """Averages the parameters of a network. Buffers aren't averaged.

    Args:
        network: each update reads its parameters. Only `in_place` changes them.
        decay: share of the old average that each step keeps, 0 to 1.
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
        """Add the network's weights after step `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (_DELAY + step))
        torch._foreach_lerp_(list(self._average.values()), list(self._named.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average into the network while the context lasts; its own weights return bit for bit."""
        own = [weight.detach().clone() for weight in self._named.values()]
        with torch.no_grad():
            torch._foreach_copy_(list(self._named.values()), list(self._average.values()))
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(list(self._named.values()), own)

    def tensors(self) -> dict[str, Tensor]:
        """The average by name, as a checkpoint keeps it."""
        return {PREFIX + name: tensor for name, tensor in self._average.items()}

    def check(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Raises DataError where the checkpoint at `path` lacks the average of a weight, or has another one."""
        for name, wanted in self._average.items():
            tensor = tensors.get(PREFIX + name)
            if tensor is None:
                raise DataError(f"{path}: the average of {name} is missing")
            if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype or not bool(tensor.isfinite().all()):
                raise DataError(
                    f"{path}: the average of {name} is {tensor.dtype} {tuple(tensor.shape)}; finite {wanted.dtype} "
                    f"{tuple(wanted.shape)} was expected"
                )

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Continue from a checkpoint's tensors.

        Raises:
            DataError: as `check`; the average stays as it is.
        """
        self.check(tensors, path)
        for name, tensor in self._average.items():
            tensor.copy_(tensors[PREFIX + name])
