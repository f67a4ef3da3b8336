"""Steps of training, whole and in parts."""

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
    """Steps of a recipe's stages `pretrain` and `fit`, each call one step that changes the weights.

    Args:
        parts: the built recipe, on the device.
        resolved: the recipe; its `runtime` says in which precision steps are computed, and whether they are compiled.
        device: where the parts are.
        progress: told of what must be made first: the dataset, the frozen prior.

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
        """Samples of a pretraining step."""
        return self._pretrain.plan.draw_synthetic

    @property
    def fit_draw(self) -> int:
        """Real frames of a fitting step."""
        return self._fit.plan.draw_real

    # --------------------------------------------------------------------------- the network alone, and with the terms

    @cached_property
    def batch(self) -> Batch:
        """What one fitting step draws; `bare_step` and `step` work on it."""
        return self._fit.batch(0)

    @cached_property
    def _images(self) -> Tensor:
        """(N, H, W), the batch's depth maps."""
        real, synthetic = self.batch.real, self.batch.synthetic
        pieces = [] if real is None else [real.depth.flatten(0, 1)[real.views.rows]]
        return torch.cat([*pieces, *([] if synthetic is None else [synthetic.depth])])

    def bare_step(self) -> None:
        """The batch through the network and back, by a loss that costs next to nothing, and one step of Adam."""
        loss = torch.zeros((), device=self._images.device)
        for estimate in self._fit.computation.network_alone(self._images):
            for value in (estimate.points, estimate.heatmaps, estimate.latent_depth):
                if value is not None:
                    loss = loss + value.mean()
        self._descend(loss)

    def step(self) -> None:
        """The same with all of the stage's terms and priors, as a run makes it."""
        self._descend(self._fit.computation(self.batch).energy.total)

    def _descend(self, loss: Tensor) -> None:
        self._fit.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._fit.optimiser.step()

    # ---------------------------------------------------------------------------------------- steps with what they draw

    def pretrain_step(self) -> None:
        """A step of pretraining with its drawing."""
        self._pretrain.step(self._next())

    def synthesise(self) -> SyntheticSamples | None:
        """The samples of a step of pretraining."""
        return self._pretrain.batch(self._next()).synthetic

    def fed_step(self) -> None:
        """A step of fitting with its drawing."""
        self._fit.step(self._next())

    def feed(self) -> RealFrames:
        """The real frames of a step of fitting, on the device."""
        assert self._parts.real is not None, "the recipe was checked: its stage draws real frames"
        draw = self.fit_draw
        numbers = frame_numbers(self._fit.seed, "bench/real", self._next() * draw, draw, self._fit.frames)
        return self._parts.real.frames(TRAIN_SPLIT, numbers).to(self._fit.device)

    def _next(self) -> int:
        """The number of a step that wasn't made yet; every step is as if it came first in its schedule."""
        self._steps += 1
        return self._steps % min(self._pretrain.plan.steps, self._fit.plan.steps)


def _stage(plans: dict[str, StagePlan], name: str) -> StagePlan:
    if name not in plans:
        raise InputError(f"the recipe to measure steps of lacks a stage '{name}'; it has {', '.join(plans)}")
    return plans[name]
