"""Transforms: changes of depth maps before the network."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn


class Transform(nn.Module, abc.ABC):
    """Changes depth maps before the network, and maps the points back after it.

    Attributes:
        applies_to: "real", "synthetic" or both. Points of real images are mapped back. Labels of synthetic images stay
            unchanged, so only transforms that don't move points (noise) may apply to synthetic images.
    """

    applies_to: ClassVar[frozenset[str]] = frozenset({"real"})

    @abc.abstractmethod
    def forward(self, depth: Tensor, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Depth (N, H, W) mm to depth (N, H, W) mm, and the map of points (N, J, 3) back.

        The result for an image depends only on the image and on the random numbers of its position in the batch, on the
        generator's device. Processes that share a batch see empty maps in the positions of other processes.
        """
