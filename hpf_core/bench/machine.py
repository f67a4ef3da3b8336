"""What a table of speeds was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

import hpf_core


def machine(device: torch.device) -> dict[str, Any]:
    """Device, processor, threads and versions, as plain JSON values."""
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
    """Its name, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
