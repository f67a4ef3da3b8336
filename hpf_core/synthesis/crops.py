"""Cut the hand's cube out of a camera's depth image and resample it orthographically (`docs/geometry.md`, "Crop").

A camera pixel covers a small patch of the surface that it sees: half-way to its neighbours where the surface goes on,
and its own footprint z / f at an edge. A crop's pixel is a ray; it is HIT where a patch inside of the cube covers that
ray, and holds the nearest such patch's depth. Every other ray is told by the image pixel that sees its middle, at the
centre's depth:

- EMPTY where that pixel sees something beyond the cube, or looks past the surfaces inside it;
- UNKNOWN where it returned nothing, lies outside of the image, or where something stands before the cube and hides it:
  nothing was learnt of the cube along that ray.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpf_core.frames import State
from hpf_core.geometry import Grid
from hpf_core.synthesis.rigs import Camera

_JUMP = 12.0  # a step of more than this many footprints between neighbours is an edge: 85 degrees from head-on
_WIDEST = 1.0  # no patch reaches further than this many grid pixels from its middle


@dataclass(frozen=True)
class Crop:
    """A crop of one image.

    Attributes:
        depth: (H, W) float32 mm from the centre; half the cube where not HIT.
        state: (H, W) uint8, `State`.
        to_camera: (4, 4) float64, from the crop's frame to the camera's.
    """

    depth: np.ndarray
    state: np.ndarray
    to_camera: np.ndarray


def frame_at(centre: np.ndarray, turned: bool) -> np.ndarray:
    """(4, 4) float64, from the frame of a crop at `centre` (3,) mm to the camera's.

    With `turned`, z runs along the ray through the centre, by the smallest rotation that does it, so without roll.
    """
    pose = np.eye(4)
    pose[:3, 3] = centre
    if turned:
        ray = centre / np.linalg.norm(centre)
        # Rodrigues' formula for the turn from (0, 0, 1) to the ray, about their cross product (-ray_y, ray_x, 0).
        cross = np.array([[0, 0, ray[0]], [0, 0, ray[1]], [-ray[0], -ray[1], 0]])
        pose[:3, :3] = np.eye(3) + cross + cross @ cross / (1 + ray[2])
    return pose


def crop(depth: np.ndarray, returned: np.ndarray, camera: Camera, centre: np.ndarray, grid: Grid, turned: bool) -> Crop:
    """Crop a depth image around a centre.

    Args:
        depth: (H, W) mm of the image.
        returned: (H, W) bool, where the sensor returned something.
        camera: of the image.
        centre: (3,) mm in the camera's frame, in front of it.
        grid: of the crop.
        turned: whether the crop's z runs along the ray through the centre.
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
    """Depth and state (N, H, W) of orthographic maps, by the rules above: what a sensor would have made of them.

    Args:
        depth: (N, H, W) mm from the centre, not clipped, +inf for none.
        missing: (N, H, W) bool, where nothing is returned.
        grid: of the crop.
    """
    unknown = missing | (depth < -grid.far_mm)
    hit = (depth < grid.far_mm) & ~unknown
    state = hit.to(torch.uint8) * int(State.HIT) + unknown.to(torch.uint8) * int(State.UNKNOWN)
    return torch.where(hit, depth, grid.far_mm), state


def _window(camera: Camera, pose: np.ndarray, cube_mm: float) -> tuple[slice, slice] | None:
    """Rows and columns of the image that may see the cube, or None where the cube isn't in the image."""
    corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), axis=-1).reshape(-1, 3) * cube_mm
    corners = corners @ pose[:3, :3].T + pose[:3, 3]
    corners[:, 2] = np.maximum(corners[:, 2], 1.0)  # the part behind the camera's plane isn't seen
    image = camera.project(corners)[:, :2]
    first = np.clip(np.floor(image.min(0)).astype(int) - 1, 0, (camera.width, camera.height))
    last = np.clip(np.ceil(image.max(0)).astype(int) + 2, 0, (camera.width, camera.height))
    if (last - first < 2).any():
        return None
    return slice(first[1], last[1]), slice(first[0], last[0])


