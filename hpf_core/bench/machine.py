"""Describes the machine of a speed measurement."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

import hpf_core
from hpf_core.native import compiler


def machine(device: torch.device) -> dict[str, Any]:
    """Return device, processor, threads and versions, as plain JSON values."""
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "hpf": hpf_core.__version__,
    }
    return found


def _processor() -> str:
    """The processor's name according to the system."""
    _, _, name = compiler.processor().get("model name", "").partition(":")
    return name.strip() or platform.processor() or platform.machine()
