"""Trains the palm's denoiser on noisy sampled poses, on the CPU and from one seed: the same on every machine."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from hpf_core.geometry.rotations import sample_view
from hpf_core.interfaces import HandModel
from hpf_core.progress import Progress

_POOL = 16384  # poses; each draw rotates a pose anew
_HELD_OUT = 2048
_LEARNING_RATE = 3e-3
_WARM_UP = 0.1
_SCALE_MM = 100.0  # the unit of the network's inputs and outputs
_REPORT_EVERY = 50


class PalmNetwork(nn.Module):
    """All points (N, J, 3) mm to the K palm points (N, K, 3) mm: 3J - width - width - 3K.

    Inputs are relative to the mean of all points, so the position of the hand has no effect. Outputs are offsets of the
    palm points, so an untrained network leaves the points unchanged.
    """

    def __init__(self, points: int, palm: Tensor, width: int, generator: torch.Generator) -> None:
        """Draw the weights from `generator` (on the CPU); `palm` (K,) int64 are the palm points."""
        super().__init__()
        self.palm: Tensor
        self.register_buffer("palm", palm, persistent=False)
        modules: list[nn.Module] = []
        for size_in, size_out in pairwise((3 * points, width, width, 3 * len(palm))):
            # skip_init doesn't change the global random state.
            layer = skip_init(nn.Linear, size_in, size_out)
            with torch.no_grad():
                layer.weight.normal_(0, (2 / size_in) ** 0.5, generator=generator)
                layer.bias.zero_()
            modules += [layer, nn.SiLU()]
        self.layers = nn.Sequential(*modules[:-1])
        with torch.no_grad():
            layer.weight.zero_()

    def forward(self, points: Tensor) -> Tensor:
        """Palm points (N, K, 3) mm of points (N, J, 3) mm."""
        centred = points - points.mean(dim=1, keepdim=True)
        return points[:, self.palm] + self.layers(centred.flatten(1) / _SCALE_MM).unflatten(-1, (-1, 3)) * _SCALE_MM


@dataclass(frozen=True)
class Trained:
    """A trained network, and the mean error in mm of noisy held-out palm points, before and after denoising."""

    network: PalmNetwork
    noisy_mm: float
    held_out_mm: float


def train(
    hand: HandModel,
    palm: Tensor,
    *,
    width: int,
    noise_mm: float,
    cone_deg: float,
    roll_deg: float,
    steps: int,
    batch: int,
    seed: int,
    progress: Progress,
) -> Trained:
    """Least squares with Adam and one cycle of the learning rate; bitwise deterministic.

    Args:
        palm: (K,) int64, the points of the network's output.
        noise_mm: standard deviation of the noise on every coordinate of every point, mm.
        cone_deg, roll_deg: range of the global rotation, see `hpf_core.geometry.rotations.sample_view`.
    """
    hand, palm = copy.deepcopy(hand).cpu(), palm.cpu()
    generator = torch.Generator().manual_seed(seed)
    network = PalmNetwork(len(hand.names), palm, width, generator)

    def seen(own: Tensor) -> tuple[Tensor, Tensor]:
        """Randomly rotated hands, with noise and without."""
        turned = own @ sample_view(len(own), generator, cone_deg, roll_deg).transpose(-1, -2)
        return turned + noise_mm * torch.randn(turned.shape, generator=generator), turned

    with torch.no_grad():
        pool = hand.points(*hand.sample(min(_POOL, steps * batch), generator))
        held_out, truth = seen(hand.points(*hand.sample(_HELD_OUT, generator)))
    with torch.enable_grad():
        optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, _LEARNING_RATE, total_steps=steps + 1, pct_start=_WARM_UP
        )
        for step in range(steps):
            noisy, clean = seen(pool[torch.randint(len(pool), (batch,), generator=generator)])
            loss = (network(noisy) - clean[:, palm]).square().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if (step + 1) % _REPORT_EVERY == 0 or step + 1 == steps:
                progress(step + 1, steps, "training the palm's denoiser on sampled poses")
    with torch.no_grad():
        before = (held_out - truth)[:, palm].norm(dim=-1).mean()
        after = (network(held_out) - truth[:, palm]).norm(dim=-1).mean()
    return Trained(network.requires_grad_(False), float(before), float(after))
