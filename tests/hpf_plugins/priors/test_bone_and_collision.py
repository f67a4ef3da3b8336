"""Bone length and collision against the equations in float64 NumPy, their gradients and their invariances."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import BallHand
from torch import Tensor

from hpf_core.errors import PluginError
from hpf_core.geometry.rotations import random_rotations
from hpf_core.grid import Grid
from hpf_core.interfaces import Build, Prior
from hpf_plugins.hands import anatomy
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config
from hpf_plugins.priors import bone_length, collision

MODES = ("printed", "fixed", "radii")


@pytest.fixture(scope="module")
def hand() -> Spheres41:
    return Spheres41(Spheres41Config())


def make(name: str, hand: Spheres41) -> Prior:
    build = Build(grid=Grid(), seed=0, cache=Path("unused"), hand=hand)
    if name == "bone_length":
        return bone_length.SPEC.factory(bone_length.BoneLengthConfig(), build)
    if name == "official_bones":
        options = bone_length.BoneLengthConfig(pairs="segments", factors=(0.8, 1.05), loss="linear")
        return bone_length.SPEC.factory(options, build)
    return collision.SPEC.factory(collision.CollisionConfig(mode=name), build)


PRIORS = ("bone_length", "official_bones", *MODES)


def clouds(count: int, spread_mm: float, seed: int = 0) -> Tensor:
    """Points (count, 41, 3) float64 that collide and break bones."""
    return torch.randn(count, 41, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread_mm


# ------------------------------------------------------------------------------------------------- reference in NumPy


def reference_bone_length(points: np.ndarray, hand: Spheres41) -> float:
    total = 0.0
    for j, k, low, high in zip(*(values.tolist() for values in hand.bones()), strict=True):
        d = np.sqrt(((points[j] - points[k]) ** 2).sum())  # Eq. 15
        total += max(d - high, 0) ** 2 + max(low - d, 0) ** 2  # Eq. 14
    return total


def reference_collision(points: np.ndarray, hand: Spheres41, mode: str) -> float:
    """Eq. 16, or its variant of 6 mm; the pairs are found from the parts' names alone."""
    radii = hand.radii.double().numpy()
    total = 0.0
    for j in range(41):
        for k in range(j + 1, 41):
            if hand.parts[j] == hand.parts[k]:
                continue
            d2 = ((points[j] - points[k]) ** 2).sum()
            total += max((radii[j] + radii[k] if mode == "printed" else 36.0) - d2, 0)  # Eq. 16
    return total


@pytest.mark.parametrize("spread_mm", [3.0, 40.0])
def test_bone_length_is_the_equation(hand: Spheres41, spread_mm: float) -> None:
    points = clouds(5, spread_mm)
    result = make("bone_length", hand)(points)
    expected = [reference_bone_length(p, hand) for p in points.numpy()]
    assert min(expected) > 0
    np.testing.assert_allclose(result.values.numpy(), expected, rtol=1e-9)
    assert torch.equal(result.weights, torch.ones(5, dtype=torch.float64))


@functools.cache
def sampled_hands() -> np.ndarray:
    sample = Spheres41(Spheres41Config()).sample(4096, torch.Generator().manual_seed(0))
    return Spheres41(Spheres41Config()).points(sample.pose, sample.shape).double().numpy()


def reference_official_bones(points: np.ndarray, hand: Spheres41) -> float:
    """The authors' hinge, its pairs found from names and triangles: 15 on the fingers, the edges of the palm."""
    drawn = sampled_hands()
    pairs = [
        (f"{finger}_KNU{k}_A", f"{finger}_KNU{k}_B") for finger in ("F1", "F2", "F3", "F4", "TH") for k in (1, 2, 3)
    ]
    for corners in anatomy.PALM_TRIANGLES:
        for a, b in ((0, 1), (1, 2), (0, 2)):
            edge = tuple(sorted((corners[a], corners[b])))
            if all(name.startswith("PALM") for name in edge) and edge not in pairs:
                pairs.append(edge)
    total = 0.0
    for first, second in pairs:
        j, k = hand.names.index(first), hand.names.index(second)
        lengths = np.sort(np.sqrt(((drawn[:, j] - drawn[:, k]) ** 2).sum(axis=-1)))
        median = lengths[2047]  # torch's median of an even number is the lower of the middle two
        d2 = ((points[j] - points[k]) ** 2).sum()
        total += max(d2 - (1.05 * median) ** 2, 0) + max((0.8 * median) ** 2 - d2, 0)
    assert len(pairs) == 36
    return total / 36


@pytest.mark.parametrize("spread_mm", [3.0, 10.0, 40.0])
def test_the_authors_bone_length_is_their_hinge(hand: Spheres41, spread_mm: float) -> None:
    points = clouds(4, spread_mm)
    expected = [reference_official_bones(p, hand) for p in points.numpy()]
    assert min(expected) > 0
    np.testing.assert_allclose(make("official_bones", hand)(points).values.numpy(), expected, rtol=1e-5)


def test_segments_need_a_hand_that_has_them() -> None:
    build = Build(grid=Grid(), seed=0, cache=Path("unused"), hand=BallHand([10.0, 20.0]))
    with pytest.raises(PluginError, match="write `pairs: hand`"):
        bone_length.SPEC.factory(bone_length.BoneLengthConfig(pairs="segments"), build)


def test_factors_must_be_in_order() -> None:
    with pytest.raises(ValueError, match=r"needs 0 <= shortest <= longest <= 10, but is 1.1 to 0.8"):
        bone_length.BoneLengthConfig(factors=(1.1, 0.8))


