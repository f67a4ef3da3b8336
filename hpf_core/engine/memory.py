"""Memory: refuses a stage before its start if a step can't fit, and turns failed allocations into messages."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hpf_core.errors import InputError, RunError
from hpf_core.inference.build import Parts
from hpf_core.recipe import StagePlan

_PROBE = 2  # number of images in the measurement
_LEAST_VIEWS = 1  # of a real frame: the loader learns the number of views later


def check_memory(
    plan: StagePlan, parts: Parts, device: torch.device, processes: int = 1, precision: str = "float32"
) -> None:
    """Refuse a stage if its step needs more memory than the device has.

    The need is a lower bound: the activations that the network keeps of each image. Terms and renders need more.

    Args:
        plan: the stage.
        parts: the built recipe.
        device: the training device.
        processes: the processes that share a step.
        precision: of the network in training; bf16 needs half of the memory.

    Raises:
        InputError: a step can't fit; the message names the largest needs.
    """
    total = device_memory(device)
    images = -(-(plan.draw_real * _LEAST_VIEWS + plan.draw_synthetic) // processes)
    # Most stages need far less memory, and the check skips the measurement.
    least = images * parts.grid.size**2 * 4
    if total is None or least * 1000 < total:
        return
    kept = _kept_of_an_image(parts, device) // (2 if precision == "bf16" else 1)
    need = max(images * kept, least)
    if need > total:
        draw = f"draw.real: {plan.draw_real}, draw.synthetic: {plan.draw_synthetic}"
        raise InputError(
            f"stages.{plan.name}: a step needs at least {_gb(need)} of memory for the network's {images:,} images "
            f"({draw}), but {device} has {_gb(total)}. Draw less in a step, or make the network narrower."
        )


@contextmanager
def allocations(plan: StagePlan) -> Iterator[None]:
    """Turn a failed allocation of a stage into an error that suggests reductions.

    Raises:
        RunError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_allocation(error):
            raise
        raise RunError(
            f"stages.{plan.name}: memory ran out in a step of {plan.draw_real} real frames and {plan.draw_synthetic} "
            f"synthetic samples. Draw less (stages.{plan.name}.draw), or make the network narrower."
        ) from error


def _is_allocation(error: BaseException) -> bool:
    text = str(error)
    # On the CPU torch raises a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in text


def _kept_of_an_image(parts: Parts, device: torch.device) -> int:
    """Bytes that the network keeps of an image for its gradient. Network and random states stay unchanged."""
    network = copy.deepcopy(parts.backbone).train()
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    maps = torch.zeros(_PROBE, parts.grid.size, parts.grid.size, device=device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(maps)
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    return sum(size for pointer, size in kept.items() if pointer not in weights) // _PROBE


def device_memory(device: torch.device) -> int | None:
    """Bytes of the device's memory; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _gb(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"
