"""Simulated rigs: several cameras look at one place."""

from __future__ import annotations

import math

import numpy as np

from hpf_core.data.cameras import PRIMESENSE, Camera, Rig
from hpf_core.errors import InputError


def arc(views: int, distance_mm: float, spread_deg: float, camera: Camera = PRIMESENSE) -> Rig:
    """Build a rig of `views` cameras on an arc. Each is `distance_mm` from (0, 0, distance) in the first one's frame.

    The first camera is in the middle. The others alternate between its right and its left, up to `spread_deg` for the
    outermost pair. Their heights alternate a little, so that no two cameras look along lines in one plane.

    Raises:
        InputError: `views` is less than one.
    """
    if views < 1:
        raise InputError(f"views is {views}, but a rig needs 1 camera or more.")
    target = np.array([0.0, 0.0, distance_mm])
    pairs = math.ceil((views - 1) / 2)
    poses = []
    for view in range(views):
        step = (view + 1) // 2
        azimuth = math.radians(spread_deg) * (step / pairs if pairs else 0.0) * (1 if view % 2 else -1)
        elevation = math.radians(spread_deg) * (0.0 if view == 0 else 0.3 if view % 2 else -0.2)
        poses.append(_looking_at(target, distance_mm, azimuth, elevation))
    return Rig((camera,) * views, np.stack(poses))


def _looking_at(target: np.ndarray, distance: float, azimuth: float, elevation: float) -> np.ndarray:
    """(4, 4): frame of an upright camera at `azimuth` to the right of the middle and `elevation` above it."""
    c, s = math.cos(azimuth), math.sin(azimuth)
    around = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    c, s = math.cos(elevation), math.sin(elevation)
    above = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    pose = np.eye(4)
    pose[:3, :3] = around @ above
    pose[:3, 3] = target - pose[:3, 2] * distance
    return pose
