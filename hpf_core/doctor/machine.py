"""What this machine has: versions, processor, compiler, GPUs, folders, plugins. Nothing here fails: what is missing
is None or a note."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch

import hpf_core
from hpf_core.bench.machine import machine
from hpf_core.errors import HPFError
from hpf_core.files.cache import cache_folder
from hpf_core.native import compiler
from hpf_core.plugins import PluginHost

PACKAGES = ("torch", "numpy", "scipy", "pydantic", "typer", "click", "matplotlib", "pillow", "safetensors", "pluggy")
"""Packages whose versions a bug report needs."""


def describe(host: PluginHost) -> dict[str, Any]:
    """All of it, as plain JSON values.

    Args:
        host: knows which plugins are broken.
    """
    gpus = [_gpu(number) for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    found: dict[str, Any] = {
        "versions": versions(),
        "system": platform.platform(),
        "processor": machine(torch.device("cpu"))["processor"],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": _memory(),
        "compiler": _compiler(),
        "cuda_of_torch": torch.version.cuda,
        "driver": driver(),
        "gpus": gpus,
        "folders": {"cache": _folder(_cache()), "temporary": _folder(_temporary())},
        "broken_plugins": [{"plugin": row.name, "reason": str(row)} for row in host.rows() if row.status == "broken"],
    }
    return found | {"notes": notes(found)}


def notes(found: dict[str, Any]) -> list[str]:
    """What is worth doing something about, with what to do.

    Args:
        found: what `describe` collects.
    """
    said = []
    for source, reason in found["compiler"]["kernels"].items():
        if reason:
            said.append(
                f"{source} isn't compiled ({reason}): tensor operations do its work, several times slower. Install gcc "
                "or clang, or name a compiler in CC"
            )
            break
    if found["driver"] and not found["gpus"]:
        build = found["cuda_of_torch"]
        cause = f"its CUDA {build} may be newer than the driver" if build else "it is a build without CUDA"
        said.append(
            f"an NVIDIA driver ({found['driver']}) is installed, but this PyTorch sees no GPU: {cause}. Install "
            "the build for this driver from https://pytorch.org, and check CUDA_VISIBLE_DEVICES"
        )
    for name, folder in found["folders"].items():
        if not folder["path"]:
            said.append(f"there is no {name} folder ({folder['error']})")
        elif folder["error"]:
            said.append(f"the {name} folder {folder['path']} can't be written ({folder['error']})")
        elif folder["free_bytes"] is not None and folder["free_bytes"] < 2e9:
            said.append(f"the {name} folder {folder['path']} has less than 2 GB left")
    for plugin in found["broken_plugins"]:
        said.append(f"broken plugin: {plugin['reason']}")
    return said


def versions() -> dict[str, str | None]:
    """Of HPF, Python and `PACKAGES`; None for a package that isn't installed."""
    found: dict[str, str | None] = {"hpf": hpf_core.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def driver() -> str | None:
    """The version of NVIDIA's driver, or None where there is none."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
        match = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", text)
        if match:
            return match[1]
    except OSError:
        pass
    words = _said(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    return words if words and re.fullmatch(r"[\d.]+", words) else None


def _gpu(number: int) -> dict[str, Any]:
    about = torch.cuda.get_device_properties(number)
    free, whole = torch.cuda.mem_get_info(number)
    return {
        "device": f"cuda:{number}",
        "name": about.name,
        "memory_bytes": whole,
        "free_bytes": free,
        "capability": f"{about.major}.{about.minor}",
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
    }


def _compiler() -> dict[str, Any]:
    command = compiler.command()
    return {
        "command": command and " ".join(command),
        "version": command and _said([*command, "--version"]),
        "kernels": compiler.states(),
    }


def _said(command: list[str]) -> str | None:
    """The first line that a program writes, or None where it can't be run."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.decode("utf-8", errors="replace").strip().splitlines()
    return lines[0].strip() if lines and done.returncode == 0 else None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _cache() -> Path | str:
    try:
        return cache_folder()
    except (HPFError, RuntimeError) as error:
        return str(error)


def _temporary() -> Path | str:
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        return error.strerror or str(error)


def _folder(place: Path | str) -> dict[str, Any]:
    """Where it is, how much is left there, and why it can't be written if it can't."""
    if isinstance(place, str):
        return {"path": None, "free_bytes": None, "error": place}
    try:
        nearest = next(p for p in (place, *place.absolute().parents) if p.exists())
        free = shutil.disk_usage(nearest).free
        with tempfile.TemporaryFile(dir=nearest):
            return {"path": str(place), "free_bytes": free, "error": ""}
    except OSError as error:
        return {"path": str(place), "free_bytes": None, "error": error.strerror or str(error)}
