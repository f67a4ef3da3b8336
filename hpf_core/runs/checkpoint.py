"""Weights and checkpoints: safetensors files with atomic writes and without pickle."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from hpf_core.errors import DataError
from hpf_core.files.cache import write_atomic
from hpf_core.runs.documents import parse_json

_MODEL, _OPTIMISER, _CHECKSUM = "model.", "optimiser.", "sha256"
_ADAM = ("step", "exp_avg", "exp_avg_sq")


class CheckpointAbout(BaseModel):
    """Metadata of a training checkpoint."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")

    kind: Literal["checkpoint"]
    stage: str
    step: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0)]
    images: Annotated[int, Field(ge=0)]
    optimised: list[Annotated[int, Field(ge=0)]]


class WeightsAbout(BaseModel):
    """Metadata of a file of weights; every field may be missing."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")

    stage: str = ""
    step: Annotated[int, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0)] = 0.0
    images_per_second: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """Content of a file.

    Attributes:
        tensors: by name.
        about: the metadata beside the tensors.
        has_checksum: whether the file has a checksum (then verified). Files of an older HPF have none.
    """

    tensors: dict[str, Tensor]
    about: dict[str, Any]
    has_checksum: bool = False


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> None:
    """Write tensors, a JSON description and a checksum over both to one safetensors file.

    Raises:
        RunError: the file isn't writable, or the disk is full.
    """
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    # A single entry: safetensors writes several in any order, and equal content must give equal files.
    metadata = {"hpf": json.dumps({**about, _CHECKSUM: _checksum(plain, about)})}
    content = to_bytes(plain, metadata=metadata)
    # Python writes the file, not safetensors: its error for a full disk isn't an OSError, and it leaves temporary
    # files.
    write_atomic(path, lambda temporary: _write(temporary, content))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _checksum(tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> str:
    """SHA-256 over the description and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(about).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read(path: Path) -> Checkpoint:
    """Read such a file, and verify its checksum if it has one.

    Raises:
        DataError: if it is missing, damaged, or not a safetensors file.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a weights file")
    if not path.is_file():
        raise DataError(f"{path}: there is no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
            metadata = file.metadata() or {}
        about = parse_json(metadata.get("hpf", "{}"), WeightsAbout)
        checksum = about.pop(_CHECKSUM, None)
        if checksum is not None and checksum != _checksum(tensors, about):
            raise ValueError("it was changed or damaged: its checksum doesn't fit")
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError) as error:
        raise DataError(f"{path}: not a weights file that can be read ({_pickle(path) or error})") from error
    return Checkpoint(tensors, about, checksum is not None)


def _pickle(path: Path) -> str:
    """What is wrong with a pickle, such as the .pth and .pt files that torch.save writes; empty for other files."""
    with suppress(OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        with path.open("rb") as file:
            pickled = re.match(rb"\x80[\x02-\x05]", file.read(2)) is not None
        if not pickled and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                pickled = any(name.endswith("data.pkl") for name in packed.namelist())
        if pickled:
            return "this is a pickle, which HPF never loads because it can run code; safetensors is needed"
    return ""


def options_of(name: str, config: BaseModel) -> dict[str, Any]:
    """A backbone's name and options, in the form of the weights' metadata."""
    return {"use": name, **config.model_dump(mode="json")}


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's state under `model.`."""
    return {_MODEL + k: v for k, v in model.state_dict().items()}


def load_model(model: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Put a file's weights into the model.

    Raises:
        DataError: if names, shapes or types differ (with the first few of them), or a weight isn't finite.
    """
    check_model(model, checkpoint, path)
    found = {k.removeprefix(_MODEL): v for k, v in checkpoint.tensors.items() if k.startswith(_MODEL)}
    model.load_state_dict(found)


def check_model(model: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Raise DataError if a file's weights don't match the model; the model stays unchanged."""
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
        raise DataError(f"{path}: these weights are of another network than the recipe's: {_first(wrong)}")
    wrong = [
        f"{k} is {_type(found[k])}, the network's is {_type(v)}" for k, v in wanted.items() if found[k].dtype != v.dtype
    ]
    if wrong:
        raise DataError(f"{path}: these weights have another number type than the network: {_first(wrong)}")
    wrong = [k for k, v in found.items() if v.dtype.is_floating_point and not bool(v.isfinite().all())]
    if wrong:
        raise DataError(f"{path}: these weights aren't finite: {_first(wrong)}")


def _first(wrong: list[str]) -> str:
    return "; ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state under `optimiser.<parameter number>.<name>`."""
    state = optimiser.state_dict()["state"]
    return {f"{_OPTIMISER}{i}.{k}": torch.as_tensor(v) for i, entry in state.items() for k, v in entry.items()}


def optimised(optimiser: torch.optim.Optimizer) -> list[int]:
    """Indices of the parameters for which the optimiser has a state: those that had a gradient."""
    return sorted(optimiser.state_dict()["state"])


def load_optimiser(optimiser: torch.optim.Optimizer, checkpoint: Checkpoint, path: Path, wanted: list[int]) -> None:
    """Load a checkpoint's Adam state.

    Args:
        optimiser: changed in place.
        checkpoint: the content of `path`.
        path: for the message.
        wanted: indices of the parameters that have a state (`optimised`).

    Raises:
        DataError: the state belongs to other parameters; the optimiser stays unchanged.
    """
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    found = {k: v for k, v in checkpoint.tensors.items() if k.startswith(_OPTIMISER)}
    state: dict[int, dict[str, Tensor]] = {}
    wrong = [f"there is no parameter {number}" for number in wanted if number >= len(parameters)]
    for number in (number for number in wanted if number < len(parameters)):
        state[number] = {}
        for key in _ADAM:
            name, parameter = f"{_OPTIMISER}{number}.{key}", parameters[number]
            tensor = found.pop(name, None)
            shape, kind = ((), torch.float32) if key == "step" else (tuple(parameter.shape), parameter.dtype)
            if tensor is None:
                wrong.append(f"{name} is missing")
            elif tuple(tensor.shape) != shape or tensor.dtype != kind:
                wrong.append(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, not {kind} {shape}")
            elif not bool(tensor.isfinite().all()):
                wrong.append(f"{name} isn't finite")
            else:
                state[number][key] = tensor if key == "step" else _laid_out_as(parameter, tensor)
    wrong += [f"{name} isn't expected" for name in found]
    if wrong:
        raise DataError(f"{path}: this isn't the optimiser's state: {_first(wrong)}")
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The tensor in its parameter's memory format: files don't store it, and fused optimisers follow the memory's
    order."""
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
