"""Exact depth maps of a few balls in NumPy float64: every ray against every ball. +inf where a ray meets none."""

from __future__ import annotations

import numpy as np

from hpf_core.data.cameras import Camera
from hpf_core.grid import Grid


def orthographic(centres: np.ndarray, radii: np.ndarray, grid: Grid) -> np.ndarray:
    """Depth (H, W) mm of balls at (E, 3) mm in a crop's frame, of radii (E,) mm."""
    axis = (np.arange(grid.size) + 0.5 - grid.size / 2) * grid.cube_mm / grid.size
    depth = np.full((grid.size, grid.size), np.inf)
    for (x, y, z), radius in zip(np.asarray(centres, np.float64), radii, strict=True):
        left = radius**2 - (axis[None] - x) ** 2 - (axis[:, None] - y) ** 2
        depth = np.fmin(depth, np.where(left >= 0, z - np.sqrt(np.maximum(left, 0)), np.inf))
    return depth


def perspective(centres: np.ndarray, radii: np.ndarray, camera: Camera) -> np.ndarray:
    """Depth z (H, W) mm of balls before a camera, at (E, 3) mm in its frame, of radii (E,) mm.

    Pixel (u, v) looks along d = ((u - cx) / fx, (v - cy) / fy, 1); its depth is the nearer root of |z d - c| = r.
    """
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    ray = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], axis=-1)
    squared = (ray**2).sum(-1)
    depth = np.full(u.shape, np.inf)
    for centre, radius in zip(np.asarray(centres, np.float64), radii, strict=True):
        along = ray @ centre
        left = along**2 - squared * (centre @ centre - radius**2)
        depth = np.fmin(depth, np.where(left >= 0, (along - np.sqrt(np.maximum(left, 0))) / squared, np.inf))
    return depth