@pytest.mark.parametrize("mode", ["printed", "fixed"])
def test_collision_is_the_equation(hand: Spheres41, mode: str) -> None:
    points = clouds(5, 6.0)
    expected = [reference_collision(p, hand, mode) for p in points.numpy()]
    assert min(expected) > 0
    np.testing.assert_allclose(make(mode, hand)(points).values.numpy(), expected, rtol=1e-6)


def test_collision_of_radii_is_a_hinge_on_the_distance(hand: Spheres41) -> None:
    """Two fingertips alone, everything else far apart: r_j + r_k - d mm."""
    prior = make("radii", hand)
    points = torch.arange(41, dtype=torch.float64)[None, :, None] * 1000 * torch.ones(3)
    a, b = hand.names.index("F4_KNU3_A"), hand.names.index("TH_KNU3_A")
    points[0, b] = points[0, a] + torch.tensor([3.0, 4.0, 0.0])
    assert float(prior(points).values) == pytest.approx(float(hand.radii[a] + hand.radii[b]) - 5, abs=1e-5)


def test_collision_of_radii_leaves_neighbours_alone(hand: Spheres41) -> None:
    pose = torch.zeros(1, 26)
    pose[0, hand.pose_names.index("thumb_cmc_flexion")] = -0.5  # the thumb stands off
    flat = hand.points(pose, torch.ones(1, 8))
    # Spheres of fingers side by side may press on each other by tenths of a mm; all pairs together come to 140 mm.
    assert float(make("radii", hand)(flat).values) < 1
    pairs = hand.collisions()
    reach = hand.radii[pairs.first] + hand.radii[pairs.second]
    assert float((reach - (flat[0, pairs.first] - flat[0, pairs.second]).norm(dim=-1)).clamp(min=0).sum()) > 100
    # ... which the plain sum over all pairs doesn't: knuckles overlap at rest.
    a, b = hand.names.index("F3_KNU1_B"), hand.names.index("F4_KNU1_B")
    assert float((flat[0, a] - flat[0, b]).norm()) < float(hand.radii[a] + hand.radii[b])


def test_printed_and_fixed_agree_in_effect(hand: Spheres41) -> None:
    """Both act below 4-7 mm only: on a crossing of two fingertips, and not at 8 mm."""
    flat = hand.points(torch.zeros(1, 26), torch.ones(1, 8))
    a, b = hand.names.index("F3_KNU3_A"), hand.names.index("F4_KNU3_A")
    for gap, active in ((2.0, True), (8.0, False)):
        points = flat.clone()
        points[0, b] = points[0, a] + torch.tensor([gap, 0, 0])
        for mode in ("printed", "fixed"):
            assert (float(make(mode, hand)(points).values) > 0) is active


# ----------------------------------------------------------------------------------------------- gradients, properties


@pytest.mark.parametrize("name", PRIORS)
def test_gradients_are_true(hand: Spheres41, name: str) -> None:
    prior = make(name, hand)
    points = clouds(2, 8.0)
    assert float(prior(points).values.min()) > 0
    points.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: prior(p).values, (points,), eps=1e-6, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", PRIORS)
def test_coincident_points_have_finite_gradients(hand: Spheres41, name: str) -> None:
    points = torch.zeros(2, 41, 3, requires_grad=True)
    make(name, hand)(points).values.sum().backward()
    assert points.grad is not None
    assert bool(points.grad.isfinite().all())


@pytest.mark.parametrize("name", PRIORS)
def test_permuting_the_batch_permutes_the_values(hand: Spheres41, name: str) -> None:
    prior, points = make(name, hand), clouds(5, 8.0)
    order = torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(prior(points[order]).values, prior(points).values[order])


@pytest.mark.parametrize("name", PRIORS)
def test_moving_the_hand_changes_nothing(hand: Spheres41, name: str) -> None:
    prior, points = make(name, hand), clouds(5, 8.0)
    rotation = random_rotations(5, torch.Generator().manual_seed(0), torch.float64)
    moved = points @ rotation.transpose(-1, -2) + torch.tensor([100.0, -50, 30], dtype=torch.float64)
    torch.testing.assert_close(prior(moved).values, prior(points).values)


@pytest.mark.parametrize("name", PRIORS)
def test_runs_without_data_and_holds_no_parameters(hand: Spheres41, name: str) -> None:
    prior = make(name, hand)
    assert not list(prior.parameters())
    values = prior.to("meta")(torch.empty(3, 41, 3, device="meta")).values
    assert values.shape == (3,)
    assert float(hand.radii.sum()) > 0  # the hand's own buffers stayed where they were


@pytest.mark.parametrize("name", ["bone_length", "printed", "fixed"])
def test_sampled_poses_cost_nothing(hand: Spheres41, name: str) -> None:
    pose, shape = hand.sample(5000, torch.Generator().manual_seed(11))
    generator = torch.Generator().manual_seed(12)
    points = hand.points(pose, shape) @ random_rotations(5000, generator).transpose(-1, -2)
    free = make(name, hand)(points).values == 0
    assert float(free.float().mean()) >= 0.99


def test_descending_bone_length_restores_a_stretched_hand(hand: Spheres41) -> None:
    prior = make("bone_length", hand)
    points = (hand.points(torch.zeros(1, 26), torch.ones(1, 8)) * 1.3).requires_grad_()
    start = float(prior(points).values.detach())
    optimiser = torch.optim.Adam([points], lr=0.5)
    for _ in range(200):
        optimiser.zero_grad()
        prior(points).values.sum().backward()
        optimiser.step()
    assert float(prior(points).values.detach()) < 1e-3 * start
