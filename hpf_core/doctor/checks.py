"""The checks of one device: renderer, distance, terms, a training step, prediction, each against the float64 reference.

Each check gives one or more differences. A difference of values is absolute (mm) or relative; a gradient's is the
norm of the difference by the reference's norm. Rounding may move a silhouette by a pixel, so pixels that one side alone
covers are counted by themselves and left out of the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from hpf_core.doctor.reference import exact, exact_inputs, moved_inputs, tensor_code
from hpf_core.engine.deterministic import deterministic
from hpf_core.engine.step import Batch, Computation, Precision
from hpf_core.errors import HPFError
from hpf_core.inference.build import Parts
from hpf_core.inference.estimate import last_estimate
from hpf_core.interfaces import DataTerm
from hpf_core.objective.energy import Energy, reduce
from hpf_core.objective.fit import Fit
from hpf_core.recipe import StagePlan
from hpf_core.testing import scene

Mode = Literal["float32", "tf32", "bf16", "compile"]
Unit = Literal["mm", "share", "relative"]

MAPS, QUERIES = 12, 256
"""Hands that are rendered and predicted, and points whose distance to each is measured."""


@dataclass(frozen=True)
class Scenes:
    """What all devices are given, made once, in float32 on the CPU.

    Attributes:
        points: (MAPS, J, 3) mm, hands.
        queries: (MAPS, QUERIES, 3) mm, places around them.
        inputs: of terms and of a step, with estimates that are some mm off.
        maps: (MAPS, H, W) mm, depth maps to predict from.
    """

    points: Tensor
    queries: Tensor
    inputs: scene.Inputs
    maps: Tensor

    @staticmethod
    def of(fit: Parts, predict: Parts) -> Scenes:
        """Scenes for the parts of both recipes."""
        points = scene.hands(fit.hand, MAPS, seed=11)
        queries = 60 * torch.randn(MAPS, QUERIES, 3, generator=scene.generator(14))
        with tensor_code(), torch.no_grad():
            frames, real = scene.real_inputs(fit.hand, fit.renderer)
            samples, synthetic, target = scene.synthetic_inputs(fit.hand, fit.renderer)
            maps = predict.renderer.depth(points, predict.grid).depth
        return Scenes(points, queries, scene.Inputs(frames, samples, real, synthetic, target), maps)


@dataclass(frozen=True)
class Tolerances:
    """The largest differences that count as right.

    The defaults are 20 to 200 times what float32 differs by on a CPU. A network whose convolutions are rounded to the
    10 bits of TF32 or the 7 bits of bf16 differs by a third of those of `tf32` and `bf16`, or less: tests measure it.
    """

    depth_mm: float = 1e-3
    silhouette: float = 1e-3
    distance_mm: float = 1e-3
    value: float = 1e-4
    gradient: float = 1e-3
    points_mm: float = 0.02
    weights: float = 2e-3

    def of(self, mode: Mode, factor: float = 1.0) -> Tolerances:
        """Those for a network in another precision; all times `factor`."""
        wider = {"tf32": (2.0, 0.01, 0.05), "bf16": (10.0, 0.1, 0.3)}
        changed = self
        if mode in wider:
            points, value, weights = wider[mode]
            changed = replace(self, points_mm=points, value=value, weights=weights)
        return Tolerances(**{name: factor * value for name, value in asdict(changed).items()})


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        device: such as "cuda:0".
        what: is compared.
        mode: in which the device computed it.
        status: "right", "wrong" (beyond the tolerance), "failed" (it raised) or "skipped".
        difference, tolerance: in `unit`; None where there is none.
        detail: why it failed or was skipped.
        seconds: it took, with the reference.
    """

    device: str
    what: str
    mode: Mode
    status: Literal["right", "wrong", "failed", "skipped"]
    difference: float | None = None
    tolerance: float | None = None
    unit: Unit = "relative"
    detail: str = ""
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """What a check finds, before it is judged."""

    what: str
    size: float
    tolerance: float
    unit: Unit


@dataclass(frozen=True)
class Subject:
    """What is checked.

    Attributes:
        parts: on the device, in float32.
        reference: the same in float64 on the CPU.
        plan: the stage whose terms and step are checked.
        device: where `parts` are.
        scenes: what both are given.
        tolerances: in plain float32.
        factor: on all tolerances.
    """

    parts: Parts
    reference: Parts
    plan: StagePlan
    device: torch.device
    scenes: Scenes
    tolerances: Tolerances = Tolerances()
    factor: float = 1.0


Work = Callable[[Subject, Mode], list[Difference]]


def run(subject: Subject, what: str, mode: Mode, work: Work) -> list[Check]:
    """One check; whatever it raises is its result."""
    device, began = str(subject.device), time.perf_counter()
    try:
        with deterministic(subject.device), network_mode(mode):
            found = work(subject, mode)
    except Exception as error:
        cause = str(error).strip() if isinstance(error, HPFError) else f"{type(error).__name__}: {error}".strip()
        return [Check(device, what, mode, "failed", detail=cause[:2000], seconds=time.perf_counter() - began)]
    seconds = round((time.perf_counter() - began) / len(found), 3)
    return [
        Check(
            device,
            f.what,
            mode,
            "right" if f.size <= f.tolerance else "wrong",
            f.size,
            f.tolerance,
            f.unit,
            seconds=seconds,
        )
        for f in found
    ]


