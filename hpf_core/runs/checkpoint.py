"""Weights and checkpoints: safetensors files, written whole or not at all, nothing unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from hpf_core.errors import DataError
from hpf_core.files.cache import write_atomic

_MODEL, _OPTIMISER = "model.", "optimiser."


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: the tensors by name, and what was written beside them."""

    tensors: dict[str, Tensor]
    about: dict[str, object]


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> None:
    """Write tensors and a JSON description to one safetensors file.

    Raises:
        RunError: it can't be written: the disk is full, or the folder can't be.
    """
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    content = to_bytes(plain, metadata={"hpf": json.dumps(about)})
    # Written by Python, not by safetensors: its error for a full disk is no OSError, and it leaves files of its own.
    write_atomic(path, lambda temporary: _write(temporary, content))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def read(path: Path) -> Checkpoint:
    """Read such a file.

    Raises:
        DataError: where it is missing, damaged, or not a safetensors file.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
            about = json.loads((file.metadata() or {}).get("hpf", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a weights file that can be read ({error})") from error
    return Checkpoint(tensors, about)


def options_of(name: str, config: BaseModel) -> dict[str, Any]:
    """A backbone's name and options, as weights keep them."""
    return {"use": name, **config.model_dump(mode="json")}


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's state under `model.`."""
    return {_MODEL + k: v for k, v in model.state_dict().items()}


def load_model(model: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Put a file's weights into the model.

    Raises:
        DataError: where names or shapes differ, with the first few of them.
    """
    found = {k.removeprefix(_MODEL): v for k, v in checkpoint.tensors.items() if k.startswith(_MODEL)}
    wanted = model.state_dict()
    wrong = [f"{k} is missing" for k in wanted if k not in found]
    wrong += [f"{k} isn't part of this network" for k in found if k not in wanted]
    wrong += [
        f"{k} is {tuple(found[k].shape)}, the network's is {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in found and found[k].shape != v.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise DataError(f"{path}: these weights are of another network than the recipe's: {'; '.join(wrong[:3])}{more}")
    model.load_state_dict(found)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state under `optimiser.<parameter number>.<name>`."""
    state = optimiser.state_dict()["state"]
    return {f"{_OPTIMISER}{i}.{k}": torch.as_tensor(v) for i, entry in state.items() for k, v in entry.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's optimiser state back."""
    document = optimiser.state_dict()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in checkpoint.tensors.items():
        if name.startswith(_OPTIMISER):
            number, key = name.removeprefix(_OPTIMISER).split(".", 1)
            state.setdefault(int(number), {})[key] = _laid_out_as(parameters[int(number)], tensor)
    optimiser.load_state_dict({**document, "state": state})


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The tensor in its parameter's memory format: files know none, and fused optimisers go by the memory's order."""
    if tensor.shape != parameter.shape:
        return tensor  # the number of steps
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
