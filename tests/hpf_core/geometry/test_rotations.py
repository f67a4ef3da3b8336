"""Rotations: against scipy, at the delicate angles, and the distributions of the draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hpf_core.errors import InputError
from hpf_core.geometry.rotations import cross_matrix, random_rotations, rotation_matrix, rotation_vector, sample_view

ANGLES = (0.0, 1e-9, 1e-3, 0.00999, 0.01001, 0.5, 3.0, math.pi - 1e-6, math.pi)


def vectors(angle: float, count: int = 50) -> np.ndarray:
    axes = np.random.default_rng(0).normal(size=(count, 3))
    return angle * axes / np.linalg.norm(axes, axis=1, keepdims=True)


@pytest.mark.parametrize("angle", ANGLES)
def test_matrices_match_scipy(angle: float) -> None:
    expected = Rotation.from_rotvec(vectors(angle)).as_matrix()
    np.testing.assert_allclose(rotation_matrix(torch.from_numpy(vectors(angle))).numpy(), expected, atol=1e-12)
    single = rotation_matrix(torch.from_numpy(vectors(angle)).float())
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("angle", ANGLES)
def test_vectors_come_back(angle: float) -> None:
    matrix = Rotation.from_rotvec(vectors(angle)).as_matrix()
    again = rotation_vector(torch.from_numpy(matrix)).numpy()
    # At pi an axis and its opposite are the same rotation: compare the rotations.
    np.testing.assert_allclose(Rotation.from_rotvec(again).as_matrix(), matrix, atol=1e-9)
    assert np.linalg.norm(again, axis=1).max() <= math.pi + 1e-12
    if angle < 3.1:
        np.testing.assert_allclose(again, vectors(angle), atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.0099, 0.0101, 1.0, 3.0])
def test_gradients_are_true(angle: float) -> None:
    start = torch.from_numpy(vectors(angle, 2)).requires_grad_()
    assert torch.autograd.gradcheck(rotation_matrix, (start,), eps=1e-6, atol=1e-7)


def test_cross_matrix_is_the_cross_product() -> None:
    a, b = torch.from_numpy(vectors(2.0)), torch.from_numpy(vectors(1.0)[::-1].copy())
    torch.testing.assert_close((cross_matrix(a) @ b[..., None]).squeeze(-1), torch.linalg.cross(a, b))


def draws(matrix: torch.Tensor) -> np.ndarray:
    """Proper rotations, as float64."""
    found = matrix.double()
    torch.testing.assert_close(
        found @ found.transpose(-1, -2), torch.eye(3).double().expand_as(found), atol=1e-6, rtol=0
    )
    assert bool((torch.linalg.det(found) > 0).all())
    return found.numpy()


@pytest.mark.parametrize("kind", ["random", "view"])
def test_uniform_draws_are_uniform(kind: str) -> None:
    """The angle of a Haar rotation has the density (1 - cos a) / pi, and each column is uniform on the sphere."""
    generator = torch.Generator().manual_seed(0)
    matrix = draws(random_rotations(40000, generator) if kind == "random" else sample_view(40000, generator))
    angle = np.sort(np.arccos(np.clip((np.trace(matrix, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    expected = (angle - np.sin(angle)) / math.pi
    assert np.abs(expected - np.linspace(0, 1, len(angle))).max() < 0.012  # Kolmogorov-Smirnov, far below 0.01 %
    assert np.abs(matrix.mean(0)).max() < 0.015
    assert np.abs((matrix**2).mean(0) - 1 / 3).max() < 0.01


def test_a_view_stays_in_its_cone_and_roll() -> None:
    matrix = draws(sample_view(20000, torch.Generator().manual_seed(1), cone_deg=40, roll_deg=0))
    tilt = np.degrees(np.arccos(matrix[:, 2, 2]))
    assert tilt.max() <= 40 + 1e-3
    # Uniform in area: the cosine is uniform.
    height = np.sort((1 - matrix[:, 2, 2]) / (1 - math.cos(math.radians(40))))
    assert np.abs(height - np.linspace(0, 1, len(height))).max() < 0.015
    assert np.abs(matrix[:, 2, :2].mean(0)).max() < 0.02
    rolled = sample_view(5000, torch.Generator().manual_seed(1), cone_deg=0, roll_deg=30).numpy()
    angle = np.degrees(np.arctan2(rolled[:, 1, 0], rolled[:, 0, 0]))
    assert 29 < angle.max() <= 30 + 1e-3
    assert -30 - 1e-3 <= angle.min() < -29
    np.testing.assert_allclose(sample_view(3, torch.Generator(), 0, 0), np.stack([np.eye(3)] * 3), atol=1e-7)


def test_draws_follow_the_generator_alone() -> None:
    before = torch.random.get_rng_state()
    one, two = (sample_view(9, torch.Generator().manual_seed(4), 50, 20) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(before, torch.random.get_rng_state())
    assert random_rotations(2, torch.Generator(), torch.float64).dtype == torch.float64


@pytest.mark.parametrize(("cone", "roll"), [(-1, 0), (181, 0), (0, 200), (float("nan"), 0)])
def test_absurd_views_are_refused(cone: float, roll: float) -> None:
    with pytest.raises(InputError, match="from 0 to 180 degrees"):
        sample_view(1, torch.Generator(), cone, roll)
