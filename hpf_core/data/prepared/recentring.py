"""Moves the centres of crops: cuts new crops out of maps that are wider by a margin.

A wider map has the crop's pitch and frame. A crop around a moved centre is a window of the wider map, if the centre
moves sideways by whole pixels and by any length in depth. So nothing is resampled. There are three differences from a
crop that is made at the new centre. First, the centre is the nearest one on the grid, off by half a pixel at most.
Second, a crop keeps its rotation along the ray through its first centre. The rigid maps contain both, so points map to
the rig's frame exactly. Third, surfaces in the margin before and behind the cube affect only the rays they cover. In a
crop that is made at the new centre, the pixel behind the middle of each ray decides, a few pixels aside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpf_core.data.prepared.store import PER_MM, CropStore
from hpf_core.frames import State
from hpf_core.grid import Grid


def wider(grid: Grid, margin: int) -> Grid:
    """The grid with `margin` more pixels on each side, and the same amount of depth before and behind."""
    size = grid.size + 2 * margin
    return Grid(size, grid.cube_mm * size / grid.size) if margin else grid


@dataclass(frozen=True)
class Shifts:
    """The shifts of F frames' crops from their original positions.

    Attributes:
        pixels: (F, V, 2) int64, columns and rows, within the margin.
        depth: (F, V) int64, tenths of a millimetre away from the camera.
        moved: (F,) bool, False for frames that keep their original position.
    """

    pixels: np.ndarray
    depth: np.ndarray
    moved: np.ndarray

    @staticmethod
    def none(frames: int, views: int) -> Shifts:
        """Shifts of zero for every frame."""
        return Shifts(
            np.zeros((frames, views, 2), np.int64), np.zeros((frames, views), np.int64), np.zeros(frames, bool)
        )

    @staticmethod
    def towards(centres: np.ndarray, to_rig: np.ndarray, present: np.ndarray, grid: Grid, margin: int) -> Shifts:
        """The shifts that move crops to places in the rig's frame.

        A frame keeps its position if its place isn't finite, or lies beyond the margin in a present view.

        Args:
            centres: (F, 3) mm in the rig's frame.
            to_rig: (F, V, 4, 4) from the original crops to the rig's frame.
            present: (F, V) bool, the used views.
            grid: of the crops.
            margin: extra pixels of the maps on each side.
        """
        finite = np.isfinite(centres).all(axis=-1)
        away = np.where(finite[:, None], centres, 0.0)[:, None] - to_rig[..., :3, 3]
        inside = np.einsum("fvji,fvj->fvi", to_rig[..., :3, :3], away)  # (F, V, 3) mm in each crop's frame
        near = (np.abs(inside) <= margin * grid.pixel_mm).all(axis=-1) | ~present
        moved = finite & near.all(axis=-1)
        used = np.where((moved[:, None] & present)[..., None], inside, 0.0)
        pixels = np.rint(used[..., :2] / grid.pixel_mm).astype(np.int64)
        return Shifts(pixels, np.rint(used[..., 2] * PER_MM).astype(np.int64), moved)

    def take(self, frames: np.ndarray) -> Shifts:
        """Select the shifts of some frames."""
        return Shifts(self.pixels[frames], self.depth[frames], self.moved[frames])

    def first_view(self) -> Shifts:
        """Select the shifts of the first view."""
        return Shifts(self.pixels[:, :1], self.depth[:, :1], self.moved)

    def millimetres(self, grid: Grid) -> np.ndarray:
        """The shifts as (F, V, 3) float64 mm in each crop's frame."""
        return np.concatenate([self.pixels * grid.pixel_mm, self.depth[..., None] / PER_MM], axis=-1)

    def apply(self, to_frame: np.ndarray, grid: Grid) -> np.ndarray:
        """Convert rigid maps (F, V, 4, 4) from the original crops to rigid maps from the shifted crops."""
        shifted = to_frame.copy()
        shifted[..., :3, 3] += np.einsum("fvij,fvj->fvi", to_frame[..., :3, :3], self.millimetres(grid))
        return shifted


def cut(store: CropStore, rows: np.ndarray, shifts: Shifts, grid: Grid, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth (B, V, H, W) float32 mm and state (B, V, H, W) uint8 of crops around their shifted centres.

    The surfaces in the wider map get new states (`hpf_core.data.crop`): HIT inside the cube, EMPTY beyond it, UNKNOWN
    if
    they hide the cube.

    Args:
        store: of the wider maps.
        rows: (B,) rows of the store.
        shifts: of these B frames.
        grid: of the crops.
        margin: extra pixels of the maps on each side.
    """
    if not margin:
        return store.depth[rows].astype(np.float32) / np.float32(PER_MM), store.state[rows]
    window = (grid.size, grid.size)
    place = (
        rows[:, None],
        np.arange(shifts.depth.shape[1]),
        shifts.pixels[..., 1] + margin,
        shifts.pixels[..., 0] + margin,
    )
    stored = np.lib.stride_tricks.sliding_window_view(store.depth, window, axis=(-2, -1))[place]
    state = np.lib.stride_tricks.sliding_window_view(store.state, window, axis=(-2, -1))[place]
    # Sixteen bits hold a cube of twice any size; the shift is below the margin.
    stored = stored - shifts.depth[..., None, None].astype(np.int16)
    far = round(grid.far_mm * PER_MM)
    seen = state == State.HIT
    state[seen & (stored <= -far)] = State.UNKNOWN
    state[seen & (stored >= far)] = State.EMPTY
    depth = np.where(state == State.HIT, stored, np.int16(far)).astype(np.float32)
    depth /= np.float32(PER_MM)
    return depth, state
