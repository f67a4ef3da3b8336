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
    assert sample.shape.shape == (count, len(hand.shape_names))


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
    ranges = [config.size_range] + [config.finger_range] * 5 + [config.thickness_range, config.palm_width_range]
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


def test_every_set_of_extended_fingers_occurs(hand: Spheres41, sample: PoseSample) -> None:
    """All 16 sets of four fingers, each clearly extended or clearly closed, with the thumb out and with it folded."""
    bend = torch.rad2deg(sample.pose[:, 6:]).unflatten(-1, (5, 4))[:, :4]
    straight = (bend[..., 0] < 35) & (bend[..., 2] < 40)
    closed = (bend[..., 0] > 45) & (bend[..., 2] > 65)
    points = hand.points(*sample) / sample.shape[:, :1, None]
    away = points[:, hand.fingertips[4]].norm(dim=-1)
    for number in range(16):
        wanted = [bool(number >> finger & 1) for finger in range(4)]
        found = torch.stack([(straight if up else closed)[:, f] for f, up in enumerate(wanted)]).all(0)
        assert int(found.sum()) >= 20, wanted
        assert float(away[found].max() - away[found].min()) > 25, wanted


def test_no_pose_is_the_favourite(sample: PoseSample) -> None:
    """Angles fold back at their limits: none piles up on them, and no other value either."""
    degrees = torch.rad2deg(sample.pose[:, 6:])
    for values, name in zip(degrees.T, anatomy.ANGLE_NAMES, strict=True):
        low, high = float(values.min()), float(values.max())
        share = torch.histc(values, 40, low, high) / len(values)
        assert float(share.max()) < 0.22, name
        if "abduction" not in name:
            assert float(((values < low + 1e-3) | (values > high - 1e-3)).float().mean()) < 0.002, name


def test_neighbours_bend_together(hand: Spheres41, sample: PoseSample) -> None:
    mcp = torch.stack([angle(hand, sample, f"{finger}_mcp_flexion") for finger in anatomy.FINGERS[:4]])
    alike = torch.corrcoef(mcp)
    assert float(alike[0, 1]) > 0.55  # little and ring
    assert float(alike.diagonal(1).min()) > 0.5
    assert float(alike[0, 3]) < float(alike[0, 1])


def test_bent_knuckles_hardly_spread(hand: Spheres41, sample: PoseSample) -> None:
    for finger in ("little", "index"):
        flexion, abduction = (angle(hand, sample, f"{finger}_mcp_{name}") for name in ("flexion", "abduction"))
        limit = 15 * (0.25 + 0.75 * torch.cos(torch.deg2rad(flexion)).clamp(min=0))
        assert bool((abduction.abs() <= limit + 0.01).all())
        assert float(abduction[flexion > 70].std()) < 0.7 * float(abduction[flexion < 20].std())


def tip_gap(hand: Spheres41, sample: PoseSample, finger: int) -> torch.Tensor:
    """mm between the spheres of a fingertip and the thumb's, of hands scaled to size 1, (N,)."""
    points = hand.points(*sample) / sample.shape[:, :1, None]
    tip, thumb = hand.fingertips[finger], hand.fingertips[4]
    return (points[:, tip] - points[:, thumb]).norm(dim=-1) - (hand.radii[tip] + hand.radii[thumb])


@pytest.mark.parametrize("finger", [0, 1, 2, 3])
def test_each_fingertip_meets_the_thumb(hand: Spheres41, sample: PoseSample, finger: int) -> None:
    """In 20 % of the poses one finger pinches, of which 65 % aren't on the way to another pose."""
    gap = tip_gap(hand, sample, finger)
    assert float((gap.abs() < 2).float().mean()) > 0.02
    assert float((gap < -5).float().mean()) < 0.002


@pytest.mark.parametrize("width", [0.9, 1.1])
def test_pinches_meet_on_hands_of_any_shape(width: float) -> None:
    """They are solved for the hand, not looked up: other proportions, the same contact."""
    ranges = {"size_range": (1.2, 1.3), "finger_range": (0.92, 0.94), "palm_width_range": (width, width + 0.01)}
    other = Spheres41(Spheres41Config(**ranges))
    sample = other.sample(3000, torch.Generator().manual_seed(0))
    for finger in range(4):
        assert float((tip_gap(other, sample, finger).abs() < 2).float().mean()) > 0.02, finger


def overlap(hand: Spheres41, sample: PoseSample) -> torch.Tensor:
    """(N, K) mm by which the spheres of each collision pair overlap more than with all angles 0, at size 1."""
    first, second = hand.collisions()
    rest = hand.points(torch.zeros(1, len(hand.pose_names)), torch.ones(1, len(hand.shape_names)))[0]
    least = torch.minimum(hand.radii[first] + hand.radii[second], (rest[first] - rest[second]).norm(dim=-1))
    points = hand.points(*sample) / sample.shape[:, :1, None]
    return least - (points[:, first] - points[:, second]).norm(dim=-1)


def test_hands_do_not_run_through_themselves(hand: Spheres41, sample: PoseSample) -> None:
    """Flesh gives way by 4 mm, fingers that lie against each other by a quarter of their distance at rest."""
    depth = overlap(hand, sample).amax(-1)
    assert float(depth.quantile(0.95)) < 4
    assert float(depth.quantile(0.99)) < 5
    assert float(depth.max()) < 11


def test_it_is_the_sampler_that_keeps_them_apart(hand: Spheres41, sample: PoseSample) -> None:
    """The same angles, each finger's from another hand, do run through themselves."""
    generator = torch.Generator().manual_seed(0)
    fingers = sample.pose[:, 6:].unflatten(-1, (5, 4))
    mixed = torch.stack([fingers[torch.randperm(len(fingers), generator=generator), f] for f in range(5)], dim=1)
    pose = torch.cat([sample.pose[:, :6], mixed.flatten(1)], dim=-1)
    depth = overlap(hand, PoseSample(pose, sample.shape)).amax(-1)
    assert float((depth > 5).float().mean()) > 0.05


def test_fists_touch_the_palm(hand: Spheres41, sample: PoseSample) -> None:
    """Contact is part of a fist and no reason to throw it away."""
    tips, palm = list(hand.fingertips[:4]), [k for k, part in enumerate(hand.parts) if part == "palm"]
    points = hand.points(*sample) / sample.shape[:, :1, None]
    gap = torch.cdist(points[:, tips], points[:, palm]) - (hand.radii[tips][:, None] + hand.radii[palm])
    nearest = gap.amin(-1)  # (N, 4)
    assert float((nearest < 10).all(-1).float().mean()) > 0.03
    assert float((nearest < 1).any(-1).float().mean()) > 0.05


def test_poses_vary_in_every_angle(hand: Spheres41, sample: PoseSample) -> None:
    for name in anatomy.ANGLE_NAMES:
        assert float(angle(hand, sample, name).std()) > (2.5 if "abduction" in name else 8), name
    assert math.isfinite(float(sample.pose.sum()))
