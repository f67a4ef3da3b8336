"""Refiners: improvements of points after the network."""

from __future__ import annotations

import abc

from torch import Tensor, nn

from hpf_core.progress import Progress, no_progress


class Refiner(nn.Module, abc.ABC):
    """Improves points after the network: in evaluation, prediction, `centre: refined` and `radii: measured`."""

    def prepare(self, progress: Progress = no_progress) -> None:
        """Train or fetch the refiner's data before the first use, as `Term.prepare` does for terms."""

    @abc.abstractmethod
    def forward(self, points: Tensor) -> Tensor:
        """(N, J, 3) mm to (N, J, 3) mm."""
