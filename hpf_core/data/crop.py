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

from hpf_core.data.cameras import Camera
from hpf_core.frames import State
from hpf_core.grid import Grid

_JUMP = 12.0  # a step of more than this many footprints between neighbours is an edge: 85 degrees from head-on
_SPARE_MM = 0.1  # by so much a first look at depths, whose rounding differs, is more generous than the second
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
    # With a border, and NaN where nothing is known: neighbours need no test of whether they are there.
    z = np.full((rows.stop - rows.start + 2, columns.stop - columns.start + 2), np.nan, dtype=np.float32)
    np.copyto(z[1:-1, 1:-1], depth[window], where=returned[window], casting="unsafe")
    width, z_flat = z.shape[1], z.ravel()
    turn, centre = pose[:3, :3].T.astype(np.float32), pose[:3, 3].astype(np.float32)
    du = (np.arange(width, dtype=np.float32) + np.float32(columns.start - 1 - camera.cx)) * np.float32(1 / camera.fx)
    dv = (np.arange(len(z), dtype=np.float32) + np.float32(rows.start - 1 - camera.cy)) * np.float32(1 / camera.fy)
    # Depth in the crop's frame, of all pixels: most are before or behind the cube and are done with here.
    along = z * (turn[2, 0] * du + (turn[2, 1] * dv + turn[2, 2])[:, None]) - turn[2] @ centre
    flat = np.flatnonzero(np.abs(along) < np.float32(grid.far_mm + _SPARE_MM))

    here = z_flat.take(flat)
    v, u = np.divmod(flat.astype(np.int32), np.int32(width))
    du, dv = du.take(u), dv.take(v)
    at = np.stack([du * here, dv * here, here]) - centre[:, None]
    if pose[0, 0] != 1:
        at = _turned(turn, at)
    # No patch reaches further than `_WIDEST` pixels: what is farther outside of the cube covers no ray.
    side = np.float32(grid.far_mm + _WIDEST * grid.pixel_mm)
    near = np.flatnonzero((np.abs(at[2]) < np.float32(grid.far_mm)) & (np.abs(at[0]) < side) & (np.abs(at[1]) < side))
    if not len(near):
        return
    flat, here, du, dv, at = flat[near], here[near], du[near], dv[near], at[:, near]

    # Half the sides of the box around the patch's parallelogram: its steps to the next pixel along a row and a column.
    wide, high = here * np.float32(1 / camera.fx), here * np.float32(1 / camera.fy)
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
    # A patch of at most two grid pixels covers up to three rays along each axis; nearly all cover just one.
    for dy in range(3):
        for dx in range(3):
            good = np.flatnonzero((more[0] >= dx) & (more[1] >= dy))
            np.minimum.at(out, ray[good] + (dy * grid.size + dx), nearest[good])


def _turned(turn: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """`turn` (2 or 3, 3) times vectors (3, K), by no library that would start threads: all cores have work already."""
    return turn[:, :1] * vectors[0] + turn[:, 1:2] * vectors[1] + turn[:, 2:] * vectors[2]


def _slopes(
    here: np.ndarray, z: np.ndarray, flat: np.ndarray, step: int, footprint: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """dz (K,) from the pixel before and to the one after along an axis, mm; 0 across an edge or where one is missing.

    Args:
        here: (K,) mm of the pixels.
        z: the image, flat, mm; NaN where nothing is known.
        flat: (K,) the pixels' places in `z`.
        step: from a pixel to the next one along the axis.
        footprint: (K,) mm, how wide a pixel is there.
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
    """(2, K) mm, how far apart a pixel and its neighbours along an axis lie, along the crop's x and y.

    Of both neighbours the farther counts: noise and whole millimetres move pixels along their slanted rays, and
    patches that only reached half-way to the nearer one would leave cracks on the other side.
    """
    found = []
    for slope in slopes:
        step = np.stack([du * slope + footprint[0], dv * slope + footprint[1], slope])
        found.append(np.abs(step[:2] if turn is None else _turned(turn[:2], step)))
    return np.maximum(*found)


def _close_cracks(out: np.ndarray, crossed: np.ndarray) -> None:
    """Fill uncovered rays amid a surface, in place: noise along slanted rays pulls neighbouring patches apart.

    A ray is a crack where three of its four neighbours are covered and the image sees something inside of the cube
    there; between two fingers it sees what lies behind. It takes the mean of the covered neighbours.
    """
    bordered = np.pad(out, 1, constant_values=np.inf)
    values, width = bordered.ravel(), bordered.shape[1]
    row, column = np.nonzero(crossed & ~np.isfinite(out))
    open_rays = (row + 1) * width + column + 1
    for _ in range(2):  # where two cracks meet, one closes first
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
    """State (H, W) uint8 of rays that no patch covers, from the image pixel that sees each ray's middle; and where that
    pixel sees something inside of the cube (H, W) bool."""
    axis = grid.axis(dtype=torch.float64).numpy()
    turn, centre = pose[:3, :3], pose[:3, 3]
    if turn[0, 0] == 1:  # straight: x is a column's own and y a row's, so that what follows is of lines, not of maps
        x, y, z = axis + centre[0], (axis + centre[1])[:, None], centre[2:]
    else:
        x, y, z = (turn[k, 0] * axis + (turn[k, 1] * axis + centre[k])[:, None] for k in range(3))
    before = z > 1.0  # in front of the camera
    z = np.where(before, z, 1.0)
    u = np.rint(x / z * camera.fx + camera.cx).astype(np.int64)
    v = np.rint(y / z * camera.fy + camera.cy).astype(np.int64)
    sees_u, sees_v = before & (u >= 0) & (u < camera.width), (v >= 0) & (v < camera.height)
    sees, u, v = sees_u & sees_v, np.where(sees_u, u, 0), np.where(sees_v, v, 0)
    # Depth in the crop's frame of what the pixel sees: along the pixel's ray, z in the camera grows in proportion.
    ray = turn[0, 2] * ((u - camera.cx) / camera.fx) + turn[1, 2] * ((v - camera.cy) / camera.fy) + turn[2, 2]
    pixel = v * camera.width + u
    along = ray * depth.ravel().take(pixel) - centre @ turn[:, 2]
    known = sees & returned.ravel().take(pixel) & (along > -grid.far_mm)
    return np.where(known, np.uint8(State.EMPTY), np.uint8(State.UNKNOWN)), known & (along < grid.far_mm)
