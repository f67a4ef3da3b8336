"""One stage's training: the same loop for pretraining, fitting and controls."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from hpf_core.engine.average import WeightAverage
from hpf_core.engine.distributed import ALONE, World
from hpf_core.engine.draw import chunks, frame_numbers
from hpf_core.engine.step import Batch, Computation, Place, Precision, StepValue
from hpf_core.errors import DataError, RunError, SaidElsewhere
from hpf_core.frames import RealFrames, SyntheticSamples
from hpf_core.inference.build import Parts
from hpf_core.interfaces import Prior
from hpf_core.random_streams import generator
from hpf_core.recipe import StagePlan
from hpf_core.runs import checkpoint as files

TRAIN_SPLIT = "train"

SAMPLES_AT_ONCE = 64
"""Synthetic samples per generator: a process makes the chunks that contain its share of a batch."""


@dataclass(frozen=True)
class StepReport:
    """Results of one step. Tensors stay on the device; `read` transfers them together.

    Attributes:
        step: number of steps so far, including this one.
        value: the computation.
        images: number of depth maps in the input of this process' network.
        norm: scalar, norm of the loss' gradient on the weights before clipping.
        gradients: (T,), see `Energy.gradients`; only in steps that measure them.
        counts: the terms that count; None if all do.
    """

    step: int
    value: StepValue
    images: int
    norm: Tensor
    gradients: Tensor | None
    counts: tuple[bool, ...] | None = None


class StageTrainer:
    """A stage: its energy, its optimiser, and the draws of each step.

    Args:
        parts: the built recipe; `parts.backbone` is trained in place.
        plan: the stage.
        seed: seed of the run.
        device: device of all tensors.
        world: the processes that share each batch; their sum equals a step of one process.
        precision, compiled: see `Computation`.

    Attributes:
        radius_scale: (S,) on the host, the factor on the radii for each recording, or None.
    """

    def __init__(
        self,
        parts: Parts,
        plan: StagePlan,
        seed: int,
        device: torch.device | str,
        world: World = ALONE,
        precision: Precision = "float32",
        compiled: bool = False,
    ) -> None:
        self.parts = parts
        self.world = world
        self.plan = plan
        self.seed = seed
        self.device = torch.device(device)
        self.energy = parts.energy(plan, None if world.alone else world.sum).to(self.device)
        self.computation = Computation(parts, self.energy, self.device, precision, compiled)
        self._parameters = list(parts.backbone.parameters())
        self.optimiser = torch.optim.Adam(
            self._parameters,
            lr=plan.lr,
            weight_decay=plan.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self._average = None if plan.ema is None else WeightAverage(parts.backbone, plan.ema)
        # A control has the same synthetic draws as its stage.
        self.stream = plan.control_of or plan.name
        self.frames = 0
        self.radius_scale: Tensor | None = None
        if plan.draw_real:
            self.frames = train_frames(parts, plan)
        # Non-finite results so far (each term, their sum, its gradient): recorded on the device, read at intervals.
        self._bad = torch.zeros(len(self.energy.names) + 2, dtype=torch.bool, device=self.device)

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        plan = self.plan
        rate = plan.lr
        if plan.schedule == "steps":
            rate *= 0.1 ** ((step >= plan.steps / 3) + (step >= plan.steps * 2 / 3))
        elif plan.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        return rate * min(1.0, (step + 1) / (plan.warmup + 1), (plan.steps - step) / (plan.cooldown + 1))

    def batch(self, step: int) -> Batch:
        """Images of step `step`, or this process' share: a function of the seed, the stage and the step."""
        plan, world = self.plan, self.world
        (frame, frames), (sample, samples) = world.share(plan.draw_real), world.share(plan.draw_synthetic)
        place = None if world.alone else Place(frame, plan.draw_real, sample, plan.draw_synthetic)
        if frames or samples:
            real = self._real(step, frame, frames) if frames else None
            return Batch(real, self._synthetic(step, sample, samples) if samples else None, place)
        # With more processes than images, this process uses the batch's first image, which won't count.
        beginning = Place(0, plan.draw_real, 0, plan.draw_synthetic)
        if plan.draw_synthetic:
            return Batch(None, self._synthetic(step, 0, 1), beginning, stand_in=True)
        return Batch(self._real(step, 0, 1), None, beginning, stand_in=True)

    def _real(self, step: int, first: int, count: int) -> RealFrames:
        """`count` of the step's real frames."""
        assert self.parts.real is not None
        begins = step * self.plan.draw_real + first
        numbers = frame_numbers(self.seed, f"{self.stream}/real", begins, count, self.frames, self.plan.draw_clip)
        real = self.parts.real.frames(TRAIN_SPLIT, numbers)
        if self.radius_scale is not None:
            real = replace(real, radius_scale=self.radius_scale[real.sequence])
        if self.device.type == "cuda":
            # A copy from pageable memory would wait for the GPU's pending work.
            real = real.pin_memory()
        return real.to(self.device, non_blocking=True)

    def _synthetic(self, step: int, first: int, count: int) -> SyntheticSamples:
        """`count` of the step's samples. Chunks are drawn completely, so that samples don't depend on the process."""
        assert self.parts.synthetic is not None
        drawn = []
        for chunk, size, wanted in chunks(first, count, self.plan.draw_synthetic, SAMPLES_AT_ONCE):
            source = generator(self.device, self.seed, self.stream, "synthetic", step, *([chunk] if chunk else []))
            drawn.append(self.parts.synthetic.sample(size, source).take(wanted))
        return drawn[0] if len(drawn) == 1 else SyntheticSamples.joined(drawn)

    def _counted(self, batch: Batch, counts: tuple[bool, ...] | None) -> tuple[bool, ...] | None:
        """The terms that count on this process' share: those that count in the step and have their inputs."""
        there = {"real": batch.real is not None, "synthetic": batch.synthetic is not None}
        lacks = {name for name, is_there in there.items() if batch.stand_in or not is_there}
        if self.world.alone or not lacks:
            return counts
        found = []
        for part, term, now in zip(
            self.plan.terms, self.energy.terms, counts or [True] * len(self.plan.terms), strict=True
        ):
            needs = {"real"} if isinstance(term, Prior) else part.spec.needs
            found.append(now and not batch.stand_in and not needs & lacks)
        return tuple(found)

    def step(self, step: int, measure_gradients: bool = False) -> StepReport:
        """Make step `step`, counted from 0.

        With `measure_gradients`, the report has the gradient of each term on the points.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
        batch = self.batch(step)
        counts = self.plan.counts(step)
        drawn = generator(self.device, self.seed, self.stream, "transform", step)
        self.optimiser.zero_grad(set_to_none=True)
        value, gradients = self._backward(batch, drawn, counts, measure_gradients)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        if self.plan.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self.plan.clip_norm, norm)
        seen = [value.energy.raw.detach(), value.energy.total.detach()[None], norm.to(value.energy.raw)[None]]
        self._bad |= ~torch.isfinite(torch.cat(seen))
        if self.device.type == "cpu":
            # The check is free on this device: stop before the step corrupts the weights.
            self.check_finite(step)
        self.optimiser.step()
        if self._average is not None:
            self._average.update(step)
        return StepReport(step + 1, value, batch.images, norm.detach(), gradients, counts)

    def _backward(
        self, batch: Batch, drawn: torch.Generator, counts: tuple[bool, ...] | None, measure_gradients: bool
    ) -> tuple[StepValue, Tensor | None]:
        """The batch's loss, and its gradient on the weights; summed over all processes' shares."""
        made: list[tuple[StepValue, Tensor | None]] = []

        def loss() -> Tensor:
            value = self.computation(batch, drawn, self._counted(batch, counts), measure_gradients)
            made.append((value, self.energy.gradients(value.energy, value.fits[-1]) if measure_gradients else None))
            return value.energy.total

        if self.world.alone:
            loss().backward()
            return made[0]

        def share() -> Tensor:
            total = loss() * self.world.size  # DDP divides by the number of processes
            if not total.requires_grad:  # no term counts on this share
                points = [e.points for e in (made[0][0].fits[-1].real, made[0][0].fits[-1].synthetic) if e is not None]
                total = total + 0 * sum(p.sum() for p in points)
            return total

        self.world.shared(self.parts.backbone)(share).backward()
        value, gradients = made[0]
        return replace(value, peak=self._peak(value, batch)), gradients

    def _peak(self, value: StepValue, batch: Batch) -> Tensor | None:
        """The mean peak over all processes' real images; None if the stage draws none."""
        if not self.plan.draw_real:
            return None
        none = value.peak is None or batch.real is None or batch.stand_in
        count = 0 if none or batch.real is None else len(batch.real.views.rows)
        peak = torch.zeros_like(value.energy.total.detach()) if none or value.peak is None else value.peak
        added, images = self.world.sum(torch.stack([peak * count, torch.full_like(peak, count)])).unbind()
        return added / images

    def check_finite(self, step: int) -> None:
        """Raise RunError with the terms' names if a loss or its gradient was non-finite in this stage."""
        *bad, bad_sum, bad_gradient = self._bad.tolist()
        named = [name for name, is_bad in zip(self.energy.names, bad, strict=True) if is_bad]
        if not (named or bad_sum or bad_gradient):
            return
        # A non-finite loss has a non-finite gradient: the first one is the cause.
        what = f"loss of {', '.join(named) or 'the sum of all terms'}" if named or bad_sum else "loss's gradient"
        kind = RunError if self.world.writes else SaidElsewhere  # all processes find the same error
        raise kind(
            f"the {what} isn't finite at step {step + 1} of stage '{self.plan.name}'; the last checkpoint is from "
            "before. Try a lower lr or a clip_norm, and check the frames of this step"
        )

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of a checkpoint."""
        average = {} if self._average is None else self._average.tensors()
        return {**files.model_tensors(self.parts.backbone), **files.optimiser_tensors(self.optimiser), **average}

    def restore(self, checkpoint: files.Checkpoint, path: Path, optimised: list[int]) -> None:
        """Continue from a checkpoint; `optimised` as in `files.load_optimiser`.

        Raises:
            DataError: the checkpoint belongs to another network; nothing was changed.
        """
        files.check_model(self.parts.backbone, checkpoint, path)
        if self._average is not None:
            self._average.check(checkpoint.tensors, path)
        files.load_optimiser(self.optimiser, checkpoint, path, optimised)
        files.load_model(self.parts.backbone, checkpoint, path)
        if self._average is not None:
            self._average.restore(checkpoint.tensors, path)

    def begin(self) -> None:
        """Start the average from the network's current weights."""
        if self._average is not None:
            self._average.begin()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averaged weights, if any, into the network in this context."""
        if self._average is None:
            yield
            return
        with self._average.in_place():
            yield

    def steps(self, done: int, gradients_every: int) -> Iterator[StepReport]:
        """Make the remaining steps."""
        self.parts.backbone.train()
        for step in range(done, self.plan.steps):
            yield self.step(step, measure_gradients=step % gradients_every == 0)


def train_frames(parts: Parts, plan: StagePlan) -> int:
    """Number of real frames that a stage draws from.

    Raises:
        DataError: there are none.
    """
    assert parts.real is not None, "the recipe was checked: a stage that draws real frames has a dataset"
    sizes = parts.real.splits()
    if not sizes.get(TRAIN_SPLIT):
        there = ", ".join(f"{name} ({count})" for name, count in sizes.items()) or "none"
        raise DataError(
            f"stage '{plan.name}' draws real frames, which come from the dataset's split '{TRAIN_SPLIT}', but it is "
            f"missing or empty; splits with their frames: {there}"
        )
    return sizes[TRAIN_SPLIT]


def read(report: StepReport, names: tuple[str, ...], weights: Tensor, rate: float) -> dict[str, object]:
    """A step's row of metrics.jsonl, with one transfer from the device; it omits terms that didn't count."""
    energy = report.value.energy
    peak = report.value.peak
    columns = [energy.total.detach()[None], report.norm[None], energy.raw.detach()]
    columns.append(report.gradients if report.gradients is not None else energy.raw.detach() * torch.nan)
    columns.append((peak if peak is not None else energy.total.detach() * torch.nan)[None])
    numbers = torch.cat([c.double() for c in columns]).tolist()
    count = len(names)
    counted = {n for n, now in zip(names, report.counts or [True] * count, strict=True) if now}
    raw = {n: value for n, value in zip(names, numbers[2 : 2 + count], strict=True) if n in counted}
    row: dict[str, object] = {
        "step": report.step,
        "loss": numbers[0],
        "gradient_norm": numbers[1],
        "lr": rate,
        "raw": raw,
        "weighted": {n: raw[n] * w for n, w in zip(names, weights.tolist(), strict=True) if n in counted},
    }
    if report.gradients is not None:
        found = dict(zip(names, numbers[2 + count : 2 + 2 * count], strict=True))
        row["gradient"] = {n: (None if math.isnan(g) else g) for n, g in found.items() if n in counted}
    if not math.isnan(numbers[-1]):
        row["peak"] = numbers[-1]
    return row
