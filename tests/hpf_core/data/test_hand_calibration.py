"""Calibration from hands, on points of hands that we make up: the true poses, outliers, rigs in parts, time lags."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpf_core.data.hand_calibration.lag import find_lag
from hpf_core.data.hand_calibration.points import angle_deg, fit_pair, fit_pairs, refine, tie_together
from hpf_core.data.hand_calibration.seen_hands import SeenHands, Surface
from hpf_core.data.hand_calibration.surfaces import lay_on, residuals
from hpf_core.errors import DataError

NAMES = ("first", "second", "third")
JOINTS = 20


def pose(degrees: float, x: float) -> np.ndarray:
    """From a camera's frame to the rig's: turned around y, 800 mm away from the hand."""
    made = np.eye(4)
    made[:3, :3] = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    made[:3, 3] = [x, 10, 60]
    return made


TO_RIG = np.stack([np.eye(4), pose(-40, 500), pose(35, -450)])


def hands(frames: int = 60, noise: float = 6.0, seed: int = 0, still: bool = False) -> np.ndarray:
    """(V, F, J, 3) mm in each camera's frame, of a hand that turns and moves."""
    draw = np.random.default_rng(seed)
    shape = draw.normal(0, 40, (JOINTS, 3))
    steps = np.zeros((frames, 3)) if still else np.cumsum(draw.normal(0, 12, (frames, 3)), axis=0)
    turned = np.zeros((frames, 3)) if still else np.cumsum(draw.normal(0, 0.15, (frames, 3)), axis=0)
    turns = Rotation.from_rotvec(turned).as_matrix()
    world = np.einsum("fij,kj->fki", turns, shape) + steps[:, None] + [0, 0, 800]
    each = [(world - to_rig[:3, 3]) @ to_rig[:3, :3] for to_rig in TO_RIG]
    return np.stack(each) + draw.normal(0, noise, (3, frames, JOINTS, 3))


def seen(points: np.ndarray, surfaces: tuple[tuple[Surface, ...], ...] | None = None) -> SeenHands:
    views, frames = points.shape[:2]
    none = tuple(tuple(Surface.none() for _ in range(frames)) for _ in range(views))
    return SeenHands(points, np.full(points.shape[:3], 25.0), 0, surfaces or none, np.arange(frames))


def off(to_rig: np.ndarray) -> tuple[float, float]:
    """The largest error in degrees, and in mm at the hand."""
    gaps = [one @ np.linalg.inv(true) for one, true in zip(to_rig, TO_RIG, strict=True)]
    at = np.array([0, 0, 800, 1.0])
    return max(angle_deg(g[:3, :3]) for g in gaps), max(float(np.linalg.norm((g @ at - at)[:3])) for g in gaps)


def test_points_give_the_poses_of_all_cameras() -> None:
    found = seen(hands())
    pairs = fit_pairs(found)
    to_rig = refine(found, pairs, tie_together(pairs, NAMES))
    degrees, mm = off(to_rig)
    assert degrees < 1
    assert mm < 2
    # More frames give better poses: the estimates' errors average out.
    many = seen(hands(frames=600))
    pairs = fit_pairs(many)
    assert off(refine(many, pairs, tie_together(pairs, NAMES)))[1] < mm


def test_without_noise_the_poses_are_exact() -> None:
    found = seen(hands(noise=0.0))
    pairs = fit_pairs(found)
    assert max(off(refine(found, pairs, tie_together(pairs, NAMES)))) < 1e-4


def test_wrong_estimates_of_a_third_of_the_frames_change_little() -> None:
    points = hands()
    draw = np.random.default_rng(1)
    wrong = draw.choice(60, 20, replace=False)
    points[1, wrong] += draw.normal(0, 150, (20, 1, 3))
    points[1, wrong[:10]] = points[1, wrong[:10], ::-1]
    pair = fit_pair(seen(points), 0, 1)
    assert pair is not None
    assert not pair.fits[wrong].any()
    assert off(np.stack([np.eye(4), pair.to_one, TO_RIG[2]]))[1] < 3


def test_a_camera_that_shares_no_frames_is_reached_through_another() -> None:
    points = hands(frames=120)
    points[2, :60], points[0, 60:] = np.nan, np.nan  # the first and the third never see the hand together
    found = seen(points)
    pairs = fit_pairs(found)
    assert [(pair.one, pair.other) for pair in pairs] == [(0, 1), (1, 2)]
    assert off(refine(found, pairs, tie_together(pairs, NAMES)))[1] < 4


def test_a_rig_in_parts_is_refused_by_name() -> None:
    points = hands()
    points[2, 5:] = np.nan
    with pytest.raises(DataError, match="'third' and in 'first' or 'second'"):
        tie_together(fit_pairs(seen(points)), NAMES)
    # Cameras that see different hands agree in no frame.
    points = hands()
    points[2] = hands(seed=9)[2]
    with pytest.raises(DataError, match="can't be tied together"):
        tie_together(fit_pairs(seen(points)), NAMES)


@pytest.mark.parametrize("lag", [-3, 0, 2])
def test_a_time_lag_is_found(lag: int) -> None:
    points = hands(frames=200, noise=2.0)
    shifted = points.copy()
    shifted[1] = np.roll(points[1], lag, axis=0)
    found = seen(shifted[:, 10:-10])
    assert find_lag(found, 0, 1) == pytest.approx(lag, abs=0.3)


def test_a_still_hand_has_no_lag_to_find() -> None:
    assert find_lag(seen(hands(noise=0.0, still=True)), 0, 1) is None


def ball(to_rig: np.ndarray, centre: np.ndarray, radius: float) -> Surface:
    """The half of a bumpy ball that a camera sees, exact, in the camera's frame."""
    count = 1500
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))  # a Fibonacci sphere
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    ring = np.sqrt(1 - height**2)
    normal = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], axis=-1)
    scale = np.array([1.0, 1.6, 0.7])  # an ellipsoid: a ball could turn freely
    points, outward = normal * radius * scale + centre, normal / scale
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    mine, facing = (points - to_rig[:3, 3]) @ to_rig[:3, :3], outward @ to_rig[:3, :3]
    visible = (facing * mine).sum(axis=-1) < 0
    return Surface(mine[visible].astype(np.float32), facing[visible].astype(np.float32), np.ones(visible.sum(), bool))


def test_surfaces_improve_on_points() -> None:
    points = hands(frames=20, noise=8.0)
    centres = points[0].mean(axis=1)
    surfaces = tuple(tuple(ball(to_rig, centre, 40.0) for centre in centres) for to_rig in TO_RIG)
    found = seen(points, surfaces)
    pairs = fit_pairs(found)
    rough = refine(found, pairs, tie_together(pairs, NAMES))
    fine = lay_on(found, pairs, rough)
    assert off(fine)[1] < 0.5 * off(rough)[1]
    assert (residuals(found, pairs, fine) < residuals(found, pairs, rough)).all()
