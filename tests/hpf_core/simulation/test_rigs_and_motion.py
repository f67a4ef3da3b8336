"""Rigs, motion and the people in a capture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hpf_core.data.cameras import PRIMESENSE
from hpf_core.errors import InputError
from hpf_core.interfaces import HandModel
from hpf_core.simulation.motion import Motion, random_motion
from hpf_core.simulation.rigs import arc


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("views", [1, 2, 3, 6])
def test_all_cameras_look_at_the_place_from_the_same_distance(views: int) -> None:
    rig = arc(views, 850.0, 35.0)
    np.testing.assert_allclose(rig.to_rig[0], np.eye(4), atol=1e-12)
    for to_rig, from_rig in zip(rig.to_rig, rig.from_rig, strict=True):
        np.testing.assert_allclose(to_rig[:3, :3] @ to_rig[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(to_rig[:3, :3]) == pytest.approx(1)
        seen = from_rig @ np.array([0, 0, 850.0, 1])
        np.testing.assert_allclose(PRIMESENSE.project(seen[:3]), [320, 240, 850], atol=1e-6)
        assert to_rig[1, 1] > 0.9  # upright
    angles = np.degrees(np.arctan2(rig.to_rig[:, 0, 2], rig.to_rig[:, 2, 2]))
    assert len(set(np.round(angles, 3))) == views
    assert np.abs(angles).max() == pytest.approx(35.0 if views > 1 else 0.0, abs=1e-6)


def test_a_rig_needs_a_camera() -> None:
    with pytest.raises(InputError, match="1 camera or more"):
        arc(0, 850.0, 35.0)


def test_projecting_and_lifting_undo_each_other() -> None:
    points = np.random.default_rng(0).normal(size=(20, 3)) * 100 + [0, 0, 900]
    u, v, z = PRIMESENSE.project(points).T
    lifted = np.stack([(u - PRIMESENSE.cx) * z / PRIMESENSE.fx, (v - PRIMESENSE.cy) * z / PRIMESENSE.fy, z], axis=-1)
    np.testing.assert_allclose(lifted, points, atol=1e-9)


def moved(hand: HandModel, frames: int = 41, seed: int = 0) -> Motion:
    return random_motion(
        hand,
        frames,
        seeded(seed),
        frames_per_pose=8,
        cone_deg=45.0,
        roll_deg=30.0,
        target_mm=torch.tensor([0.0, 0.0, 850.0]),
        reach_mm=50.0,
    )


def test_motion_is_smooth_and_stays_between_its_keys(hand: HandModel) -> None:
    motion = moved(hand)
    for values in (motion.pose, motion.position, motion.elbow):
        keys = values[::8]
        for k in range(5):
            part = values[8 * k : 8 * k + 9]
            low, high = torch.minimum(keys[k], keys[k + 1]), torch.maximum(keys[k], keys[k + 1])
            assert (part >= low - 1e-4).all()
            assert (part <= high + 1e-4).all()
    step = motion.rotation[:-1].transpose(1, 2) @ motion.rotation[1:]
    turned = ((step.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1).arccos().rad2deg()
    assert turned.max() < 30
    assert turned.max() > 2
    assert (motion.position - torch.tensor([0.0, 0.0, 850.0])).abs().max() <= 50


def test_keys_keep_to_the_rigs_range_of_views(hand: HandModel) -> None:
    facing = moved(hand, 400).rotation[::8, 2, 2].arccos().rad2deg()  # of the palm's normal and the camera's axis
    assert facing.max() <= 45.01
    assert facing.max() > 30


def test_motion_depends_on_its_generator_alone(hand: HandModel) -> None:
    torch.manual_seed(1)
    one = moved(hand)
    torch.manual_seed(2)
    again, other = moved(hand), moved(hand, seed=1)
    assert torch.equal(one.pose, again.pose)
    assert torch.equal(one.rotation, again.rotation)
    assert not torch.equal(one.rotation, other.rotation)


def test_the_body_sways_slowly_about_its_place(hand: HandModel) -> None:
    motion = moved(hand, 400)
    away = motion.body - torch.tensor([0.0, 0.0, 850.0])
    assert away.abs().max() <= 20
    assert (away.std(dim=0) > 5).all()
    assert motion.body.diff(dim=0).norm(dim=-1).max() < motion.position.diff(dim=0).norm(dim=-1).max() / 4


def test_moments_of_a_motion_are_its_parts(hand: HandModel) -> None:
    motion = moved(hand, 9)
    part = motion.moments(3, 7)
    for name in ("pose", "rotation", "position", "elbow", "body"):
        assert torch.equal(getattr(part, name), getattr(motion, name)[3:7])
