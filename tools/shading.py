"""A small z-buffer for pictures: triangles under an orthographic camera, Lambert shading with interpolated normals."""

from __future__ import annotations

import numpy as np
from remesh import normals

LIGHT = np.array([-0.45, -0.55, -0.70]) / np.linalg.norm([-0.45, -0.55, -0.70])


def draw(vertices: np.ndarray, faces: np.ndarray, size: int, cube_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth (size, size) mm, inf where nothing, and normals (size, size, 3) of a mesh seen along +z."""
    pixel = cube_mm / size
    smooth = normals(vertices, faces)
    screen = vertices[:, :2] / pixel + size / 2 - 0.5
    depth, normal = np.full((size, size), np.inf), np.zeros((size, size, 3))
    for face in faces:
        p, z, n = screen[face], vertices[face, 2], smooth[face]
        (u0, v0), (u1, v1) = np.ceil(p.min(0)).astype(int), np.floor(p.max(0)).astype(int)
        u0, v0, u1, v1 = max(u0, 0), max(v0, 0), min(u1, size - 1), min(v1, size - 1)
        area = (p[1, 0] - p[0, 0]) * (p[2, 1] - p[0, 1]) - (p[1, 1] - p[0, 1]) * (p[2, 0] - p[0, 0])
        if u0 > u1 or v0 > v1 or abs(area) < 1e-9:
            continue
        u, v = np.meshgrid(np.arange(u0, u1 + 1), np.arange(v0, v1 + 1))
        b = ((p[2, 0] - p[1, 0]) * (v - p[1, 1]) - (p[2, 1] - p[1, 1]) * (u - p[1, 0])) / area
        c = ((p[0, 0] - p[2, 0]) * (v - p[2, 1]) - (p[0, 1] - p[2, 1]) * (u - p[2, 0])) / area
        weights = np.stack([b, c, 1 - b - c], axis=-1)
        height = weights @ z
        window = depth[v0 : v1 + 1, u0 : u1 + 1]
        seen = (weights.min(-1) >= -1e-9) & (height < window)
        window[seen] = height[seen]
        normal[v0 : v1 + 1, u0 : u1 + 1][seen] = (weights @ n)[seen]
    return depth, normal


def draw_spheres(centres: np.ndarray, radii: np.ndarray, size: int, cube_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """As `draw`, of spheres."""
    axis = (np.arange(size) + 0.5 - size / 2) * cube_mm / size
    x, y = np.meshgrid(axis, axis)
    depth, normal = np.full((size, size), np.inf), np.zeros((size, size, 3))
    for centre, radius in zip(centres, radii, strict=True):
        left = radius**2 - (x - centre[0]) ** 2 - (y - centre[1]) ** 2
        z = centre[2] - np.sqrt(np.maximum(left, 0))
        seen = (left > 0) & (z < depth)
        depth[seen] = z[seen]
        normal[seen] = (np.stack([x, y, z], axis=-1)[seen] - centre) / radius
    return depth, normal


def shade(depth: np.ndarray, normal: np.ndarray, colour: tuple[float, float, float], fine: int = 2) -> np.ndarray:
    """(size / fine, size / fine, 3) in [0, 1], on white; averaged over fine x fine pixels."""
    unit = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    light = 0.22 + 0.6 * np.maximum(unit @ LIGHT, 0) + 0.22 * np.maximum(-unit[..., 2], 0)
    image = np.where(np.isfinite(depth)[..., None], np.clip(light[..., None] * np.array(colour), 0, 1), 1.0)
    height, width = depth.shape
    return image.reshape(height // fine, fine, width // fine, fine, 3).mean(axis=(1, 3))
