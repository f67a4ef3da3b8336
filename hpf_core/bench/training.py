"""Benchmark of training steps: whole and in parts."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from hpf_core.engine.draw import frame_numbers
from hpf_core.engine.step import Batch
from hpf_core.engine.train import TRAIN_SPLIT, StageTrainer
from hpf_core.errors import InputError
from hpf_core.frames import RealFrames, SyntheticSamples
from hpf_core.inference.build import Parts
from hpf_core.progress import Progress
from hpf_core.recipe import Resolved, StagePlan


class Training:
    """Steps of a recipe's stages `pretrain` and `fit`. Each call makes one step that changes the weights.

    Args:
        parts: the built recipe, on the device.
        resolved: the recipe. Its `runtime` sets the steps' precision and compilation.
        device: device of the parts.
        progress: receives the progress of the preparation: the dataset, the frozen prior.

    Raises:
        InputError: the recipe lacks one of the stages.
    """

    def __init__(self, parts: Parts, resolved: Resolved, device: torch.device, progress: Progress) -> None:
        parts.to("cpu")
        parts.prepare(progress)
        parts.to(device)
        parts.backbone.train()
        seed, runtime = resolved.recipe.seed, resolved.recipe.runtime
        plans = {plan.name: plan for plan in resolved.stages}
        self._pretrain, self._fit = (
            StageTrainer(
                parts, _stage(plans, name), seed, device, precision=runtime.precision, compiled=runtime.compile
            )
            for name in ("pretrain", "fit")
        )
        self._parts = parts
        self._steps = 0

    @property
    def pretrain_draw(self) -> int:
        """Number of samples in a pretraining step."""
        return self._pretrain.plan.draw_synthetic

    @property
    def fit_draw(self) -> int:
        """Number of real frames in a fitting step."""
        return self._fit.plan.draw_real

    # --------------------------------------------------------------------------- the network alone, and with the terms

    @cached_property
    def batch(self) -> Batch:
        """The batch of one fitting step, for `bare_step` and `step`."""
        return self._fit.batch(0)

    @cached_property
    def _images(self) -> Tensor:
        """(N, H, W), the batch's depth maps."""
        real, synthetic = self.batch.real, self.batch.synthetic
        pieces = [] if real is None else [real.depth.flatten(0, 1)[real.views.rows]]
        return torch.cat([*pieces, *([] if synthetic is None else [synthetic.depth])])

    def bare_step(self) -> None:
        """Forward and backward pass of the batch with a very cheap loss, and one step of Adam."""
        loss = torch.zeros((), device=self._images.device)
        for estimate in self._fit.computation.network_alone(self._images):
            for value in (estimate.points, estimate.heatmaps, estimate.latent_depth):
                if value is not None:
                    loss = loss + value.mean()
        self._descend(loss)

    def step(self) -> None:
        """The same with all terms and priors of the stage, as in a run."""
        self._descend(self._fit.computation(self.batch).energy.total)

    def _descend(self, loss: Tensor) -> None:
        self._fit.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._fit.optimiser.step()

    # ---------------------------------------------------------------------------------------- steps with what they draw

    def pretrain_step(self) -> None:
        """A pretraining step including its draw."""
        self._pretrain.step(self._next())

    def synthesise(self) -> SyntheticSamples | None:
        """Draw the samples of a pretraining step."""
        return self._pretrain.batch(self._next()).synthetic

    def fed_step(self) -> None:
        """A fitting step including its draw."""
        self._fit.step(self._next())

    def feed(self) -> RealFrames:
        """Load the real frames of a fitting step onto the device."""
        assert self._parts.real is not None, "the recipe was checked: its stage draws real frames"
        draw = self.fit_draw
        numbers = frame_numbers(self._fit.seed, "bench/real", self._next() * draw, draw, self._fit.frames)
        return self._parts.real.frames(TRAIN_SPLIT, numbers).to(self._fit.device)

    def _next(self) -> int:
        """The number of a new step. Every step behaves as the first in its schedule."""
        self._steps += 1
        return self._steps % min(self._pretrain.plan.steps, self._fit.plan.steps)


def _stage(plans: dict[str, StagePlan], name: str) -> StagePlan:
    if name not in plans:
        raise InputError(f"the recipe to measure steps of lacks a stage '{name}'; it has {', '.join(plans)}")
    return plans[name]
