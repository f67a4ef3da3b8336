"""One training step's computation: passes a batch through the network and compares the result with the data.

Code has static shapes and only tensor operations. It reads no value back to the host, so a GPU never waits (a test runs
it on the `meta` device).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from hpf_core.frames import Estimate, RealFrames, SyntheticSamples
from hpf_core.inference.build import Parts
from hpf_core.interfaces import Transform
from hpf_core.objective.depth_maps import DepthMaps
from hpf_core.objective.energy import Energy, EnergyValue, Sums
from hpf_core.objective.fit import Fit

Precision = Literal["float32", "bf16"]


@dataclass(frozen=True)
class Place:
    """Offset of a process' share in the draw of a step, and the size of the draw."""

    frame: int
    frames: int
    sample: int
    samples: int


@dataclass(frozen=True)
class Batch:
    """The draw of a step, or a process' share of it.

    Attributes:
        real, synthetic: the images; None for a kind without images.
        place: position of the images in the full batch; None for the full batch.
        stand_in: whether this process has no share. Its images then only keep it synchronised, and no term counts on
        them.
    """

    real: RealFrames | None
    synthetic: SyntheticSamples | None
    place: Place | None = None
    stand_in: bool = False

    @property
    def images(self) -> int:
        """Number of depth maps in the network's input."""
        if self.stand_in:
            return 0
        real = 0 if self.real is None else len(self.real.views.rows)
        return real + (0 if self.synthetic is None else len(self.synthetic.depth))


@dataclass(frozen=True)
class StepValue:
    """Results of a step: the energy, the fits of each stack, and the mean peak of the heatmaps on real images."""

    energy: EnergyValue
    fits: tuple[Fit, ...]
    peak: Tensor | None


class Computation:
    """A stage's computation for all of its steps.

    Args:
        parts: the built recipe.
        energy: the stage's terms.
        device: device of the parts.
        precision: of the network; `bf16` is autocast. The soft-argmax and everything after it stay float32.
        compiled: whether to compile network and terms, each to one graph; on a GPU to CUDA graphs.
    """

    def __init__(
        self,
        parts: Parts,
        energy: Energy,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        compiled: bool = False,
    ) -> None:
        self.parts, self.energy = parts, energy
        self._cast: AbstractContextManager = nullcontext()
        if precision == "bf16":
            self._cast = torch.autocast(torch.device(device).type, torch.bfloat16)
        self._graphs = compiled and torch.device(device).type == "cuda"
        self._network: Callable[..., Any] = self._estimate
        self._terms: Callable[..., Any] = self._judge
        if compiled:
            # PyTorch counts graphs over all stages and refuses a ninth of one function. So this drops those of the last
            # stage.
            torch.compiler.reset()
            # Each compiles to one graph, or raises an error with the reason of a break. If sizes differ between steps
            # (frames without all views), a second graph takes any size, which rules out CUDA graphs.
            options = {"triton.cudagraphs": True, "triton.cudagraph_skip_dynamic_graphs": True}
            made = partial(torch.compile, fullgraph=True, options=options if self._graphs else None)
            self._network, self._terms = made(self._estimate), made(self._judge)

    def __call__(
        self,
        batch: Batch,
        generator: torch.Generator | None = None,
        counts: Sequence[bool] | None = None,
        measure_gradients: bool = False,
    ) -> StepValue:
        """The loss of a batch and its intermediate results.

        Args:
            batch: the images.
            generator: random numbers of the transforms; None for no transforms.
            counts: see `Energy`.
            measure_gradients: whether the caller will need gradients on the points; a compiled graph has none.
        """
        network, terms = (self._estimate, self._judge) if measure_gradients else (self._network, self._terms)
        self._begin()
        parts = self.parts
        images, undo = _images(parts, batch, generator)
        count = 0 if batch.real is None else len(batch.real.views.rows)
        target = parts.backbone.labels(batch.synthetic.points) if batch.synthetic is not None else None
        real, synthetic = [], []
        for estimate in network(images):
            real.append(_undone(estimate.take(slice(0, count)), undo) if batch.real is not None else None)
            synthetic.append(estimate.take(slice(count, None)) if batch.synthetic is not None else None)
        if terms == self._judge:
            fits = self._fits(batch.real, batch.synthetic, real, synthetic, target)
            sums = self.energy.sums(fits, counts, inspect=True)
        else:
            sums = terms(
                batch.real, batch.synthetic, real, synthetic, target, None if counts is None else tuple(counts)
            )
            fits = self._fits(batch.real, batch.synthetic, real, synthetic, target)
        return StepValue(self.energy.value(sums), tuple(fits), _peak(fits[-1].real))

    def network_alone(self, images: Tensor) -> Sequence[Estimate]:
        """Depth maps (N, H, W) mm through the network as in a step, one estimate for each stack."""
        self._begin()
        return self._network(images)

    def _begin(self) -> None:
        if self._graphs:
            # From here on, this step overwrites the results of the last step's CUDA graphs. Only `read` keeps any of
            # them, as sums that it computes outside of the graphs.
            torch.compiler.cudagraph_mark_step_begin()

    def _estimate(self, images: Tensor) -> Sequence[Estimate]:
        with self._cast:
            return self.parts.backbone(images)

    def _judge(
        self,
        frames: RealFrames | None,
        samples: SyntheticSamples | None,
        real: Sequence[Estimate | None],
        synthetic: Sequence[Estimate | None],
        target: Estimate | None,
        counts: Sequence[bool] | None,
    ) -> Sums:
        return self.energy.sums(self._fits(frames, samples, real, synthetic, target), counts)

    def _fits(
        self,
        frames: RealFrames | None,
        samples: SyntheticSamples | None,
        real: Sequence[Estimate | None],
        synthetic: Sequence[Estimate | None],
        target: Estimate | None,
    ) -> list[Fit]:
        """One fit for each stack; they share the results that depend only on the depth maps."""
        parts = self.parts
        maps = None if frames is None else DepthMaps(frames, parts.grid)
        return [
            Fit(
                hand=parts.hand,
                renderer=parts.renderer,
                grid=parts.grid,
                frames=frames,
                samples=samples,
                real=on_real,
                synthetic=on_synthetic,
                target=target,
                maps=maps,
            )
            for on_real, on_synthetic in zip(real, synthetic, strict=True)
        ]


