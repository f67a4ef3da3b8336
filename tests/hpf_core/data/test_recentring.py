"""Crops that are moved after they were made, against crops that are made where they are moved to."""

from __future__ import annotations

from types import SimpleNamespace

import balls
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpf_core.data.cameras import PRIMESENSE
from hpf_core.data.crop import Crop, crop
from hpf_core.data.hand_centre import fuse, in_cameras, in_rig
from hpf_core.data.prepared.recentring import Shifts, cut, wider
from hpf_core.frames import State
from hpf_core.grid import Grid
from hpf_core.simulation.rigs import arc

GRID, MARGIN = Grid(64), 16
CENTRE = np.array([40.0, -30.0, 850.0])


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A handful of balls, a wall behind them that slants out of the cube, and a hole."""
    centres = [(40, -30, 850), (80, -60, 820), (0, 10, 880), (60, 40, 900), (-60, -80, 800)]
    depth = balls.perspective(centres, [45, 25, 30, 35, 20], PRIMESENSE)
    wall = np.broadcast_to(780 + 0.6 * np.arange(640), depth.shape)
    depth = np.where(np.isfinite(depth), depth, wall)
    depth[200:230, 330:350] = 0
    return depth, depth > 0


DEPTH, RETURNED = scene()


def stored(*crops: Crop) -> SimpleNamespace:
    """What a store keeps of frames of one view."""
    return SimpleNamespace(
        depth=np.stack([np.rint(c.depth * 10).astype(np.int16) for c in crops])[:, None],
        state=np.stack([c.state for c in crops])[:, None],
    )


def moved_by(columns: int, rows: int, tenths: int) -> Shifts:
    return Shifts(np.array([[[columns, rows]]]), np.array([[tenths]]), np.array([True]))


@pytest.mark.parametrize(
    ("columns", "rows", "tenths"),
    [(0, 0, 0), (3, -5, 0), (0, 0, 300), (0, 0, -317), (-16, 16, 700), (16, -9, -750), (-7, 2, 51)],
)
def test_a_moved_crop_is_the_crop_made_there(columns: int, rows: int, tenths: int) -> None:
    wide = crop(DEPTH, RETURNED, PRIMESENSE, CENTRE, wider(GRID, MARGIN), turned=False)
    depth, state = cut(stored(wide), np.array([0]), moved_by(columns, rows, tenths), GRID, MARGIN)
    there = CENTRE + np.array([columns * GRID.pixel_mm, rows * GRID.pixel_mm, tenths / 10])
    made = crop(DEPTH, RETURNED, PRIMESENSE, there, GRID, turned=False)
    # Only rays at an edge are told otherwise: where no patch covers a ray, the image pixel that tells what lies beside
    # it is looked up at the depth of the first centre.
    same = state[0, 0] == made.state
    around = np.lib.stride_tricks.sliding_window_view(np.pad(made.state, 2, mode="edge"), (5, 5))
    inner = around.min(axis=(2, 3)) == around.max(axis=(2, 3))
    assert same[inner].mean() > 0.999
    assert inner.mean() > 0.6
    assert same.mean() > 0.97
    both = (state[0, 0] == State.HIT) & (made.state == State.HIT)
    assert both.mean() > 0.12
    off = np.abs(depth[0, 0] - made.depth)[both]
    assert np.quantile(off, 0.98) < 0.1
    assert (depth[state != State.HIT] == GRID.far_mm).all()
    assert set(np.unique(state)) >= {int(State.HIT), int(State.UNKNOWN)}


@pytest.mark.parametrize("turned", [False, True])
def test_the_maps_of_a_moved_crop_take_its_surface_where_it_is(turned: bool) -> None:
    """A ball's surface, read from the moved crop and taken to the camera's frame, is the ball's."""
    centre, ball, radius = np.array([250.0, 120.0, 800.0]), np.array([290.0, 80.0, 830.0]), 40.0
    depth = balls.perspective(ball[None], [radius], PRIMESENSE)
    depth = np.where(np.isfinite(depth), depth, 0)
    wide = crop(depth, depth > 0, PRIMESENSE, centre, wider(GRID, MARGIN), turned)
    shifts = Shifts.towards(ball[None], wide.to_camera[None, None], np.ones((1, 1), bool), GRID, MARGIN)
    assert shifts.moved.all()
    made, state = cut(stored(wide), np.array([0]), shifts, GRID, MARGIN)
    to_camera = shifts.apply(wide.to_camera[None, None], GRID)[0, 0]
    np.testing.assert_array_equal(to_camera[:3, :3], wide.to_camera[:3, :3])
    away = wide.to_camera[:3, :3].T @ (to_camera[:3, 3] - ball)
    assert np.abs(away[:2]).max() <= GRID.pixel_mm / 2 + 1e-9
    assert abs(away[2]) <= 0.05 + 1e-9
    row, column = np.nonzero(state[0, 0] == State.HIT)
    axis = GRID.axis(dtype=torch.float64).numpy()
    surface = np.stack([axis[column], axis[row], made[0, 0, row, column]], axis=-1)
    surface = surface @ to_camera[:3, :3].T + to_camera[:3, 3]
    distance = np.linalg.norm(surface - ball, axis=1)
    assert len(distance) > 150
    assert abs(np.median(distance) - radius) < 1.0
    # The ball is in the middle of its crop.
    assert abs(axis[column].mean()) < 6
    assert abs(axis[row].mean()) < 6


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), margin=st.sampled_from([0, 1, 4]))
def test_crops_are_cut_as_one_would_one_by_one(seed: int, margin: int) -> None:
    rng, grid = np.random.default_rng(seed), Grid(8, 40.0)
    size, far = 8 + 2 * margin, 200
    state = rng.integers(0, 3, (5, 2, size, size)).astype(np.uint8)
    depth = np.where(state == State.HIT, rng.integers(-far, far, state.shape), far).astype(np.int16)
    rows = rng.integers(0, 5, 4)
    shifts = Shifts(
        rng.integers(-margin, margin + 1, (4, 2, 2)),
        rng.integers(-50 * margin, 50 * margin + 1, (4, 2)),
        np.ones(4, bool),
    )
    found, found_state = cut(SimpleNamespace(depth=depth, state=state), rows, shifts, grid, margin)
    assert found.dtype == np.float32
    for b, row in enumerate(rows):
        for view in range(2):
            across, down = shifts.pixels[b, view] + margin
            for v in range(8):
                for u in range(8):
                    kind = state[row, view, v + down, u + across]
                    z = int(depth[row, view, v + down, u + across]) - int(shifts.depth[b, view])
                    if margin and kind == State.HIT and z <= -far:
                        kind = State.UNKNOWN
                    if margin and kind == State.HIT and z >= far:
                        kind = State.EMPTY
                    assert found_state[b, view, v, u] == kind
                    assert found[b, view, v, u] == np.float32(z if kind == State.HIT else far) / np.float32(10)


