"""The backbone: the network from depth maps to estimates."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from hpf_core.frames import Estimate


class Backbone(nn.Module, abc.ABC):
    """The network: depth maps to one estimate per stack; the last estimate is the best.

    Attributes:
        cannot_export: why the network can't be exported as ONNX, for `hpf export`; empty for a network that can.
    """

    cannot_export: ClassVar[str] = ""

    @abc.abstractmethod
    def forward(self, depth: Tensor) -> Sequence[Estimate]:
        """Estimates of depth maps (N, H, W) mm (far value in pixels without a surface)."""

    @abc.abstractmethod
    def labels(self, points: Tensor) -> Estimate:
        """The ideal output for points (N, J, 3) mm; the supervised term compares maps with it."""
