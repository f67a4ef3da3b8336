"""A dry run: estimates the cost of a recipe's stages from the speed on this machine."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from hpf_core.engine.deterministic import deterministic
from hpf_core.engine.live_memory import LiveMemory, largest_batch
from hpf_core.engine.memory import device_memory
from hpf_core.engine.step import Batch, Computation
from hpf_core.engine.threads import fastest_threads
from hpf_core.frames import RealFrames, State, ViewIndex
from hpf_core.guests import blamed
from hpf_core.inference.build import Parts, build_parts, choose_device, load_init
from hpf_core.progress import Progress, no_progress
from hpf_core.random_streams import generator
from hpf_core.recipe import Resolved, StagePlan
from hpf_core.recipe.models import Runtime
from hpf_core.runs.folder import check_stages

_WARM_UP, _MEASURED = 2, 6
_WITH_BUFFERS = 1.5  # memory of a process on CPUs, as a factor on that of its tensors: 1.44 to 1.55, quickstart's fit
VIEWS = 3
"""Number of views of the substitute frames."""


@dataclass(frozen=True)
class StageEstimate:
    """Cost of a stage, measured over a few steps on substitute frames of the same size.

    Attributes:
        memory_mib: peak memory: of the GPU in this stage if used, else of the entire process so far.
            NaN on Windows, which does not count it.
        largest_batch: number of depth maps of the largest step that fits the device's memory (`live_memory.py`); None
            if the size of the memory is unknown.
        hours: only the stage's steps, without caches, reading of real frames, pictures and evaluation.
    """

    stage: str
    steps: int
    images_per_step: int
    images_per_second: float
    hours: float
    memory_mib: float
    largest_batch: int | None
    terms: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def estimate(resolved: Resolved, progress: Progress = no_progress) -> list[StageEstimate]:
    """Build all parts, prepare the priors (which are cached), and time a few steps of each stage.

    Renders with three views replace real frames, so that no dataset needs decoding.
    """
    recipe = resolved.recipe
    device = choose_device(recipe.runtime.device)
    if recipe.runtime.threads is not None:
        torch.set_num_threads(recipe.runtime.threads)
    check_stages(resolved)
    with deterministic(device):
        parts = build_parts(resolved)
        load_init(resolved, parts)
        if recipe.runtime.threads is None and device.type == "cpu":
            torch.set_num_threads(fastest_threads(parts))
        with blamed(parts.owners):
            parts.prepare_terms(progress)
            parts.to(device)
            return [_stage(plan, parts, recipe.seed, device, recipe.runtime) for plan in resolved.stages]


def _stage(plan: StagePlan, parts: Parts, seed: int, device: torch.device, runtime: Runtime) -> StageEstimate:
    computation = Computation(parts, parts.energy(plan).to(device), device, runtime.precision, runtime.compile)
    plain = Computation(parts, parts.energy(plan).to(device), device, runtime.precision)
    optimiser = torch.optim.Adam(parts.backbone.parameters(), lr=0.0, fused=device.type in ("cpu", "cuda"))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = 0.0
    images = 0
    step_bytes = 0
    for step in range(_WARM_UP + _MEASURED):
        real = _stand_in(parts, plan.draw_real, seed, device) if plan.draw_real else None
        began = time.perf_counter()
        synthetic = None
        if plan.draw_synthetic and parts.synthetic is not None:
            synthetic = parts.synthetic.sample(plan.draw_synthetic, generator(device, seed, "dry", step))
        batch = Batch(real, synthetic)
        # A compiled step can't be counted, so the step that counts isn't compiled.
        counts = step == 1 and device.type == "cpu"
        with LiveMemory() if counts else nullcontext() as live:
            value = (plain if counts else computation)(batch, generator(device, seed, "dry", "transform", step))
            optimiser.zero_grad(set_to_none=True)
            value.energy.total.backward()
        if live is not None:
            step_bytes = int(_WITH_BUFFERS * live.peak)
        optimiser.step()
        float(value.energy.total.detach())  # synchronises with a GPU
        images = batch.images
        if step >= _WARM_UP:
            seconds += time.perf_counter() - began
    rate = images * _MEASURED / max(seconds, 1e-9)
    fixed = 4 * sum(p.numel() * p.element_size() for p in parts.backbone.parameters())  # with gradient and moments
    if device.type == "cuda":
        fixed = torch.cuda.memory_allocated(device)
        step_bytes = torch.cuda.max_memory_allocated(device) - fixed
    total = device_memory(device)
    return StageEstimate(
        stage=plan.name,
        steps=plan.steps,
        images_per_step=images,
        images_per_second=round(rate, 1),
        hours=round(plan.steps * images / rate / 3600, 3),
        memory_mib=round(_memory(device), 1),
        largest_batch=largest_batch(total, fixed, step_bytes, images) if total and step_bytes else None,
        terms=tuple(t.name for t in plan.terms),
    )


def _stand_in(parts: Parts, frames: int, seed: int, device: torch.device) -> RealFrames:
    """Frames of the recipe's size. All views see the same hand from the same side."""
    with torch.no_grad():
        drawn = parts.hand.sample(frames, generator(device, seed, "dry", "frames"))
        seen = parts.renderer.depth(parts.hand.points(drawn.pose, drawn.shape), parts.grid)
    depth = seen.depth[:, None].repeat(1, VIEWS, 1, 1)
    state = torch.where(seen.hit, int(State.HIT), int(State.EMPTY)).to(torch.uint8)[:, None].repeat(1, VIEWS, 1, 1)
    numbers = torch.arange(frames, device=device)
    present = np.ones((frames, VIEWS), dtype=bool)
    return RealFrames(
        depth=depth,
        state=state,
        present=torch.from_numpy(present).to(device),
        to_rig=torch.eye(4, device=device).expand(frames, VIEWS, 4, 4).contiguous(),
        views=ViewIndex.of(present).to(device),
        sequence=torch.zeros_like(numbers),
        time=numbers.double(),
        index=numbers,
        cube_mm=parts.grid.cube_mm,
    )


def _memory(device: torch.device) -> float:
    """MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource  # not on Windows
    except ImportError:
        return float("nan")
    # ru_maxrss is in KiB on Linux and in bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
