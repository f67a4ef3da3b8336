"""What figures say of the data that they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def about_evaluation(document: Mapping[str, Any]) -> str:
    """Data, split and number of frames of an evaluation, as `summary.json` lists it."""
    frames, joints = document.get("frames"), document.get("joints")
    parts = [
        f"{document.get('data')}/{document.get('split')}",
        f"{frames:,} frames" if isinstance(frames, int) else "",
        f"{joints} joints" if joints else "",
    ]
    kind = "simulated data: " if document.get("simulated") else ""
    return kind + ", ".join(part for part in parts if part)


def about_training(simulated: bool) -> str:
    """What a run trained on."""
    return "simulated data" if simulated else "real and synthetic images"
