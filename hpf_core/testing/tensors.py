"""Clauses for tensor code: devices, gradients, mutation, order in the batch, saving, compiling, mixed precision."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hpf_core.interfaces import HandModel, Kind, Term
from hpf_core.objective.energy import reduce
from hpf_core.testing import scene
from hpf_core.testing.built import Built
from hpf_core.testing.calls import on, value_of
from hpf_core.testing.clause import clause
from hpf_core.testing.outcome import Broken, NotApplicable, need
from hpf_core.testing.subject import Subject
from hpf_core.testing.trees import changed, leaves, same

COMPILED: tuple[Kind, ...] = ("hand", "renderer", "backbone", "data_term", "prior")
"""Kinds of plugin that a training step may compile, to one graph, and run under autocast."""
IN_THE_STEP: tuple[Kind, ...] = (*COMPILED, "transform")
"""Kinds of plugin that a training step runs: no host reads, and gradients flow through them."""
PER_ITEM: tuple[Kind, ...] = (*COMPILED, "refiner")
TENSORS: tuple[Kind, ...] = (*IN_THE_STEP, "refiner")


class _NoDrawOnTheHost(TorchDispatchMode):
    """Refuses random numbers that a CPU generator draws, where a GPU generator couldn't."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = (*args, *(kwargs or {}).values())
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and any(isinstance(value, torch.Generator) for value in given):
            need(made.device.type != "cpu", "it draws random numbers on the CPU: add device=generator.device")
        return made


@clause(
    "meta device",
    "it runs on the `meta` device: all tensors move with it, and it reads no value back to the CPU",
    *IN_THE_STEP,
)
def meta_device(subject: Subject) -> None:
    wanted = subject.run(subject.built, subject.inputs)
    if isinstance(subject.built.plugin, HandModel):
        wanted |= _of_hand(subject.built.plugin, "cpu")
    built = subject.fresh()
    if isinstance(built.plugin, HandModel):
        # The first draw may solve for values: a hand on a GPU has them, one on `meta` doesn't.
        with contextlib.suppress(Exception):
            built.plugin.sample(3, scene.generator(0, "meta"))
    built.to("meta")
    for where, module in built.plugin.named_modules():
        for name, value in vars(module).items():
            # As an index it would work, but every step would copy it to the device.
            need(
                not isinstance(value, Tensor) or value.device.type == "meta",
                f"the tensor {'.'.join(filter(None, (where, name)))} stays behind on the CPU: make it a buffer with "
                "register_buffer(..., persistent=False), which moves along",
            )
    try:
        with _NoDrawOnTheHost():
            found = subject.run(built, on("meta", subject.inputs))
            if isinstance(built.plugin, HandModel):
                found |= _of_hand(built.plugin, "meta")
    except Broken:
        raise
    except Exception as error:
        raise Broken(f"on the device `meta` it fails: {type(error).__name__}: {_first_line(error)}") from error
    for name, value in wanted.items():
        there = found.get(name)
        need(there is not None, f"on `meta` it gives no {name}")
        assert there is not None
        need(there.device.type == "meta", f"its {name} is on {there.device}, and its inputs on meta")
        need(there.shape == value.shape, f"its {name} is {tuple(there.shape)} on meta, and {tuple(value.shape)} on cpu")


def _of_hand(hand: HandModel, device: str) -> dict[str, Tensor]:
    """Results of a hand beyond its points: samples on the generator's device, pairs on its own."""
    pose, shape = hand.sample(3, scene.generator(0, device))
    found = {"sampled pose": pose, "sampled shape": shape}
    found |= {f"bones().{name}": value for name, value in hand.bones()._asdict().items()}
    return found | {f"collisions().{name}": value for name, value in hand.collisions()._asdict().items()}


@clause("no mutation", "it does not change its inputs", *TENSORS)
def no_mutation(subject: Subject) -> None:
    inputs = changed(subject.inputs, torch.clone)
    before = {name: (value.clone(), value._version) for name, value in leaves(inputs)}
    built = subject.fresh()
    subject.run(built, inputs)
    if subject.spec.kind == "backbone":
        built.plugin.labels(inputs["points"])
    for name, value in leaves(inputs):
        kept, version = before[name]
        need(torch.equal(value, kept) and value._version == version, f"it changes its input {name} in place")


