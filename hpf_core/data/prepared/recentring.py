"""Crops around other centres than those that they were made with, cut out of maps that are wider by a margin.

A wider map has the same pitch and frame as the crop, so a crop around a centre that was moved by whole pixels
sideways, and by any length in depth, is a window of it: nothing is resampled. Three things differ from a crop that is
made there. The centre is the nearest that lies on the grid, off by half a pixel at most; a crop that was turned along
the ray through its first centre keeps that turn; both stand in the rigid maps, so that points go to the rig's frame
exactly. And surfaces before and behind the cube, but inside of the wider one, tell the rays that they cover themselves;
those of a crop that is made there are told by what the camera sees past the middle of each ray, a few pixels aside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpf_core.data.prepared.store import PER_MM, CropStore
from hpf_core.frames import State
from hpf_core.grid import Grid


def wider(grid: Grid, margin: int) -> Grid:
    """The grid with `margin` pixels more on each side, and as much more depth before and behind."""
    size = grid.size + 2 * margin
    return Grid(size, grid.cube_mm * size / grid.size) if margin else grid


@dataclass(frozen=True)
class Shifts:
    """How far the crops of F frames lie from where they were made.

    Attributes:
        pixels: (F, V, 2) int64, columns and rows, within the margin.
        depth: (F, V) int64, tenths of a millimetre away from the camera.
        moved: (F,) bool, False for frames that stay where they were made.
    """

    pixels: np.ndarray
    depth: np.ndarray
    moved: np.ndarray

    @staticmethod
    def none(frames: int, views: int) -> Shifts:
        """Every frame where it was made."""
        return Shifts(
            np.zeros((frames, views, 2), np.int64), np.zeros((frames, views), np.int64), np.zeros(frames, bool)
        )

    @staticmethod
    def towards(centres: np.ndarray, to_rig: np.ndarray, present: np.ndarray, grid: Grid, margin: int) -> Shifts:
        """The shifts that bring crops around places in the rig's frame.

        A frame stays where it was made if its place isn't finite, or lies beyond the margin in a view that it has.

        Args:
            centres: (F, 3) mm in the rig's frame.
            to_rig: (F, V, 4, 4) from the crops as they were made to the rig's frame.
            present: (F, V) bool, the views that are used.
            grid: of the crops.
            margin: pixels by which the maps are wider.
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
        """Those of some of the frames."""
        return Shifts(self.pixels[frames], self.depth[frames], self.moved[frames])

    def first_view(self) -> Shifts:
        """Those of the first view alone."""
        return Shifts(self.pixels[:, :1], self.depth[:, :1], self.moved)

    def millimetres(self, grid: Grid) -> np.ndarray:
        """(F, V, 3) float64 mm in each crop's frame."""
        return np.concatenate([self.pixels * grid.pixel_mm, self.depth[..., None] / PER_MM], axis=-1)

    def apply(self, to_frame: np.ndarray, grid: Grid) -> np.ndarray:
        """Rigid maps (F, V, 4, 4) out of the crops as they were made, as maps out of the shifted crops."""
        shifted = to_frame.copy()
        shifted[..., :3, 3] += np.einsum("fvij,fvj->fvi", to_frame[..., :3, :3], self.millimetres(grid))
        return shifted


def cut(store: CropStore, rows: np.ndarray, shifts: Shifts, grid: Grid, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth (B, V, H, W) float32 mm and state (B, V, H, W) uint8 of crops, around their shifted centres.

    What the wider map has inside of its own depth is told anew (`hpf_core.data.crop`): HIT inside of the cube,
    EMPTY beyond it, UNKNOWN where it stands before the cube and hides it.

    Args:
        store: of the wider maps.
        rows: (B,) rows of the store.
        shifts: of these B frames.
        grid: of the crops.
        margin: pixels by which the maps are wider.
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
    # Sixteen bits hold a cube twice as wide as any; the shift is below the margin.
    stored = stored - shifts.depth[..., None, None].astype(np.int16)
    far = round(grid.far_mm * PER_MM)
    seen = state == State.HIT
    state[seen & (stored <= -far)] = State.UNKNOWN
    state[seen & (stored >= far)] = State.EMPTY
    depth = np.where(state == State.HIT, stored, np.int16(far)).astype(np.float32)
    depth /= np.float32(PER_MM)
    return depth, state