def test_what_lies_before_the_moved_cube_hides_and_what_lies_beyond_is_past() -> None:
    grid = Grid(4, 40.0)
    state = np.full((1, 1, 6, 6), State.HIT, np.uint8)
    depth = np.full((1, 1, 6, 6), 0, np.int16)
    for tenths, expected in (
        (0, State.HIT),
        (199, State.HIT),
        (200, State.UNKNOWN),
        (-199, State.HIT),
        (-200, State.EMPTY),
    ):
        found, told = cut(SimpleNamespace(depth=depth, state=state), np.array([0]), moved_by(0, 0, tenths), grid, 1)
        assert (told == expected).all(), tenths
        assert (found == (-tenths / 10 if expected == State.HIT else 20)).all()


def poses(rng: np.random.Generator, frames: int, views: int) -> np.ndarray:
    out = np.tile(np.eye(4), (frames, views, 1, 1))
    for pose in out.reshape(-1, 4, 4):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        pose[:3, :3] = turn * np.sign(np.linalg.det(turn))
        pose[:3, 3] = [*rng.normal(0, 5, 2), 800]
    return out


def test_frames_with_an_absurd_place_stay_where_they_are() -> None:
    rng = np.random.default_rng(0)
    to_rig = poses(rng, 7, 3)
    near = to_rig[:, :, :3, 3].mean(axis=1) + rng.normal(0, 8, (7, 3))
    present = np.ones((7, 3), bool)
    near[1] = np.nan
    near[2, 1] = np.inf
    near[3] += 300
    present[4, 1:] = False
    to_rig[4, 2, :3, 3] += 500  # of a view that the frame lacks: it has no say
    shifts = Shifts.towards(near, to_rig, present, GRID, MARGIN)
    assert shifts.moved.tolist() == [True, False, False, False, True, True, True]
    assert not shifts.pixels[[1, 2, 3]].any()
    assert not shifts.depth[[1, 2, 3]].any()
    assert not shifts.pixels[4, 1:].any()
    assert np.abs(shifts.pixels).max() <= MARGIN
    after = shifts.apply(to_rig, GRID)
    np.testing.assert_array_equal(after[~shifts.moved], to_rig[~shifts.moved])
    for f, v in ((0, 0), (0, 2), (4, 0), (6, 1)):
        away = to_rig[f, v, :3, :3].T @ (after[f, v, :3, 3] - near[f])
        assert np.abs(away[:2]).max() <= GRID.pixel_mm / 2 + 1e-9
        assert abs(away[2]) <= 0.05 + 1e-9
    none = Shifts.none(7, 3)
    np.testing.assert_array_equal(none.apply(to_rig, GRID), to_rig)


def test_wider_maps_have_the_same_pitch() -> None:
    wide = wider(GRID, MARGIN)
    assert (wide.size, wide.cube_mm) == (96, 450.0)
    assert wide.pixel_mm == GRID.pixel_mm
    assert torch.equal(wide.axis()[MARGIN:-MARGIN], GRID.axis())
    assert wider(GRID, 0) == GRID


def test_views_are_fused_and_one_that_is_wrong_has_no_say() -> None:
    said = np.array(
        [[[1.0, 2, 3], [2, 3, 4], [900, -900, 5]], [[1, 1, 1], [3, 3, 3], [np.nan, 0, 0]], [[np.nan] * 3] * 3]
    )
    np.testing.assert_array_equal(fuse(said), [[2, 2, 4], [2, 2, 2], [np.nan] * 3])
    np.testing.assert_array_equal(fuse(said[0, :1]), [1, 2, 3])


def test_one_place_in_every_camera() -> None:
    rig = arc(3, 850.0, 30.0)
    place = np.array([20.0, -10.0, 830.0])
    each = in_cameras(place, rig.to_rig)
    np.testing.assert_allclose(in_rig(each, rig.to_rig), np.tile(place, (3, 1)), atol=1e-9)
    np.testing.assert_allclose(each[0], place, atol=1e-9)
    assert np.linalg.norm(each[1] - place) > 10
