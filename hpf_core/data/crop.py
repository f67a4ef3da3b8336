"""Cut the hand's cube out of a camera's depth image and resample it orthographically (`docs/geometry.md`, "Crop").

A camera pixel covers a small patch of its surface. On a continuous surface the patch extends half-way to the
neighbours; at an edge it has the pixel's own footprint z / f. A crop's pixel is a ray. The ray is HIT if a patch inside
the cube covers it, and holds the depth of the nearest such patch. For every other ray, the image pixel that sees the
ray's middle, at the centre's depth, decides:

- EMPTY if the pixel sees a surface beyond the cube, or looks past the surfaces inside it;
- UNKNOWN if the pixel has no return, lies outside the image, or sees a surface in front of the cube that hides it: the
  ray is unobserved.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from hpf_core.data.cameras import Camera, Volume
from hpf_core.frames import State
from hpf_core.grid import Grid

_JUMP = 12.0  # a step of more footprints than this between neighbours is an edge: 85 degrees from head-on
_SPARE_MM = 0.1  # tolerance of the first test of depths, because its rounding differs from the second test's
_FOLDED_PX = 4.0  # largest distance, from rounding, between a distorted ray and its pixel
_WIDEST = 1.0  # no patch extends farther from its middle than this many grid pixels


@dataclass(frozen=True)
class Crop:
    """A crop of one image.

    Attributes:
        depth: (H, W) float32 mm from the centre; half the cube if not HIT.
        state: (H, W) uint8, `State`.
        to_camera: (4, 4) float64, from the crop's frame to the camera's.
    """

    depth: np.ndarray
    state: np.ndarray
    to_camera: np.ndarray


def frame_at(centre: np.ndarray, turned: bool) -> np.ndarray:
    """(4, 4) float64: map from the frame of a crop at `centre` (3,) mm to the camera's frame.

    With `turned`, z points along the ray through the centre. The smallest such rotation is used, so there is no roll.
    """
    pose = np.eye(4)
    pose[:3, 3] = centre
    if turned:
        ray = centre / np.linalg.norm(centre)
        # Rodrigues' formula for the rotation from (0, 0, 1) to the ray, about their cross product (-ray_y, ray_x, 0).
        cross = np.array([[0, 0, ray[0]], [0, 0, ray[1]], [-ray[0], -ray[1], 0]])
        pose[:3, :3] = np.eye(3) + cross + cross @ cross / (1 + ray[2])
    return pose


def crop(depth: np.ndarray, returned: np.ndarray, camera: Camera, centre: np.ndarray, grid: Grid, turned: bool) -> Crop:
    """Crop a depth image around a centre.

    Args:
        depth: (H, W) mm of the image.
        returned: (H, W) bool, pixels with a return.
        camera: of the image.
        centre: (3,) mm in the camera's frame, in front of the camera.
        grid: of the crop.
        turned: whether the crop's z points along the ray through the centre.
    """
    pose = frame_at(np.asarray(centre, dtype=np.float64), turned)
    out = np.full(grid.size * grid.size, np.inf, dtype=np.float32)
    window = _window(camera, pose, grid.cube_mm)
    if window is not None:
        _splat(out, depth, returned, window, camera, pose, grid)
    nearest = out.reshape(grid.size, grid.size)
    state, crossed = _beside(depth, returned, camera, pose, grid)
    _close_cracks(nearest, crossed)
    hit = np.isfinite(nearest)
    state[hit] = State.HIT
    nearest[~hit] = grid.far_mm
    return Crop(nearest, state, pose)


def classify(depth: Tensor, missing: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Depth and state (N, H, W) of orthographic maps by the rules above, as a sensor would give them.

    Args:
        depth: (N, H, W) mm from the centre, not clipped, +inf for rays without surface.
        missing: (N, H, W) bool, pixels without return.
        grid: of the crop.
    """
    unknown = missing | (depth < -grid.far_mm)
    hit = (depth < grid.far_mm) & ~unknown
    state = hit.to(torch.uint8) * int(State.HIT) + unknown.to(torch.uint8) * int(State.UNKNOWN)
    return torch.where(hit, depth, grid.far_mm), state


