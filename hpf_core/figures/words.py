"""Descriptions of the data in figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def about_evaluation(document: Mapping[str, Any]) -> str:
    """Data, split and number of frames of an evaluation in `summary.json`."""
    frames, joints = document.get("frames"), document.get("joints")
    parts = [
        f"{document.get('data')}/{document.get('split')}",
        f"{frames:,} frames" if isinstance(frames, int) else "",
        f"{joints} joints" if joints else "",
    ]
    kind = "simulated data: " if document.get("simulated") else ""
    return kind + ", ".join(part for part in parts if part)


def about_training(simulated: bool) -> str:
    """Describe the training data of a run."""
    return "simulated data" if simulated else "real and synthetic images"
