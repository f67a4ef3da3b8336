"""Inverse kinematics: hands that the model makes come back, others are held to what it can make."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hpf_core.errors import RunError
from hpf_core.geometry.alignment import align_rigid, align_rigid_batch
from hpf_core.geometry.rotations import random_rotations, rotation_matrix, rotation_vector
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config
from hpf_plugins.refiners.inverse_kinematics import InverseKinematics, InverseKinematicsConfig


@pytest.fixture(scope="module")
def hand() -> Spheres41:
    return Spheres41(Spheres41Config())


@pytest.fixture(scope="module")
def refiner(hand: Spheres41) -> InverseKinematics:
    made = InverseKinematics(InverseKinematicsConfig(), hand)
    made.prepare()
    return made


def _hands(hand: Spheres41, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Poses anywhere, shapes, and points (count, 41, 3) mm."""
    generator = torch.Generator().manual_seed(seed)
    pose, shape = hand.sample(count, generator)
    pose = pose.clone()
    pose[:, :3] = rotation_vector(random_rotations(count, generator))
    pose[:, 3:6] = 40 * torch.randn(count, 3, generator=generator)
    return pose, shape, hand.points(pose, shape)


@pytest.mark.parametrize("seed", [11, 12])
def test_hands_that_the_model_makes_come_back(hand: Spheres41, refiner: InverseKinematics, seed: int) -> None:
    _, _, points = _hands(hand, 128, seed)
    assert float((refiner(points) - points).norm(dim=-1).max()) < 0.1


def test_pose_and_shape_make_the_points_and_keep_the_limits(hand: Spheres41, refiner: InverseKinematics) -> None:
    _, _, points = _hands(hand, 32, 3)
    noisy = points + 8 * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    found = refiner.fit(noisy)
    torch.testing.assert_close(found.points, hand.points(found.pose, found.shape))
    torch.testing.assert_close(found.residual, (found.points - noisy).norm(dim=-1))
    sample = hand.sample(4096, torch.Generator().manual_seed(0))
    every = torch.cat([sample.pose, sample.shape], dim=-1).double()
    span = every.amax(0) - every.amin(0)
    values = torch.cat([found.pose, found.shape], dim=-1)
    assert (values >= every.amin(0) - 0.051 * span)[:, 6:].all()
    assert (values <= every.amax(0) + 0.051 * span)[:, 6:].all()


def test_noise_is_taken_off(hand: Spheres41, refiner: InverseKinematics) -> None:
    # 123 numbers are explained by 33: least squares would keep sqrt(33 / 123) = 52 % of white noise.
    _, _, points = _hands(hand, 64, 4)
    noisy = points + 6 * torch.randn(points.shape, generator=torch.Generator().manual_seed(1))
    before, after = ((side - points).norm(dim=-1).mean() for side in (noisy, refiner(noisy)))
    assert float(after) < 0.55 * float(before)


def test_a_point_far_off_loses_its_say(hand: Spheres41, refiner: InverseKinematics) -> None:
    _, _, points = _hands(hand, 32, 5)
    thrown = points.clone()
    thrown[:, hand.palm_centre] += torch.tensor([60.0, 60.0, 0.0])
    assert float((refiner(thrown) - points).norm(dim=-1).mean()) < 3.0


def test_a_bent_back_finger_is_bent_no_farther_than_it_can(hand: Spheres41, refiner: InverseKinematics) -> None:
    pose, shape, _ = _hands(hand, 8, 6)
    flexion = hand.pose_names.index("index_mcp_flexion")
    pose[:, flexion] = -math.pi / 2
    found = refiner.fit(hand.points(pose, shape))
    assert (found.pose[:, flexion] > math.radians(-25)).all()
    assert float(found.residual.max()) > 10  # and what isn't possible is seen in the residual


def test_it_turns_and_moves_with_the_hand(hand: Spheres41, refiner: InverseKinematics) -> None:
    _, _, points = _hands(hand, 16, 7)
    noisy = (points + 4 * torch.randn(points.shape, generator=torch.Generator().manual_seed(2))).double()
    rotation = rotation_matrix(torch.tensor([0.4, -1.1, 0.7], dtype=torch.float64))
    shift = torch.tensor([10.0, -30.0, 500.0], dtype=torch.float64)
    moved = refiner(noisy @ rotation.T + shift)
    torch.testing.assert_close(moved, refiner(noisy) @ rotation.T + shift, atol=0.5, rtol=0)


def test_the_shape_stays_where_it_is_asked_to(hand: Spheres41) -> None:
    made = InverseKinematics(InverseKinematicsConfig(fit_shape=False), hand)
    made.prepare()
    _, _, points = _hands(hand, 16, 8)
    shapes = made.fit(points).shape
    pool = hand.sample(4096, torch.Generator().manual_seed(0)).shape.double()
    assert float(torch.cdist(shapes, pool).amin(dim=-1).max()) < 1e-6


def test_start_is_placed_as_procrustes_does() -> None:
    generator = torch.Generator().manual_seed(9)
    source = torch.randn(5, 11, 3, generator=generator, dtype=torch.float64)
    target = torch.randn(5, 11, 3, generator=generator, dtype=torch.float64)
    target[0] = source[0] * torch.tensor([1.0, 1.0, -1.0])  # mirrored: no reflection may come out
    rotation, translation = align_rigid_batch(source, target)
    for k in range(5):
        wanted = align_rigid(source[k], target[k]).transform
        torch.testing.assert_close(rotation[k], wanted[:3, :3])
        torch.testing.assert_close(translation[k], wanted[:3, 3])


def test_absurd_points_give_finite_hands(hand: Spheres41, refiner: InverseKinematics) -> None:
    for points in (torch.zeros(2, 41, 3), torch.full((2, 41, 3), 1e5), 1e4 * torch.ones(2, 41, 1) * torch.eye(3)[0]):
        assert torch.isfinite(refiner(points)).all()


def test_unprepared_use_is_said(hand: Spheres41) -> None:
    with pytest.raises(RunError, match="prepare"):
        InverseKinematics(InverseKinematicsConfig(), hand)(torch.zeros(1, 41, 3))