def _window(camera: Camera, pose: np.ndarray, cube_mm: float) -> tuple[slice, slice] | None:
    """Rows and columns of the image that may see the cube, or None if the cube is outside the image."""
    corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), axis=-1).reshape(-1, 3) * cube_mm
    corners = corners @ pose[:3, :3].T + pose[:3, 3]
    corners[:, 2] = np.maximum(corners[:, 2], 1.0)  # the part behind the camera's plane is invisible
    rays = corners[:, :2] / corners[:, 2:]
    rows, columns = camera.window(tuple(rays.min(0).tolist()), tuple(rays.max(0).tolist()))
    return None if rows.stop - rows.start < 2 or columns.stop - columns.start < 2 else (rows, columns)


def _splat(
    out: np.ndarray,
    depth: np.ndarray,
    returned: np.ndarray,
    window: tuple[slice, slice],
    camera: Camera,
    pose: np.ndarray,
    grid: Grid,
) -> None:
    """Lower `out` (H * W) to the depth of each image pixel's patch at the rays that the patch covers."""
    rows, columns = window
    # A border, and NaN for unknown depth: then neighbours need no test for existence.
    z = np.full((rows.stop - rows.start + 2, columns.stop - columns.start + 2), np.nan, dtype=np.float32)
    np.copyto(z[1:-1, 1:-1], depth[window], where=returned[window], casting="unsafe")
    width, z_flat = z.shape[1], z.ravel()
    turn, centre = pose[:3, :3].T.astype(np.float32), pose[:3, 3].astype(np.float32)
    rays = _Rays.of(camera, rows, columns)
    # Depth of all pixels in the crop's frame. Most pixels are in front of or behind the cube and need no more work.
    along = z * (turn[2, 0] * rays.du + (turn[2, 1] * rays.dv + turn[2, 2])) - turn[2] @ centre
    flat = np.flatnonzero(np.abs(along) < np.float32(grid.far_mm + _SPARE_MM))

    here = z_flat.take(flat)
    du, dv = rays.take(flat)
    at = np.stack([du * here, dv * here, here]) - centre[:, None]
    if pose[0, 0] != 1:
        at = _turned(turn, at)
    # No patch extends farther than `_WIDEST` pixels: a pixel farther outside the cube covers no ray.
    side = np.float32(grid.far_mm + _WIDEST * grid.pixel_mm)
    near = np.flatnonzero((np.abs(at[2]) < np.float32(grid.far_mm)) & (np.abs(at[0]) < side) & (np.abs(at[1]) < side))
    if not len(near):
        return
    flat, here, du, dv, at = flat[near], here[near], du[near], dv[near], at[:, near]

    # Half the sides of the bounding box of the patch's parallelogram: the steps to the next pixel along row and column.
    wide, high = here * rays.step(0, flat), here * rays.step(1, flat)
    half = _reach(_slopes(here, z_flat, flat, 1, wide), du, dv, (wide, 0), turn if pose[0, 0] != 1 else None)
    half += _reach(_slopes(here, z_flat, flat, width, high), du, dv, (0, high), turn if pose[0, 0] != 1 else None)
    half = np.minimum(half / 2, np.float32(_WIDEST * grid.pixel_mm))
    # The box in grid pixels.
    scale, middle = np.float32(1 / grid.pixel_mm), np.float32(grid.size / 2 - 0.5)
    first = np.maximum(np.ceil((at[:2] - half) * scale + middle).astype(np.int32), 0)
    last = np.minimum(np.floor((at[:2] + half) * scale + middle).astype(np.int32), grid.size - 1)
    more = last - first
    covers = np.flatnonzero((more[0] >= 0) & (more[1] >= 0))
    ray, more, nearest = (first[1] * grid.size + first[0])[covers], more[:, covers], at[2, covers]
    # A patch of at most two grid pixels covers up to three rays along each axis; nearly all patches cover one.
    for dy in range(3):
        for dx in range(3):
            good = np.flatnonzero((more[0] >= dx) & (more[1] >= dy))
            np.minimum.at(out, ray[good] + (dy * grid.size + dx), nearest[good])