def _splat(
    out: np.ndarray,
    depth: np.ndarray,
    returned: np.ndarray,
    window: tuple[slice, slice],
    camera: Camera,
    pose: np.ndarray,
    grid: Grid,
) -> None:
    """Lower `out` (H * W) to the depth of each image pixel's patch at the rays that it covers."""
    rows, columns = window
    seen, z = returned[window], depth[window].astype(np.float32)
    reach = np.float32(grid.cube_mm / 2 * (3**0.5 if pose[0, 0] != 1 else 1))
    inside = seen & (np.abs(z - np.float32(pose[2, 3])) <= reach)
    v, u = np.nonzero(inside)
    if not len(v):
        return
    height, width = z.shape
    flat, z_flat, seen_flat = v * width + u, z.ravel(), seen.ravel()
    here = z_flat[flat]
    du = (u + np.float32(columns.start - camera.cx)) * np.float32(1 / camera.fx)
    dv = (v + np.float32(rows.start - camera.cy)) * np.float32(1 / camera.fy)
    # The surface's slope along a row and along a column, dz for one pixel.
    footprint = here * np.float32(1 / camera.fx)
    slope_u = _slope(here, z_flat, seen_flat, flat, np.where(u > 0, -1, 0), np.where(u < width - 1, 1, 0), footprint)
    slope_v = _slope(
        here, z_flat, seen_flat, flat, np.where(v > 0, -width, 0), np.where(v < height - 1, width, 0), footprint
    )

    turn, centre = pose[:3, :3].astype(np.float32), pose[:3, 3].astype(np.float32)
    at = np.stack([du * here, dv * here, here]) - centre[:, None]
    step_u = np.stack([footprint + du * slope_u, dv * slope_u, slope_u])
    step_v = np.stack([du * slope_v, footprint + dv * slope_v, slope_v])
    if pose[0, 0] != 1:
        at, step_u, step_v = turn.T @ at, turn.T @ step_u, turn.T @ step_v
    # Half the sides of the box around the patch's parallelogram, and the box in grid pixels.
    half = np.minimum((np.abs(step_u[:2]) + np.abs(step_v[:2])) / 2, np.float32(_WIDEST * grid.pixel_mm))
    scale, middle = np.float32(1 / grid.pixel_mm), np.float32(grid.size / 2 - 0.5)
    first = np.ceil((at[:2] - half) * scale + middle).astype(np.int32)
    last = np.floor((at[:2] + half) * scale + middle).astype(np.int32)
    covers = (
        (last >= first).all(0)
        & (first < grid.size).all(0)
        & (last >= 0).all(0)
        & (np.abs(at[2]) < np.float32(grid.far_mm))
    )
    first, last, near = first[:, covers], last[:, covers], at[2, covers]
    # A patch of at most two grid pixels covers up to three rays along each axis; nearly all cover just one.
    for dy in range(3):
        for dx in range(3):
            x, y = first[0] + dx, first[1] + dy
            good = (x <= last[0]) & (y <= last[1]) & (x >= 0) & (x < grid.size) & (y >= 0) & (y < grid.size)
            if good.any():
                np.minimum.at(out, y[good] * grid.size + x[good], near[good])


def _slope(
    here: np.ndarray,
    z: np.ndarray,
    seen: np.ndarray,
    flat: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    footprint: np.ndarray,
) -> np.ndarray:
    """dz for one pixel along an axis, mm, 0 where both neighbours are across an edge, missing or outside.

    Of two neighbours the farther in depth counts: noise moves pixels along their rays, and patches that only reached
    half-way to the nearer one would leave cracks.
    """

    def step(offset: np.ndarray) -> np.ndarray:
        other = flat + offset
        change = z[other] - here
        change[~seen[other] | (np.abs(change) > _JUMP * footprint)] = 0
        return change

    back, forth = step(before), step(after)
    return np.where(np.abs(forth) >= np.abs(back), forth, -back)


def _close_cracks(out: np.ndarray, crossed: np.ndarray) -> None:
    """Fill uncovered rays amid a surface, in place: noise along slanted rays pulls neighbouring patches apart.

    A ray is a crack where three of its four neighbours are covered and the image sees something inside of the cube
    there; between two fingers it sees what lies behind. It takes the mean of the covered neighbours.
    """

    def around(values: np.ndarray) -> np.ndarray:
        return values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]

    for _ in range(2):  # where two cracks meet, one closes first
        hit = np.isfinite(out)
        near = around(np.pad(hit, 1).astype(np.float32))
        cracks = ~hit & crossed & (near >= 3)
        out[cracks] = around(np.pad(np.where(hit, out, 0), 1))[cracks] / near[cracks]


def _beside(
    depth: np.ndarray, returned: np.ndarray, camera: Camera, pose: np.ndarray, grid: Grid
) -> tuple[np.ndarray, np.ndarray]:
    """State (H, W) uint8 of rays that no patch covers, from the image pixel that sees each ray's middle; and where that
    pixel sees something inside of the cube (H, W) bool."""
    axis = grid.axis(dtype=torch.float64).numpy()
    x, y = np.meshgrid(axis, axis)
    middle = np.stack([x, y, np.zeros_like(x)], axis=-1) @ pose[:3, :3].T + pose[:3, 3]
    before = middle[..., 2] > 1.0  # in front of the camera
    image = camera.project(np.where(before[..., None], middle, 1.0))
    u, v = np.rint(image[..., 0]).astype(np.int64), np.rint(image[..., 1]).astype(np.int64)
    sees = before & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    u, v = np.where(sees, u, 0), np.where(sees, v, 0)
    # Depth in the crop's frame of what the pixel sees: along the pixel's ray, z in the camera grows in proportion.
    ray = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], axis=-1)
    along = ((ray * depth[v, u][..., None] - pose[:3, 3]) @ pose[:3, :3])[..., 2]
    known = sees & returned[v, u] & (along > -grid.far_mm)
    return np.where(known, np.uint8(State.EMPTY), np.uint8(State.UNKNOWN)), known & (along < grid.far_mm)
