"""Points and normals of a depth map: planes through small windows."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d, maximum_filter, minimum_filter
from scipy.spatial import cKDTree

from hpf_core.data.cameras import Camera
from hpf_core.data.hand_calibration.seen_hands import Surface

_HALF = 2  # pixels of a window on each side of its middle
_STEP_MM = 20.0  # a window with a larger range of depth spans two surfaces
_HEAD_ON = 0.35  # least cosine between a normal and the ray: beyond 70 degrees, depth is unreliable
_HAND_MM = 30.0  # a surface point nearer than this to an estimated point belongs to the hand
_ON_HAND, _BESIDE = 1200, 1500  # largest numbers of points of a hand, and of all else


def surface_points(depth: np.ndarray, camera: Camera, hand: np.ndarray, beside: bool) -> Surface:
    """Take points and normals of a depth map.

    Args:
        depth: (H, W) mm; 0 without return.
        camera: of the image.
        hand: (J, 3) mm, the estimated hand in the camera's frame.
        beside: take points beside the hand too.
    """
    pixels = camera.project(hand)[:, :2]
    reach = _HAND_MM * max(camera.fx, camera.fy) / max(float(hand[:, 2].min()), 100.0)
    box = [
        slice(max(int(low - reach), 0), max(int(high + reach) + 1, 0))
        for low, high in zip(pixels.min(0)[::-1], pixels.max(0)[::-1], strict=True)
    ]
    points, normals = _planes(depth, camera, box[0], box[1])
    if len(points):
        near = cKDTree(hand).query(points, distance_upper_bound=_HAND_MM)[0] < _HAND_MM
        few = _spread(np.flatnonzero(near), _ON_HAND)
        points, normals = points[few], normals[few]
    on_hand = np.ones(len(points), bool)
    if beside:
        others, others_normals = _planes(depth, camera, slice(None), slice(None))
        if len(others):
            far = ~np.isfinite(cKDTree(hand).query(others, distance_upper_bound=_HAND_MM)[0])
            few = _spread(np.flatnonzero(far), _BESIDE)
            points = np.concatenate([points, others[few]])
            normals = np.concatenate([normals, others_normals[few]])
            on_hand = np.concatenate([on_hand, np.zeros(len(few), bool)])
    return Surface(points.astype(np.float32), normals.astype(np.float32), on_hand)


def _planes(depth: np.ndarray, camera: Camera, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """(K, 3) mm and normals of the pixels of a part of an image whose window is one surface."""
    z = depth[rows, columns].astype(np.float64)
    if min(z.shape) < 2 * _HALF + 1:
        return np.zeros((0, 3)), np.zeros((0, 3))
    across, down = (ray[rows, columns] for ray in camera.rays())
    size = 2 * _HALF + 1
    low, high = minimum_filter(z, size, mode="constant"), maximum_filter(z, size, mode="constant")
    v, u = np.nonzero((low > 0) & (high - low < _STEP_MM) & np.isfinite(across))
    # The least-squares plane over a full window: a depth's slope is its covariance with the pixel's place.
    line, flat = np.arange(-_HALF, _HALF + 1.0), np.ones(size)
    scale = 1 / (size * np.square(line).sum())
    slope_u = correlate1d(correlate1d(z, line, axis=1), flat, axis=0)[v, u] * scale
    slope_v = correlate1d(correlate1d(z, flat, axis=1), line, axis=0)[v, u] * scale
    here = z[v, u]
    ray = np.stack([across[v, u], down[v, u], np.ones(len(u))], axis=-1)
    along_u = ray * slope_u[:, None]
    along_u[:, 0] += here / camera.fx
    along_v = ray * slope_v[:, None]
    along_v[:, 1] += here / camera.fy
    normal = np.cross(along_v, along_u)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    head_on = -(normal * ray).sum(axis=-1) / np.linalg.norm(ray, axis=-1)
    good = head_on > _HEAD_ON
    return (ray * here[:, None])[good], normal[good]


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))] if len(rows) else rows
