"""A factor on the hand's radii for each recording, measured on its depth maps with a stage's initial weights.

The spheres' radii are those of one hand (paper, Sec. 3.2). For another hand they are too small or too large, and the
data terms then pull the points towards the surface, or away from it. We compare what the renderer measures on the
recording (`Renderer.measure_radius_scale`) with what it measures on synthetic samples, whose mean factor is 1. Errors
that the network and the renderer always make cancel. No label is read.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hpf_core.errors import InputError
from hpf_core.frames import Estimate, RealFrames, SyntheticSamples, ViewIndex
from hpf_core.inference.build import Parts
from hpf_core.inference.estimate import refined_points
from hpf_core.objective.fit import Fit
from hpf_core.progress import Progress, no_progress
from hpf_core.random_streams import generator

_FRAMES = 32  # per batch; fixed, so that the same weights give the same factors
_SAMPLES = 512  # synthetic ones
_MOST_FRAMES = 512  # of a split, spread evenly: enough for a median of each recording
_STREAM = "thickness"  # the name of the random stream; another name would draw other samples


def measure(parts: Parts, split: str, device: torch.device, progress: Progress = no_progress) -> Tensor:
    """(S,) factors by each recording's index in the split (`RealFrames.sequence`); 1 if unknown.

    The network ends in evaluation mode.

    Raises:
        InputError: the recipe has no synthetic samples to compare with.
    """
    if parts.synthetic is None:
        raise InputError(
            "the renderer measures a radius scale against synthetic samples, but the recipe has no data.synthetic. "
            "Give it one, or set the renderer's `radii: fixed`"
        )
    assert parts.real is not None
    parts.backbone.eval()
    synthetic = [_measured(parts, _as_frames(batch).to(device))[0] for batch in _samples(parts, device)]
    usual = torch.cat(synthetic).nanmedian()
    total = parts.real.splits()[split]
    numbers = torch.linspace(0, total - 1, min(total, _MOST_FRAMES)).round().long().numpy()
    factors, sequence = [], []
    for first in range(0, len(numbers), _FRAMES):
        batch = parts.real.frames(split, numbers[first : first + _FRAMES]).to(device)
        measured, number = _measured(parts, batch)
        factors.append(measured)
        sequence.append(number)
        progress(min(first + _FRAMES, len(numbers)), len(numbers), f"measuring the radius scale on {split}")
    shares, of = torch.cat(factors) / usual, torch.cat(sequence)
    scale = torch.ones(int(of.max()) + 1, device=device)
    for recording in of.unique().tolist():
        median = shares[of == recording].nanmedian()
        scale[recording] = torch.where(median.isfinite(), median, 1.0)
    return scale


@torch.no_grad()
def _measured(parts: Parts, frames: RealFrames) -> tuple[Tensor, Tensor]:
    """(N,) the renderer's measurement for each view, and its recording (N,)."""
    rows = frames.views.rows
    points = refined_points(parts.backbone, parts.refiners, frames.depth.flatten(0, 1)[rows])[-1]
    fit = Fit(hand=parts.hand, renderer=parts.renderer, grid=parts.grid, frames=frames, real=Estimate(points))
    queries, valid = fit.surface_points()
    hand = valid & ~fit.forearm(False, queries, valid)
    return parts.renderer.measure_radius_scale(points, queries, hand), frames.sequence[frames.views.frame]


def _samples(parts: Parts, device: torch.device) -> list[SyntheticSamples]:
    assert parts.synthetic is not None
    source = generator(device, 0, _STREAM)
    return [parts.synthetic.sample(_FRAMES, source) for _ in range(_SAMPLES // _FRAMES)]


def _as_frames(samples: SyntheticSamples) -> RealFrames:
    """Each sample as a frame with one view."""
    count, device = len(samples.depth), samples.depth.device
    number = torch.arange(count, device=device)
    return RealFrames(
        depth=samples.depth[:, None],
        state=samples.state[:, None],
        present=torch.ones(count, 1, dtype=torch.bool, device=device),
        to_rig=torch.eye(4, device=device).expand(count, 1, 4, 4),
        views=ViewIndex.of(torch.ones(count, 1, dtype=torch.bool).numpy()),
        sequence=torch.zeros_like(number),
        time=number.double(),
        index=number,
        cube_mm=samples.cube_mm,
    )