@contextmanager
def network_mode(mode: Mode) -> Iterator[None]:
    """Within it CUDA rounds convolutions to TF32 in `tf32` (PyTorch's default) and in no other mode."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = mode == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = False
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


# ------------------------------------------------------------------------------------------------ renderer and distance


def check_renderer(subject: Subject, mode: Mode) -> list[Difference]:
    """Depth maps of hands, and the gradient of a weighted sum of the depths on the hands' points."""
    parts, allowed = subject.parts, subject.tolerances.of("float32", subject.factor)
    points = subject.scenes.points
    weights = torch.randn(MAPS, parts.grid.size, parts.grid.size, generator=scene.generator(12))

    ours = points.to(subject.device).requires_grad_()
    seen = _maybe_compiled(parts.renderer.depth, mode, subject.device)(ours, parts.grid)
    exact_points = points.double().requires_grad_()
    with tensor_code():
        wanted = subject.reference.renderer.depth(exact_points, parts.grid)
    hit, primitive = seen.hit.cpu(), seen.primitive.cpu()
    both = hit & wanted.hit
    same = both & (primitive == wanted.primitive)
    depth = seen.depth
    (gradient,) = torch.autograd.grad((depth * (weights * same).to(depth)).sum(), ours)
    with tensor_code():
        (wanted_gradient,) = torch.autograd.grad((wanted.depth * (weights * same).double()).sum(), exact_points)
    apart = (depth.detach().cpu().double() - wanted.depth.detach()).abs()
    return [
        Difference("renderer: silhouette", _share(hit != wanted.hit), allowed.silhouette, "share"),
        Difference("renderer: primitive", _share((primitive != wanted.primitive) & both), allowed.silhouette, "share"),
        Difference("renderer: depth", _largest(apart[both]), allowed.depth_mm, "mm"),
        Difference("renderer: gradient", _relative(gradient, wanted_gradient), allowed.gradient, "relative"),
    ]


def check_distance(subject: Subject, mode: Mode) -> list[Difference]:
    """Distances of points to hands, and their gradient on the hands' points."""
    parts, allowed = subject.parts, subject.tolerances.of("float32", subject.factor)
    points, queries = subject.scenes.points, subject.scenes.queries
    ours, exact_points = points.to(subject.device).requires_grad_(), points.double().requires_grad_()
    measure = _maybe_compiled(parts.renderer.distance, mode, subject.device)
    found = measure(ours, queries.to(subject.device))
    with tensor_code():
        wanted = subject.reference.renderer.distance(exact_points, queries.double())
        same = found.primitive.cpu() == wanted.primitive
        (wanted_gradient,) = torch.autograd.grad((wanted.distance * same).sum(), exact_points)
    (gradient,) = torch.autograd.grad((found.distance * same.to(subject.device)).sum(), ours)
    apart = (found.distance.detach().cpu().double() - wanted.distance.detach()).abs()
    return [
        Difference("distance: nearest primitive", _share(~same), 10 * allowed.silhouette, "share"),
        Difference("distance: distance", _largest(apart), allowed.distance_mm, "mm"),
        Difference("distance: gradient", _relative(gradient, wanted_gradient), allowed.gradient, "relative"),
    ]


# ------------------------------------------------------------------------------------------------------------ the terms


def check_term(subject: Subject, name: str) -> list[Difference]:
    """A term's value and its gradient on the points, on estimates that are some mm off."""
    allowed = subject.tolerances.of("float32", subject.factor)
    inputs = subject.scenes.inputs
    value, gradient = _judged(subject.parts, name, moved_inputs(inputs, subject.device))
    with tensor_code():
        wanted, wanted_gradient = _judged(subject.reference, name, exact_inputs(inputs))
    return [
        Difference(f"term {name}: value", _relative(value, wanted), allowed.value, "relative"),
        Difference(f"term {name}: gradient", _relative(gradient, wanted_gradient), allowed.gradient, "relative"),
    ]


def _judged(parts: Parts, name: str, inputs: scene.Inputs) -> tuple[Tensor, Tensor]:
    """The reduced value of a term, and its gradient on all estimated points."""
    assert inputs.real is not None
    assert inputs.synthetic is not None
    real, synthetic = (
        replace(estimate, points=estimate.points.clone().requires_grad_())
        for estimate in (inputs.real, inputs.synthetic)
    )
    term = parts.terms[name]
    if isinstance(term, DataTerm):
        value = term(
            Fit(
                hand=parts.hand,
                renderer=parts.renderer,
                grid=scene.GRID,
                frames=inputs.frames,
                samples=inputs.samples,
                real=_with_maps(real),
                synthetic=_with_maps(synthetic),
                target=inputs.target,
            )
        )
    else:
        value = term(real.points)
    total = reduce(value)
    gradients = torch.autograd.grad(total, [real.points, synthetic.points], allow_unused=True)
    found = [g.flatten() for g in gradients if g is not None]
    return total.detach(), torch.cat(found) if found else torch.zeros(1)


