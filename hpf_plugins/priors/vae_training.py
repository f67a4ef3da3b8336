"""Trains the VAE on sampled poses, on the CPU and from one seed: every machine in a run has the same prior."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hpf_core.geometry.rotations import sample_view
from hpf_core.interfaces import HandModel
from hpf_core.progress import Progress
from hpf_plugins.priors.vae_network import PoseVAE

_POOL = 16384  # poses; each draw rotates a pose anew
_HELD_OUT = 2048
_LEARNING_RATE = 3e-3
_WARM_UP = 0.1
_REPORT_EVERY = 50


@dataclass(frozen=True)
class Diet:
    """The distribution of the VAE's training poses.

    Attributes:
        centre: "root" puts the palm's centre at the origin, "crop" within +-`shift_mm` of the origin on each axis.
        shift_mm: the range for "crop".
        cone_deg, roll_deg: range of the global rotation, see `hpf_core.geometry.rotations.sample_view`.
    """

    centre: Literal["root", "crop"]
    shift_mm: float
    cone_deg: float
    roll_deg: float

    def serve(self, own: Tensor, root: int, generator: torch.Generator) -> Tensor:
        """Points (N, J, 3) mm in the hand's own frame, randomly rotated and placed."""
        turned = own @ sample_view(len(own), generator, self.cone_deg, self.roll_deg).transpose(-1, -2)
        turned = turned - turned[:, root : root + 1]
        if self.centre == "root":
            return turned
        shift = torch.rand(len(own), 1, 3, generator=generator, device=own.device) * 2 - 1
        return turned + shift * self.shift_mm


@dataclass(frozen=True)
class Trained:
    """A trained network, and the mean distance in mm of held-out points from their reconstruction."""

    network: PoseVAE
    held_out_mm: float


def train(
    hand: HandModel,
    diet: Diet,
    *,
    width: int,
    latent: int,
    sigma_mm: float,
    steps: int,
    batch: int,
    seed: int,
    progress: Progress,
) -> Trained:
    """Maximise the bound of Eq. 13 with Adam and one cycle of the learning rate; bitwise deterministic."""
    hand = copy.deepcopy(hand).cpu()
    generator = torch.Generator().manual_seed(seed)
    network = PoseVAE(len(hand.names), width, latent, generator)
    with torch.no_grad():
        pool = hand.points(*hand.sample(min(_POOL, steps * batch), generator))
        held_out = diet.serve(hand.points(*hand.sample(_HELD_OUT, generator)), hand.palm_centre, generator)
    with torch.enable_grad():
        optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, _LEARNING_RATE, total_steps=steps + 1, pct_start=_WARM_UP
        )
        for step in range(steps):
            rows = torch.randint(len(pool), (batch,), generator=generator)
            points = diet.serve(pool[rows], hand.palm_centre, generator)
            posterior = network.encode(points)
            noise = torch.randn(posterior.mean.shape, generator=generator)
            decoded = network.decode(posterior.mean + noise * (0.5 * posterior.log_variance).exp())
            misfit = (decoded - points).square().sum((-1, -2)) / (2 * sigma_mm**2)
            optimiser.zero_grad(set_to_none=True)
            (misfit + posterior.divergence()).mean().backward()
            optimiser.step()
            schedule.step()
            if (step + 1) % _REPORT_EVERY == 0 or step + 1 == steps:
                progress(step + 1, steps, "training the VAE prior on sampled poses")
    with torch.no_grad():
        error = (network.decode(network.encode(held_out).mean) - held_out).norm(dim=-1).mean()
    return Trained(network.requires_grad_(False), float(error))
