"""One training step's computation: a batch through the network, held against the data by a stage's terms.

Static shapes and tensor code only: no value is read back to the host, so that a GPU never waits (a test runs it on the
`meta` device).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpf_core.energy import Energy, EnergyValue
from hpf_core.engine.build import Parts
from hpf_core.fit import Fit
from hpf_core.frames import Estimate, RealFrames, SyntheticSamples


@dataclass(frozen=True)
class Batch:
    """What a step draws."""

    real: RealFrames | None
    synthetic: SyntheticSamples | None

    @property
    def images(self) -> int:
        """Number of depth maps that go through the network."""
        real = 0 if self.real is None else len(self.real.views.rows)
        return real + (0 if self.synthetic is None else len(self.synthetic.depth))


@dataclass(frozen=True)
class StepValue:
    """What a step computed: the energy, the fits of each stack, and the mean peak of the heatmaps on real images."""

    energy: EnergyValue
    fits: tuple[Fit, ...]
    peak: Tensor | None


def compute(
    parts: Parts,
    energy: Energy,
    batch: Batch,
    generator: torch.Generator | None = None,
    counts: Sequence[bool] | None = None,
) -> StepValue:
    """The loss of a batch and what it was made from. `generator` feeds the transforms; `counts`: see `Energy`."""
    images, undo = _images(parts, batch, generator)
    count = 0 if batch.real is None else len(batch.real.views.rows)
    target = parts.backbone.labels(batch.synthetic.points) if batch.synthetic is not None else None
    fits = []
    for estimate in parts.backbone(images):
        real = _undone(estimate.take(slice(0, count)), undo) if batch.real is not None else None
        fits.append(
            Fit(
                hand=parts.hand,
                renderer=parts.renderer,
                grid=parts.grid,
                frames=batch.real,
                samples=batch.synthetic,
                real=real,
                synthetic=estimate.take(slice(count, None)) if batch.synthetic is not None else None,
                target=target,
            )
        )
    return StepValue(energy(fits, counts), tuple(fits), _peak(fits[-1].real))


def _images(parts: Parts, batch: Batch, generator: torch.Generator | None) -> tuple[Tensor, list]:
    """All of the batch's depth maps (N, H, W): the present real views, then the synthetic ones."""
    pieces: list[Tensor] = []
    undo: list = []
    if batch.real is not None:
        depth = batch.real.depth.flatten(0, 1).index_select(0, batch.real.views.rows)
        for transform in parts.transforms:
            if "real" in transform.applies_to and generator is not None:
                depth, back = transform(depth, generator)
                undo.insert(0, back)
        pieces.append(depth)
    if batch.synthetic is not None:
        depth = batch.synthetic.depth
        for transform in parts.transforms:
            if "synthetic" in transform.applies_to and generator is not None:
                depth, _ = transform(depth, generator)
        pieces.append(depth)
    return torch.cat(pieces), undo


def _undone(estimate: Estimate, undo: Sequence) -> Estimate:
    """The estimate with its points taken back through the transforms."""
    points = estimate.points
    for back in undo:
        points = back(points)
    return Estimate(points, estimate.heatmaps, estimate.latent_depth, estimate.spread, estimate.pose, estimate.shape)


def _peak(real: Estimate | None) -> Tensor | None:
    if real is None or real.heatmaps is None or not len(real.heatmaps):
        return None
    return real.heatmaps.detach().amax((-2, -1)).mean()