@clause("finite", "values and gradients are finite, even for missing data and degenerate estimates", *TENSORS)
def finite(subject: Subject) -> None:
    built = subject.fresh()
    for what, inputs in {"ordinary inputs": subject.inputs, **subject.degenerate}.items():
        if isinstance(built.plugin, nn.Module):
            built.plugin.zero_grad()
        inputs, followed = subject.followed(built, inputs)
        try:
            found = subject.run(built, inputs)
        except Exception as error:
            raise Broken(f"with {what} it fails: {type(error).__name__}: {_first_line(error)}") from error
        for name, value in found.items():
            need(torch.isfinite(value).all(), f"its {name} isn't finite with {what}")
        if subject.spec.kind == "refiner":
            continue
        loss = torch.stack([v.double().sum() for v in found.values() if v.requires_grad] or [torch.zeros(()).double()])
        if loss.requires_grad:
            loss.sum().backward()
        for name, value in followed.items():
            if value.grad is not None:
                need(torch.isfinite(value.grad).all(), f"the gradient on {name} isn't finite with {what}")


@clause("gradient", "the gradient reaches its inputs or its weights", *IN_THE_STEP)
def gradient(subject: Subject) -> None:
    built = subject.fresh()
    inputs, followed = subject.followed(built, subject.inputs)
    found = subject.run(built, inputs)
    moving = [
        value.double().square().sum() for name, value in found.items() if value.requires_grad and name != "weights"
    ]
    names = ", ".join(dict.fromkeys(name.partition(".")[0] for name in followed)) or "any input"
    need(moving, f"no output has a gradient on {names}: is it detached, or computed with numbers instead of tensors?")
    torch.stack(moving).sum().backward()
    reached = [name for name, value in followed.items() if value.grad is not None]
    need(reached, f"no gradient reaches {names}")


@clause("batch order", "an item's result is the same at every place in the batch, and alone", *PER_ITEM)
def batch_order(subject: Subject) -> None:
    plugin = subject.built.plugin
    if isinstance(plugin, Term) and plugin.sequential:
        raise NotApplicable("it declares that it reads sequences")
    if subject.spec.kind == "data_term":
        _frame_order(subject)
        return
    built = subject.fresh()
    if isinstance(built.plugin, nn.Module):
        built.plugin.eval()
    with torch.no_grad():
        whole = _by_item(subject, built, subject.inputs)
        count = len(next(value for _, value in leaves(subject.inputs)))
        order = torch.arange(count).roll(1).flip(0)
        mixed = _by_item(subject, built, changed(subject.inputs, lambda value: value[order]))
        first = _by_item(subject, built, changed(subject.inputs, lambda value: value[:1]))
    differs = same(mixed, {name: value[order] for name, value in whole.items()}, 1e-3, 1e-2)
    need(not differs, f"in another order {differs}: items are mixed up")
    differs = same(first, {name: value[:1] for name, value in whole.items()}, 1e-3, 1e-2)
    need(not differs, f"without the others {differs}: an item depends on its batch")


@clause("save and load", "a new instance that loads its saved weights gives the same results", *TENSORS)
def save_and_load(subject: Subject) -> None:
    built, other = subject.fresh(), subject.fresh()
    if not isinstance(built.plugin, nn.Module):
        raise NotApplicable("it isn't a module")
    with torch.no_grad():
        for inputs in subject.degenerate.values():  # state from these inputs must be part of the saved state
            subject.run(built, inputs)
        for value in built.plugin.parameters():
            value.add_(0.01 * torch.randn(value.shape, generator=scene.generator(5)))
    state = {name: value.contiguous() for name, value in built.plugin.state_dict().items()}
    need(
        all(isinstance(v, Tensor) for v in state.values()),
        "its state contains something other than tensors, which can't be saved",
    )
    try:
        other.plugin.load_state_dict(load_bytes(save_bytes(state)), strict=True)
    except (RuntimeError, ValueError) as error:
        raise Broken(f"its weights can't be loaded into a fresh one: {_first_line(error)}") from error
    with torch.no_grad():
        differs = same(subject.run(other, subject.inputs), subject.run(built, subject.inputs), 0, 0)
    need(not differs, f"with its own weights loaded, {differs}: some state isn't saved")


@clause("compile", "`torch.compile(fullgraph=True)` works and gives the same values and gradients", *COMPILED)
def compiles(subject: Subject) -> None:
    built = subject.fresh()
    inputs, followed = subject.followed(built, subject.inputs)
    wanted = subject.run_in_step(built, inputs)
    slopes = _slopes(wanted, followed)
    torch._dynamo.reset()
    compiled = torch.compile(lambda given: subject.run_in_step(built, given), backend="aot_eager", fullgraph=True)
    try:
        found = compiled(inputs)
        others = _slopes(found, followed)
    except Exception as error:
        raise Broken(f"torch.compile(fullgraph=True) fails: {_first_line(error)}") from error
    finally:
        torch._dynamo.reset()
    differs = same(found, wanted, 1e-3, 1e-2)
    need(not differs, f"compiled, {differs}")
    for name, slope in slopes.items():
        differs = same({name: others[name]}, {name: slope}, 0, 1e-3 * float(slope.abs().max()))
        need(not differs, f"compiled, the gradient on {differs}")


