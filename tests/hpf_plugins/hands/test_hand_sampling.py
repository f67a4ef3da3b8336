"""Sampled poses: within limits, varied, free of themselves, and a function of the generator alone."""

from __future__ import annotations

import math

import pytest
import torch

from hpf_core.interfaces import PoseSample
from hpf_plugins.hands import anatomy
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config


@pytest.fixture(scope="module")
def hand() -> Spheres41:
    return Spheres41(Spheres41Config())


@pytest.fixture(scope="module")
def sample(hand: Spheres41) -> PoseSample:
    return hand.sample(5000, torch.Generator().manual_seed(3))


def angle(hand: Spheres41, sample: PoseSample, name: str) -> torch.Tensor:
    """Degrees, (N,)."""
    return torch.rad2deg(sample.pose[:, hand.pose_names.index(name)])


def test_same_generator_same_hands_and_the_global_state_stays(hand: Spheres41) -> None:
    before = torch.random.get_rng_state()
    one, two = (hand.sample(100, torch.Generator().manual_seed(5)) for _ in range(2))
    other = hand.sample(100, torch.Generator().manual_seed(6))
    assert torch.equal(one.pose, two.pose)
    assert torch.equal(one.shape, two.shape)
    assert not torch.equal(one.pose, other.pose)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("count", [0, 1, 3000])
def test_any_count(hand: Spheres41, count: int) -> None:
    sample = hand.sample(count, torch.Generator().manual_seed(0))
    assert sample.pose.shape == (count, 26)
    assert sample.shape.shape == (count, 7)


def test_the_global_pose_is_the_identity(sample: PoseSample) -> None:
    assert bool((sample.pose[:, :6] == 0).all())


def test_joints_stay_within_their_limits(hand: Spheres41, sample: PoseSample) -> None:
    limits = [*anatomy.FINGER_LIMITS_DEG] * 4 + [*anatomy.THUMB_LIMITS_DEG]
    for name, (low, high) in zip(anatomy.ANGLE_NAMES, limits, strict=True):
        values = angle(hand, sample, name)
        assert low - 1e-3 <= float(values.min())
        assert float(values.max()) <= high + 1e-3
    assert float(angle(hand, sample, "middle_mcp_abduction").abs().max()) <= 8 + 1e-3


def test_shapes_stay_within_their_ranges_and_fill_them(sample: PoseSample) -> None:
    config = Spheres41Config()
    ranges = [config.size_range] + [config.finger_range] * 5 + [config.thickness_range]
    for values, (low, high) in zip(sample.shape.T, ranges, strict=True):
        assert low <= float(values.min()) <= low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) <= float(values.max()) <= high + 1e-6


def test_the_last_joint_follows_the_one_before(hand: Spheres41, sample: PoseSample) -> None:
    for finger in anatomy.FINGERS[:4]:
        pip, dip = (angle(hand, sample, f"{finger}_{joint}_flexion") for joint in ("pip", "dip"))
        assert float((dip - pip * 2 / 3).std()) < 6
        assert float(torch.corrcoef(torch.stack([pip, dip]))[0, 1]) > 0.95


def test_the_mixture_has_every_kind_of_pose(hand: Spheres41, sample: PoseSample) -> None:
    pip = torch.stack([angle(hand, sample, f"{f}_pip_flexion") for f in anatomy.FINGERS[:4]], dim=-1)
    share = {
        "open": (pip < 30).all(-1),
        "closed": (pip > 70).all(-1),
        "half open": ((pip > 30) & (pip < 70)).all(-1),
        "index alone": (pip[:, 3] < 30) & (pip[:, :3] > 70).all(-1),
        "index and middle": (pip[:, 2:] < 30).all(-1) & (pip[:, :2] > 70).all(-1),
        "little alone": (pip[:, 0] < 30) & (pip[:, 1:] > 70).all(-1),
    }
    least = {"open": 0.15, "closed": 0.07, "half open": 0.07}
    for kind, found in share.items():
        assert float(found.float().mean()) > least.get(kind, 0.005), kind


@pytest.mark.parametrize("finger", [0, 1, 2, 3])
def test_each_fingertip_meets_the_thumb(hand: Spheres41, sample: PoseSample, finger: int) -> None:
    points = hand.points(*sample)
    tip, thumb = hand.fingertips[finger], hand.fingertips[4]
    gap = (points[:, tip] - points[:, thumb]).norm(dim=-1) - (hand.radii[tip] + hand.radii[thumb]) * sample.shape[:, 0]
    assert float((gap < 4).float().mean()) > 0.006


def test_hands_do_not_run_through_themselves(hand: Spheres41, sample: PoseSample) -> None:
    """Spheres that are apart in the flat hand never get nearer than 60 % of touching, in at least 99 % of poses."""
    pairs = hand.collisions()
    rest = hand.points(torch.zeros(1, 26), torch.ones(1, 7))[0]
    reach = hand.radii[pairs.first] + hand.radii[pairs.second]
    apart = (rest[pairs.first] - rest[pairs.second]).norm(dim=-1) > reach
    points = hand.points(*sample)
    distance = (points[:, pairs.first] - points[:, pairs.second]).norm(dim=-1) / sample.shape[:, :1]
    free = ((distance > 0.6 * reach) | ~apart).all(-1)
    assert float(free.float().mean()) > 0.99


def test_poses_vary_in_every_angle(hand: Spheres41, sample: PoseSample) -> None:
    for name in anatomy.ANGLE_NAMES:
        assert float(angle(hand, sample, name).std()) > (2.5 if "abduction" in name else 8), name
    assert math.isfinite(float(sample.pose.sum()))