@dataclass(frozen=True)
class _Rays:
    """The viewing rays of the pixels in a part of an image, with a border of one pixel.

    Attributes:
        du, dv: x / z (H or 1, W) and y / z (H, W or 1), float32.
        steps: distance of neighbouring rays along a row and a column: numbers, or (H, W).
        shape: H, W.
    """

    du: np.ndarray
    dv: np.ndarray
    steps: tuple[np.ndarray | np.float32, np.ndarray | np.float32]
    shape: tuple[int, int]

    @staticmethod
    def of(camera: Camera, rows: slice, columns: slice) -> _Rays:
        shape = (rows.stop - rows.start + 2, columns.stop - columns.start + 2)
        if camera.is_distorted:
            part = (slice(rows.start, rows.stop + 2), slice(columns.start, columns.stop + 2))
            tables = [table[part] for table in _tables(camera)]
            return _Rays(tables[0], tables[1], (tables[2], tables[3]), shape)
        u, v = np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32)
        wide, high = np.float32(1 / camera.fx), np.float32(1 / camera.fy)
        du = (u + np.float32(columns.start - 1 - camera.cx)) * wide
        dv = (v + np.float32(rows.start - 1 - camera.cy)) * high
        return _Rays(du[None], dv[:, None], (wide, high), shape)

    def take(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rays of some pixels (K,), indexed through the part."""
        if self.du.shape == self.shape:
            return self.du.ravel().take(flat), self.dv.ravel().take(flat)
        v, u = np.divmod(flat.astype(np.int32), np.int32(self.shape[1]))
        return self.du[0].take(u), self.dv[:, 0].take(v)

    def step(self, axis: int, flat: np.ndarray) -> np.ndarray | np.float32:
        """Distance of neighbouring rays along an axis at some pixels (K,)."""
        step = self.steps[axis]
        return step.ravel().take(flat) if isinstance(step, np.ndarray) else step


@lru_cache(maxsize=32)
def _tables(camera: Camera) -> tuple[np.ndarray, ...]:
    """x / z, y / z, and their steps to neighbours (H + 2, W + 2) float32, of a distorted image with a border."""
    x, y = camera.rays()
    steps = (np.nan_to_num(np.abs(np.gradient(part, axis=axis))) for part, axis in ((x, 1), (y, 0)))
    return tuple(np.pad(part.astype(np.float32), 1) for part in (x, y, *steps))


def _whole(place: np.ndarray, size: int) -> np.ndarray:
    """Round to the nearest pixel. Positions far outside the image stay outside."""
    return np.rint(np.clip(place, -size, 2 * size)).astype(np.int64)


def inside_volume(depth: np.ndarray, camera: Camera, to_rig: np.ndarray, volume_mm: Volume) -> np.ndarray:
    """The pixels (H, W) of a depth map (H, W) mm whose surface lies in a box in the rig's frame."""
    x, y = camera.rays()
    inside = depth > 0
    for axis, (low, high) in enumerate(volume_mm):
        row = to_rig[axis]
        along = (row[0] * x + row[1] * y + row[2]) * depth + row[3]
        inside &= (along >= low) & (along <= high)
    return inside


def _turned(turn: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """`turn` (2 or 3, 3) times vectors (3, K), without a library that starts threads: all cores are busy already."""
    return turn[:, :1] * vectors[0] + turn[:, 1:2] * vectors[1] + turn[:, 2:] * vectors[2]


def _slopes(
    here: np.ndarray, z: np.ndarray, flat: np.ndarray, step: int, footprint: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """dz (K,) mm from the previous pixel and to the next one along an axis; 0 across an edge or a missing pixel.

    Args:
        here: (K,) mm of the pixels.
        z: the image, flat, mm; NaN for unknown depth.
        flat: (K,) the pixels' indices in `z`.
        step: index step to the next pixel along the axis.
        footprint: (K,) mm, width of a pixel at its depth.
    """
    back, forth = here - z.take(flat - step), z.take(flat + step) - here
    edge = _JUMP * footprint
    back[~(np.abs(back) <= edge)] = 0
    forth[~(np.abs(forth) <= edge)] = 0
    return back, forth


def _reach(
    slopes: tuple[np.ndarray, np.ndarray],
    du: np.ndarray,
    dv: np.ndarray,
    footprint: tuple[np.ndarray | int, np.ndarray | int],
    turn: np.ndarray | None,
) -> np.ndarray:
    """(2, K) mm: distance of a pixel from its neighbours along an axis, along the crop's x and y.

    The farther neighbour counts. Noise and whole millimetres move pixels along their slanted rays. Patches that reach
    only half-way to the nearer neighbour would leave cracks on the other side.
    """
    found = []
    for slope in slopes:
        step = np.stack([du * slope + footprint[0], dv * slope + footprint[1], slope])
        found.append(np.abs(step[:2] if turn is None else _turned(turn[:2], step)))
    return np.maximum(*found)


def _close_cracks(out: np.ndarray, crossed: np.ndarray) -> None:
    """Fill uncovered rays inside a surface, in place: noise along slanted rays separates neighbouring patches.

    A ray is a crack if three of its four neighbours are covered and the image sees a surface inside the cube there.
    Between two fingers, the image sees the surface behind them. A crack gets the mean of the covered neighbours.
    """
    bordered = np.pad(out, 1, constant_values=np.inf)
    values, width = bordered.ravel(), bordered.shape[1]
    row, column = np.nonzero(crossed & ~np.isfinite(out))
    open_rays = (row + 1) * width + column + 1
    for _ in range(2):  # of two adjacent cracks, one closes first
        around = values[open_rays + np.array([[1], [-1], [width], [-width]])]
        hit = np.isfinite(around)
        near = hit.sum(axis=0)
        cracks = near >= 3
        total = np.where(hit, around, 0)[:, cracks].sum(axis=0)
        values[open_rays[cracks]] = total / near[cracks]
        open_rays = open_rays[~cracks]
    out[:] = bordered[1:-1, 1:-1]


def _beside(
    depth: np.ndarray, returned: np.ndarray, camera: Camera, pose: np.ndarray, grid: Grid
) -> tuple[np.ndarray, np.ndarray]:
    """State (H, W) uint8 of uncovered rays, from the image pixel at each ray's middle, and (H, W) bool, whether that
    pixel sees a surface inside the cube."""
    axis = grid.axis(dtype=torch.float64).numpy()
    turn, centre = pose[:3, :3], pose[:3, 3]
    if turn[0, 0] == 1:  # axis-aligned: x depends on the column and y on the row only, so lines suffice instead of maps
        x, y, z = axis + centre[0], (axis + centre[1])[:, None], centre[2:]
    else:
        x, y, z = (turn[k, 0] * axis + (turn[k, 1] * axis + centre[k])[:, None] for k in range(3))
    before = z > 1.0  # in front of the camera
    z = np.where(before, z, 1.0)
    across, down = (x / z, y / z) if not camera.is_distorted else camera.distort(x / z, y / z)
    u = _whole(across * camera.fx + camera.cx, camera.width)
    v = _whole(down * camera.fy + camera.cy, camera.height)
    sees_u, sees_v = before & (u >= 0) & (u < camera.width), (v >= 0) & (v < camera.height)
    sees, u, v = sees_u & sees_v, np.where(sees_u, u, 0), np.where(sees_v, v, 0)
    # Depth of the pixel's surface in the crop's frame: along the pixel's ray, it grows in proportion to z.
    pixel = v * camera.width + u
    if camera.is_distorted:
        du, dv = (part.ravel().take(pixel) for part in camera.rays())
        # Far outside the image the model folds back into it, so we check that the pixel looks along the ray.
        sees &= np.maximum(np.abs(du - x / z) * camera.fx, np.abs(dv - y / z) * camera.fy) < _FOLDED_PX
    else:
        du, dv = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    ray = turn[0, 2] * du + turn[1, 2] * dv + turn[2, 2]
    along = ray * depth.ravel().take(pixel) - centre @ turn[:, 2]
    known = sees & returned.ravel().take(pixel) & (along > -grid.far_mm)
    return np.where(known, np.uint8(State.EMPTY), np.uint8(State.UNKNOWN)), known & (along < grid.far_mm)
