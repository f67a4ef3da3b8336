"""The same computation twice: on a device as users run it, and as reference in float64 on a CPU, in tensor operations.

Both get the same float32 numbers, which float64 holds exactly. So what differs is the device's arithmetic and its code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hpf_core.frames import Estimate, RealFrames, SyntheticSamples
from hpf_core.inference.build import Parts, build_parts
from hpf_core.native import compiler
from hpf_core.recipe import Resolved
from hpf_core.testing.scene import Inputs

Data = TypeVar("Data", RealFrames, SyntheticSamples, Estimate)


@contextmanager
def tensor_code() -> Iterator[None]:
    """Within it, deterministic tensor operations do everything: no compiled kernel, no graph."""
    with compiler.without_kernels(), torch.autocast("cpu", enabled=False):
        yield


def exact_parts(resolved: Resolved, like: Parts) -> Parts:
    """Parts in float64 on the CPU with the values of `like`, whose terms are prepared."""
    parts = build_parts(resolved)
    parts.prepare_terms()  # from the cache: `like` made them
    for mine, theirs in zip(_modules(parts), _modules(like), strict=True):
        mine.load_state_dict({name: t.cpu() for name, t in theirs.state_dict().items()})
        mine.double()
    return parts


def exact(data: Data) -> Data:
    """The same data with all real numbers in float64."""
    changed: dict[str, Any] = {
        field.name: value.double()
        for field in dataclasses.fields(data)
        if isinstance(value := getattr(data, field.name), Tensor) and value.is_floating_point()
    }
    return dataclasses.replace(data, **changed)


def exact_inputs(inputs: Inputs) -> Inputs:
    """Inputs of a data term in float64."""
    return Inputs(*(None if data is None else exact(data) for data in _fields(inputs)))


def moved_inputs(inputs: Inputs, device: torch.device) -> Inputs:
    """Inputs of a data term on a device."""
    return Inputs(*(None if data is None else data.to(device) for data in _fields(inputs)))


def _fields(inputs: Inputs) -> list:
    return [getattr(inputs, field.name) for field in dataclasses.fields(inputs)]


def _modules(parts: Parts) -> list[nn.Module]:
    return [parts.hand, parts.renderer, parts.backbone, *parts.terms.values()]