@clause("autocast", "under bfloat16 autocast its geometry stays in float32 and its results stay close", *COMPILED)
def autocast(subject: Subject) -> None:
    built = subject.fresh()
    with torch.no_grad():
        exact = subject.run_in_step(built, subject.inputs)
        try:
            with torch.autocast("cpu", torch.bfloat16):
                found = subject.run_in_step(built, subject.inputs)
        except Exception as error:
            raise Broken(f"under autocast it fails: {type(error).__name__}: {_first_line(error)}") from error
    for name, value in found.items():
        need(torch.isfinite(value).all(), f"its {name} isn't finite under autocast")
        if subject.spec.kind == "backbone" and not name.startswith("points"):
            continue
        need(
            value.dtype in (torch.float32, torch.float64),
            f"its {name} is {value.dtype} under autocast: millimetres need float32",
        )
        # Geometry must be exact; a network within a term may lose the precision of bfloat16.
        size = float(exact[name].double().abs().amax())
        allowed = {"hand": 0.01, "renderer": 0.01, "backbone": 0.2}.get(subject.spec.kind, 0.1) * max(size, 1.0)
        gap = float((value.double() - exact[name].double()).abs().amax())
        need(gap <= allowed, f"its {name} is off by {gap:.3g} under autocast, of values up to {size:.3g}")


def _frame_order(subject: Subject) -> None:
    """Frames in another order: the loss is the same, and each frame keeps its own value."""
    inputs = subject.inputs
    if inputs.frames is None:
        order = torch.arange(scene.SAMPLES).flip(0)
        moved = changed(inputs, lambda value: value[order])
    else:
        order = torch.arange(scene.FRAMES).roll(1)  # reversed order would leave motion similar
        frames, real = scene.permuted(inputs.frames, inputs.real, order.tolist())
        moved = type(inputs)(frames, inputs.samples, real, inputs.synthetic, inputs.target)
    with torch.no_grad():
        one, other = (value_of(subject.fresh(), given) for given in (inputs, moved))
        wanted = {"value": reduce(one)}
        found = {"value": reduce(other)}
        if inputs.frames is not None and one.frame is not None and other.frame is not None:
            wanted["each frame's value"] = _sums(one)[order]
            found["each frame's value"] = _sums(other)
        differs = same(found, wanted, 1e-3, 1e-4)
        need(not differs, f"with the frames in another order {differs}")
        shares = [_totals(value_of(subject.fresh(), share)) for share in scene.shares(inputs)]
    wanted = _totals(one)
    found = {name: shares[0][name] + shares[1][name] for name in wanted}
    differs = same(found, wanted, 1e-3, 1e-4)
    need(
        not differs,
        f"summed over the first frame or sample and the rest, seen apart, {differs}: an item depends on its batch, and "
        "processes that share one would disagree",
    )


def _totals(value: Any) -> dict[str, Tensor]:
    """The loss summed over all items, as over the shares of processes."""
    kept = torch.where(value.weights > 0, value.values, 0).double() * value.weights
    return {"the sum of values x weights": kept.sum(), "the sum of weights": value.weights.double().sum()}


def _sums(value: Any) -> Tensor:
    """(B,) weighted sum of each frame's values."""
    kept = torch.where(value.weights > 0, value.values, 0) * value.weights
    return kept.new_zeros(scene.FRAMES).index_add(0, value.frame, kept)


def _by_item(subject: Subject, built: Built, inputs: Any) -> dict[str, Tensor]:
    """Outputs with the item as first axis."""
    if subject.spec.kind == "prior":
        value = value_of(built, inputs)
        return {"values": value.values, "weights": value.weights}
    return subject.run(built, inputs)


def _slopes(found: dict[str, Tensor], followed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The gradient of all outputs on each leaf, 0 without one."""
    # Each number has another factor: the plain sum of a softmax, for example, has no gradient.
    moving = [
        (value.double().flatten() * torch.linspace(0.5, 1.5, value.numel(), dtype=torch.float64)).sum()
        for value in found.values()
        if value.requires_grad
    ]
    if not moving or not followed:
        return {}
    gradients = torch.autograd.grad(torch.stack(moving).sum(), list(followed.values()), allow_unused=True)
    return {
        name: torch.zeros_like(value) if gradient is None else gradient
        for (name, value), gradient in zip(followed.items(), gradients, strict=True)
    }


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no message"


CLAUSES = (meta_device, no_mutation, finite, gradient, batch_order, save_and_load, compiles, autocast)
