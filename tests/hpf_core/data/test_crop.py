"""Crops of known scenes: surfaces appear where they are, rays that tell nothing say so."""

from __future__ import annotations

import balls
import numpy as np
import pytest
import torch

from hpf_core.data.cameras import PRIMESENSE
from hpf_core.data.crop import Crop, classify, crop, frame_at
from hpf_core.data.hand_centre import mass_centre
from hpf_core.frames import State
from hpf_core.grid import Grid
from hpf_core.simulation.rigs import arc

CENTRE = np.array([120.0, -80.0, 850.0])


def plane(normal: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Depth (480, 640) mm of a plane."""
    u, v = np.meshgrid(np.arange(640), np.arange(480))
    ray = np.stack([(u - 320) / 588.03, (v - 240) / 587.07, np.ones(u.shape)], axis=-1)
    return (normal @ point) / (ray @ normal)


def cut(depth: np.ndarray, size: int = 64, turned: bool = False, centre: np.ndarray = CENTRE) -> Crop:
    returned = np.isfinite(depth) & (depth > 0)
    return crop(np.where(returned, depth, 0), returned, PRIMESENSE, centre, Grid(size), turned)


@pytest.mark.parametrize("size", [64, 96, 128])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("slope", [0.0, 0.8])
def test_a_plane_appears_at_its_depth_without_holes(size: int, turned: bool, slope: float) -> None:
    normal = np.array([slope, 0.3 * slope, -1.0])
    depth = plane(normal, CENTRE)
    rng = np.random.default_rng(0)
    noisy = np.rint(depth + rng.normal(size=depth.shape) * 1.0)
    made = cut(noisy, size, turned)
    pose = frame_at(CENTRE, turned)
    local = pose[:3, :3].T @ normal
    axis = (np.arange(size) + 0.5 - size / 2) * 300 / size
    expected = -(local[0] * axis[None, :] + local[1] * axis[:, None]) / local[2]
    within = np.abs(expected) < 140
    assert (made.state[within] == State.HIT).all()
    error = (made.depth - expected)[within]
    assert abs(error.mean()) < 2.5  # of overlapping patches the nearest wins, so noise and slope draw it forward
    assert np.abs(error).max() < 8


@pytest.mark.parametrize("turned", [False, True])
def test_a_ball_appears_where_it_is_in_every_view(turned: bool) -> None:
    rig, grid = arc(3, 850.0, 35.0), Grid(64)
    ball, radius = np.array([30.0, -20.0, 880.0]), 40.0
    found = []
    for to_rig, from_rig in zip(rig.to_rig, rig.from_rig, strict=True):
        seen = from_rig[:3, :3] @ ball + from_rig[:3, 3]
        depth = balls.perspective(seen[None], [radius], PRIMESENSE)
        depth[np.isinf(depth)] = 1500
        centre = seen + np.array([25.0, 10.0, -15.0])
        made = cut(depth, turned=turned, centre=centre)
        local = made.to_camera[:3, :3].T @ (seen - made.to_camera[:3, 3])
        true = balls.orthographic(local[None], [radius], grid)
        hit = made.state == State.HIT
        # A camera sees less of the far half than parallel rays do: compare where it looks within 60 degrees.
        inner = np.isfinite(true) & (true < local[2] - radius / 2)
        assert hit[inner].all()
        # Half the depth that a grid's pixel spans at 60 degrees bounds what the patch's own slope may shift.
        assert np.abs(made.depth - true)[inner].max() < 3.0
        assert np.abs(np.mean((made.depth - true)[inner])) < 1.0
        assert not hit[np.isinf(true)].sum() > 0.1 * hit.sum()
        v, u = np.nonzero(hit)
        axis = grid.axis().numpy()
        points = np.stack([axis[u], axis[v], made.depth[hit]], axis=-1).astype(np.float64)
        pose = to_rig @ made.to_camera
        found.append(points @ pose[:3, :3].T + pose[:3, 3])
    for points in found:
        away = np.abs(np.linalg.norm(points - ball, axis=1) - radius)
        assert np.median(away) < 1.0
        assert away.max() < 5.0


def test_a_turned_crop_looks_along_the_ray_without_roll() -> None:
    pose = frame_at(CENTRE, True)
    np.testing.assert_allclose(pose[:3, 2], CENTRE / np.linalg.norm(CENTRE), atol=1e-12)
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    axis = np.array([pose[2, 1] - pose[1, 2], pose[0, 2] - pose[2, 0], pose[1, 0] - pose[0, 1]])
    assert abs(axis[2]) < 1e-12  # the turn's axis lies in the image plane
    np.testing.assert_array_equal(frame_at(np.array([0, 0, 900.0]), True)[:3, :3], np.eye(3))


def test_states_tell_what_is_known() -> None:
    depth = np.full((480, 640), 1500.0)  # background beyond the cube
    centre = np.array([0.0, 0.0, 850.0])
    depth[150:330, 200:260] = 0  # no return
    depth[150:330, 290:350] = 850  # a surface in the cube
    depth[150:330, 380:430] = 500  # something before the cube
    made = cut(depth, centre=centre)

    def state(u: float, v: float) -> int:
        x, y = (u - 320) / 588.03 * 850, (v - 240) / 587.07 * 850
        return int(made.state[int(y / 300 * 64 + 32), int(x / 300 * 64 + 32)])

    assert state(235, 240) == State.UNKNOWN
    assert state(320, 240) == State.HIT
    assert state(405, 240) == State.UNKNOWN
    assert state(275, 240) == State.EMPTY
    assert state(365, 240) == State.EMPTY
    assert (made.depth[made.state != State.HIT] == 150).all()
    assert (np.abs(made.depth[made.state == State.HIT]) < 150).all()


def test_what_lies_outside_of_the_image_is_unknown() -> None:
    made = cut(np.full((480, 640), 850.0), centre=np.array([-460.0, 0.0, 850.0]))
    edge = int(((0 - 320) / 588.03 * 850 + 460) / 300 * 64 + 32)
    assert (made.state[:, : edge - 1] == State.UNKNOWN).all()
    assert (made.state[:, edge + 1 :] == State.HIT).all()
    behind = cut(np.full((480, 640), 850.0), centre=np.array([3000.0, 0.0, 850.0]))
    assert (behind.state == State.UNKNOWN).all()


def test_of_two_surfaces_the_nearest_wins() -> None:
    depth = np.full((480, 640), 900.0)
    depth[::2, ::2] = 800.0
    made = cut(depth, centre=np.array([0.0, 0.0, 850.0]))
    inner = made.depth[4:-4, 4:-4]
    assert (made.state[4:-4, 4:-4] == State.HIT).all()
    # A near pixel covers the ray in its own footprint, a quarter of the image; where it does, it hides the far one.
    assert (inner == -50).mean() == pytest.approx(0.25 * (800 / 900) ** 2, abs=0.06)


def test_orthographic_maps_are_classified_by_the_same_rules() -> None:
    depth = torch.tensor([[[-200.0, -149.0, 0.0, 149.0, 151.0, float("inf"), 0.0]]])
    missing = torch.tensor([[[False, False, False, False, False, False, True]]])
    clipped, state = classify(depth, missing, Grid(64))
    hit, empty, unknown = State.HIT, State.EMPTY, State.UNKNOWN
    assert state[0, 0].tolist() == [unknown, hit, hit, hit, empty, empty, unknown]
    assert clipped[0, 0].tolist() == [150.0, -149.0, 0.0, 149.0, 150.0, 150.0, 150.0]
    assert state.dtype == torch.uint8


def test_the_mass_centre_finds_what_is_nearest() -> None:
    depth = balls.perspective([(60, -40, 800)], [60], PRIMESENSE)
    depth[np.isinf(depth)] = 1400
    depth[100, 100] = 300  # a speck of noise
    centre = mass_centre(depth, depth > 0, PRIMESENSE, 300.0)
    assert centre is not None
    assert np.abs(centre[:2] - [60, -40]).max() < 8
    assert 740 < centre[2] < 800
    assert mass_centre(depth, np.zeros_like(depth, dtype=bool), PRIMESENSE, 300.0) is None


@pytest.mark.parametrize("kind", [np.uint16, np.int64, np.float64])
@pytest.mark.parametrize("background", ["a wall", "noise", "nothing"])
def test_the_mass_centre_is_that_of_all_pixels_to_the_last_bit(background: str, kind: type[np.generic]) -> None:
    rng = np.random.default_rng(len(background))
    depth = {
        "a wall": np.full((480, 640), 1400),
        "noise": rng.integers(850, 1750, (480, 640)),
        "nothing": np.zeros((480, 640)),
    }[background]
    for at, radius in (
        (rng.uniform([-60, -60, 760], [60, 60, 840]), 45),
        (rng.uniform([-90, 40, 780], [90, 90, 900]), 70),
    ):
        depth = np.minimum(np.where(depth > 0, depth, np.inf), balls.perspective([tuple(at)], [radius], PRIMESENSE))
    depth = np.where(np.isfinite(depth), depth, 0)
    depth = np.where(rng.random(depth.shape) < 0.1, 0, depth).astype(kind)
    found = mass_centre(depth, depth > 0, PRIMESENSE, 300.0)
    assert found is not None
    assert found.tolist() == mass_of_all_pixels(depth).tolist()


def mass_of_all_pixels(depth: np.ndarray) -> np.ndarray:
    """`mass_centre` at 300 mm, without a thought of how long it takes."""
    v, u = np.nonzero(depth)
    z = depth[v, u].astype(np.float64)
    points = np.stack([(u - 320.0) * (z / 588.03), (v - 240.0) * (z / 587.07), z])
    front = np.sort(z)[199]
    points = points[:, z < front + 300]

    def mean(which: np.ndarray) -> np.ndarray:
        some = points.compress(which, axis=1)
        weight = some[2] ** 2
        return (some * weight).sum(axis=1) / weight.sum()

    centre = mean(points[2] <= front + 60)
    for _ in range(4):
        centre = mean((np.abs(points - centre[:, None]) < 75).all(axis=0))
    ball = (np.square(points - centre[:, None]).sum(axis=0)) < 150**2
    centre = centre + 0.5 * (centre - mean(ball))
    return centre * (1 + 25 / np.linalg.norm(centre))
