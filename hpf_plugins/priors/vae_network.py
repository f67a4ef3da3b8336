"""The variational auto-encoder of points: two small fully connected networks (Kingma & Welling 2014, appendix C)."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

SCALE_MM = 100.0  # the unit of the networks' inputs and outputs


class Posterior(NamedTuple):
    """Q(z | x): `mean` and `log_variance`, each (N, latent)."""

    mean: Tensor
    log_variance: Tensor

    def divergence(self) -> Tensor:
        """(N,) nats, Kullback-Leibler divergence from the standard normal."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance).sum(-1)


class PoseVAE(nn.Module):
    """Points (N, J, 3) mm to a latent code and back: 3J - width - width - 2 latent, and latent - width - width - 3J."""

    def __init__(self, points: int, width: int, latent: int, generator: torch.Generator) -> None:
        """Draw the weights from `generator` (on the CPU)."""
        super().__init__()
        values = 3 * points
        self.encoder = _layers((values, width, width, 2 * latent), generator)
        self.decoder = _layers((latent, width, width, values), generator)

    def encode(self, points: Tensor) -> Posterior:
        """The posterior of points (N, J, 3) mm."""
        mean, log_variance = self.encoder(points.flatten(1) / SCALE_MM).chunk(2, dim=-1)
        # Far from any hand the variance could overflow. These bounds prevent this, and no hand comes near them.
        return Posterior(mean, log_variance.clamp(-20, 10))

    def decode(self, code: Tensor) -> Tensor:
        """Points (N, J, 3) mm of codes (N, latent)."""
        return self.decoder(code).unflatten(-1, (-1, 3)) * SCALE_MM


def _layers(sizes: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    """Linear layers with SiLU between them. SiLU is smooth, so the prior's gradient on the points is smooth as well."""
    modules: list[nn.Module] = []
    for size_in, size_out in pairwise(sizes):
        # skip_init doesn't change the global random state.
        layer = skip_init(nn.Linear, size_in, size_out)
        with torch.no_grad():
            layer.weight.normal_(0, (2 / size_in) ** 0.5, generator=generator)
            layer.bias.zero_()
        modules += [layer, nn.SiLU()]
    return nn.Sequential(*modules[:-1])
