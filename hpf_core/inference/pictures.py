"""Draws a predicted frame: the depth image with the hands' bones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hpf_core.data.cameras import Rig
from hpf_core.files.cache import write_atomic
from hpf_core.inference.streams import PredictedFrame

_COLOURS = {"right": (240, 140, 40), "left": (70, 160, 240)}
_RANGE_MM = 500.0  # depth range from bright to dark


def write_picture(path: Path, frame: PredictedFrame, links: Sequence[tuple[int, int]]) -> None:
    """Write the frame's (first) depth image as PNG, near surfaces bright, with right hands orange and left hands blue.

    Args:
        path: the file.
        frame: the prediction, with its depth image.
        links: pairs of points that are the ends of a bone.
    """
    assert frame.depth is not None
    depth = frame.depth[0] if isinstance(frame.camera, Rig) else frame.depth
    picture = Image.fromarray(_grey(np.asarray(depth))).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for hand in frame.hands:
        for first, last in links:
            ends = [tuple(hand.pixels[first]), tuple(hand.pixels[last])]
            draw.line(ends, fill=_COLOURS[hand.side], width=2)
        for u, v in hand.pixels:
            draw.ellipse([u - 2, v - 2, u + 2, v + 2], fill=_COLOURS[hand.side])
    write_atomic(path, lambda temporary: picture.save(temporary, "PNG"))


def _grey(depth: np.ndarray) -> np.ndarray:
    """(H, W) uint8, bright for near surfaces, black without a return."""
    seen = np.nan_to_num(depth.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    known = seen > 0
    near = float(np.percentile(seen[known][::16], 1)) if known.any() else 0.0
    share = 1 - (seen - near) / _RANGE_MM
    return np.where(known, (50 + 180 * share.clip(0, 1)), 0).astype(np.uint8)