def _with_maps(estimate: Any) -> Any:
    """The same; maps depend on the points a little, so that terms on maps alone have a gradient on points."""
    shift = 0.001 * estimate.points.sum(dim=-1)[..., None, None]
    return replace(estimate, heatmaps=estimate.heatmaps + shift, latent_depth=estimate.latent_depth + shift)


# ----------------------------------------------------------------------------------------------- a step, and prediction


def check_step(subject: Subject, mode: Mode) -> list[Difference]:
    """A training step: all terms' values, the gradient on the weights, and what Adam makes of it."""
    allowed = subject.tolerances.of(mode, subject.factor)
    inputs = subject.scenes.inputs
    assert inputs.frames is not None
    assert inputs.samples is not None
    ours = _stepped(
        subject.parts,
        subject.plan,
        Batch(inputs.frames.to(subject.device), inputs.samples.to(subject.device)),
        subject.device,
        "bf16" if mode == "bf16" else "float32",
        mode == "compile",
    )
    batch = Batch(exact(inputs.frames), exact(inputs.samples))
    with tensor_code():
        wanted = _stepped(subject.reference, subject.plan, batch, torch.device("cpu"), "float32", False)
    value = max(_relative(a, b) for a, b in zip(ours.raw, wanted.raw, strict=True))
    return [
        Difference("training step: terms", value, allowed.value, "relative"),
        Difference("training step: gradient", _relative(ours.gradient, wanted.gradient), allowed.weights, "relative"),
        Difference("training step: Adam", _relative(ours.moment, ours.gradient * 0.1), 1e-3, "relative"),
    ]


@dataclass(frozen=True)
class _Step:
    """`raw` (T,) of the terms, and flat: the `gradient` on the weights, and Adam's first `moment`."""

    raw: Tensor
    gradient: Tensor
    moment: Tensor


def _stepped(
    parts: Parts, plan: StagePlan, batch: Batch, device: torch.device, precision: Precision, compiled: bool
) -> _Step:
    """One step; the weights are put back afterwards."""
    energy: Energy = parts.energy(plan).to(device)
    kept = {name: t.clone() for name, t in parts.backbone.state_dict().items()}
    weights = list(parts.backbone.parameters())
    parts.backbone.train()
    try:
        computation = Computation(parts, energy, device, precision, compiled)
        optimiser = torch.optim.Adam(weights, lr=1e-4, fused=device.type in ("cpu", "cuda"))
        optimiser.zero_grad(set_to_none=True)
        found = computation(batch).energy
        found.total.backward()
        optimiser.step()
        gradient = torch.cat([w.grad.flatten() for w in weights if w.grad is not None])
        moment = torch.cat([optimiser.state[w]["exp_avg"].flatten() for w in weights if w.grad is not None])
        return _Step(found.raw.detach(), gradient, moment)
    finally:
        for weight in weights:
            weight.grad = None
        parts.backbone.load_state_dict(kept)


def check_prediction(subject: Subject, mode: Mode) -> list[Difference]:
    """The network's points of rendered hands, as prediction and evaluation compute them."""
    allowed = subject.tolerances.of(mode, subject.factor)
    reference, maps = subject.reference, subject.scenes.maps
    subject.parts.backbone.eval()
    reference.backbone.eval()
    computation = Computation(
        subject.parts,
        Energy([]),
        subject.device,
        "bf16" if mode == "bf16" else "float32",
        mode == "compile",
    )
    with torch.inference_mode():
        found = last_estimate(computation.network_alone, maps.to(subject.device)).points.float().cpu()
    with tensor_code(), torch.inference_mode():
        wanted = last_estimate(reference.backbone, maps.double()).points
    apart = torch.linalg.vector_norm(found.double() - wanted, dim=-1)
    return [Difference("prediction: points", _largest(apart), allowed.points_mm, "mm")]


# --------------------------------------------------------------------------------------------------------------- inside


def _maybe_compiled(function: Callable[..., Any], mode: Mode, device: torch.device) -> Callable[..., Any]:
    if mode != "compile":
        return function
    torch.compiler.reset()
    return torch.compile(function, fullgraph=True)


def _share(wrong: Tensor) -> float:
    return float(wrong.double().mean())


def _largest(apart: Tensor) -> float:
    largest = float(apart.max()) if apart.numel() else math.inf
    return largest if math.isfinite(largest) else math.inf


def _relative(found: Tensor, wanted: Tensor) -> float:
    """The norm of the difference by that of what is right; infinite where a number isn't finite."""
    found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
    if found.shape != wanted.shape:
        return math.inf
    apart = float(torch.linalg.vector_norm(found - wanted) / torch.linalg.vector_norm(wanted).clamp_min(1e-12))
    return apart if math.isfinite(apart) else math.inf