def compute(
    parts: Parts,
    energy: Energy,
    batch: Batch,
    generator: torch.Generator | None = None,
    counts: Sequence[bool] | None = None,
) -> StepValue:
    """One `Computation`, in float32 and not compiled."""
    return Computation(parts, energy)(batch, generator, counts)


def _images(parts: Parts, batch: Batch, generator: torch.Generator | None) -> tuple[Tensor, list]:
    """All of the batch's depth maps (N, H, W): the present real views, then the synthetic ones."""
    pieces: list[Tensor] = []
    undo: list = []
    place = batch.place
    if batch.real is not None:
        views = batch.real.views
        depth = batch.real.depth.flatten(0, 1).index_select(0, views.rows)
        first, total = (0, views.frames) if place is None else (place.frame, place.frames)
        for transform in parts.transforms:
            if "real" in transform.applies_to and generator is not None:
                rows = views.rows + first * views.views
                depth, back = _transformed(transform, depth, rows, total * views.views, generator, parts.grid.far_mm)
                undo.insert(0, back)
        pieces.append(depth)
    if batch.synthetic is not None:
        depth = batch.synthetic.depth
        first, total = (0, len(depth)) if place is None else (place.sample, place.samples)
        for transform in parts.transforms:
            if "synthetic" in transform.applies_to and generator is not None:
                rows = torch.arange(first, first + len(depth), device=depth.device)
                depth, _ = _transformed(transform, depth, rows, total, generator, parts.grid.far_mm)
        pieces.append(depth)
    return torch.cat(pieces), undo


def _transformed(
    transform: Transform, depth: Tensor, rows: Tensor, total: int, generator: torch.Generator, far_mm: float
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Depth maps (N, H, W), transformed as rows of the full step's `total`, and the inverse map of their points.

    Each image gets the random numbers of its position, on any process. The transform sees empty maps for images of
    other processes and for absent views. Their content has no effect: the contract requires this of transforms.
    """
    if len(rows) == total:
        return transform(depth, generator)
    empty = depth.new_full((total, *depth.shape[1:]), far_mm)
    seen, back = transform(empty.index_copy(0, rows, depth), generator)

    def mine(points: Tensor) -> Tensor:
        return back(points.new_zeros(total, *points.shape[1:]).index_copy(0, rows, points)).index_select(0, rows)

    return seen.index_select(0, rows), mine


def _undone(estimate: Estimate, undo: Sequence) -> Estimate:
    """The estimate with its points mapped back through the transforms."""
    points = estimate.points
    for back in undo:
        points = back(points)
    return Estimate(points, estimate.heatmaps, estimate.latent_depth, estimate.variance, estimate.pose, estimate.shape)


def _peak(real: Estimate | None) -> Tensor | None:
    if real is None or real.heatmaps is None or not len(real.heatmaps):
        return None
    return real.heatmaps.detach().amax((-2, -1)).mean()
