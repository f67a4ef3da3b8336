"""The hand of 41 spheres: its geometry against an independent reference, its frame, its bones, its surface."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from hpf_core.geometry.rotations import rotation_matrix
from hpf_plugins.hands import anatomy
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config


@pytest.fixture(scope="module")
def hand() -> Spheres41:
    return Spheres41(Spheres41Config())


def neutral(hand: Spheres41, **angles_deg: float) -> np.ndarray:
    """Points of the neutral hand with some angles set, (41, 3) mm."""
    pose = torch.zeros(1, len(hand.pose_names), dtype=torch.float64)
    for name, value in angles_deg.items():
        pose[0, hand.pose_names.index(name)] = math.radians(value)
    return hand.points(pose, torch.ones(1, 8, dtype=torch.float64))[0].numpy()


def at(hand: Spheres41, points: np.ndarray, name: str) -> np.ndarray:
    return points[hand.names.index(name)]


def random_hands(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Any angles, also beyond the limits, with global poses, float64."""
    generator = torch.Generator().manual_seed(seed)
    pose = torch.randn(count, 26, generator=generator, dtype=torch.float64)
    pose[:, 3:6] *= 40
    shape = 0.8 + 0.4 * torch.rand(count, 8, generator=generator, dtype=torch.float64)
    return pose, shape


def degrees_of_the_thumb(hand: Spheres41, **angles_deg: float) -> tuple[float, float]:
    """Where its metacarpal points: in the palm's plane, from the middle finger's direction, and out of that plane."""
    points = neutral(hand, **angles_deg)
    x, y, z = at(hand, points, "TH_KNU2_B") - at(hand, points, "TH_KNU1_B")
    return math.degrees(math.atan2(x, -y)), math.degrees(math.atan2(-z, math.hypot(x, y)))


def test_the_thumb_moves_as_far_as_people_s_do(hand: Spheres41) -> None:
    """Means of Barakat, Field & Taylor 2013: adduction 10.2, radial abduction 62.9, anteposition 61.2 degrees; the MCP
    joint 8.1 of extension and 60 of flexion, the IP joint 12 and 88."""
    (low, high), (_, out), mcp, ip = anatomy.THUMB_LIMITS_DEG
    beside, _ = degrees_of_the_thumb(hand, thumb_cmc_flexion=high)
    apart, _ = degrees_of_the_thumb(hand, thumb_cmc_flexion=low)
    before = max(degrees_of_the_thumb(hand, thumb_cmc_flexion=f, thumb_cmc_abduction=out)[1] for f in range(-45, 31, 5))
    assert (beside, apart, before) == pytest.approx((-10.2, 62.9, 61.2), abs=12)
    assert (*mcp, *ip) == pytest.approx((-8.1, 60, -12, 88), abs=8)


# ------------------------------------------------------------------------------------------------- reference in NumPy


def turn(axis: str, angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def reference_points(pose: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """One hand by a chain of rotation matrices, joint after joint, (41, 3) mm."""
    points, wide = [], np.array([shape[7], 1, 1])
    for finger in range(5):
        flex, abduct, second, third = pose[6 + 4 * finger : 10 + 4 * finger]
        if finger < 4:
            frame = turn("z", math.radians(anatomy.SPLAY_DEG[finger])) @ turn(
                "y", math.radians(anatomy.ROLL_DEG[finger])
            )
        else:
            along = np.array(anatomy.THUMB_ALONG) / np.linalg.norm(anatomy.THUMB_ALONG)
            bend = np.array(anatomy.THUMB_FLEXION)
            bend = bend - (bend @ along) * along
            bend /= np.linalg.norm(bend)
            frame = np.stack([np.cross(along, bend), -along, -bend], axis=1)
        joints = [np.array(anatomy.KNUCKLES[finger]) * wide]
        frame = frame @ turn("z", abduct)
        for length, angle in zip(anatomy.LENGTHS[finger], (flex, second, third), strict=True):
            frame = frame @ turn("x", angle)
            joints.append(joints[-1] + frame @ np.array([0, -length * shape[1 + finger], 0]))
        knuckle, pip, dip, tip = joints
        points += [tip, dip, (dip + pip) / 2, pip, (pip + knuckle) / 2, knuckle]
    own = np.array(points + [np.array(p) * wide for p in anatomy.PALM]) * shape[0]
    angle = np.linalg.norm(pose[:3])
    x, y, z = pose[:3] / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return own @ rotation.T + pose[3:6]


def test_points_match_the_reference(hand: Spheres41) -> None:
    pose, shape = random_hands(20)
    expected = np.stack([reference_points(p, s) for p, s in zip(pose.numpy(), shape.numpy(), strict=True)])
    # The model's constants are float32: 1e-7 of 200 mm and of an angle's sine.
    np.testing.assert_allclose(hand.points(pose, shape).numpy(), expected, atol=1e-4)


def test_points_have_true_gradients(hand: Spheres41) -> None:
    pose, shape = random_hands(2)
    pose[0, :3] = 0  # the identity, where rotation vectors are delicate
    assert torch.autograd.gradcheck(hand.points, (pose.requires_grad_(), shape.requires_grad_()), eps=1e-5, atol=1e-4)


def test_points_keep_dtype_and_run_without_data(hand: Spheres41) -> None:
    pose, shape = random_hands(3)
    assert hand.points(pose, shape).dtype == torch.float64
    assert hand.points(pose.float(), shape.float()).dtype == torch.float32
    ghost = Spheres41(Spheres41Config()).to("meta")
    points = ghost.points(pose.to("meta"), shape.to("meta"))
    assert points.device.type == "meta"
    assert points.shape == (3, 41, 3)


def test_permuting_the_batch_permutes_the_points(hand: Spheres41) -> None:
    pose, shape = random_hands(6)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    torch.testing.assert_close(hand.points(pose[order], shape[order]), hand.points(pose, shape)[order])


def test_the_global_pose_is_rigid_and_carries_the_palm_centre(hand: Spheres41) -> None:
    pose, shape = random_hands(5)
    own = pose.clone()
    own[:, :6] = 0
    moved = hand.points(own, shape) @ rotation_matrix(pose[:, :3]).transpose(-1, -2) + pose[:, None, 3:6]
    torch.testing.assert_close(hand.points(pose, shape), moved)
    torch.testing.assert_close(hand.points(pose, shape)[:, hand.palm_centre], pose[:, 3:6])


# ---------------------------------------------------------------------------------------------------------- the frame


def test_it_is_a_right_hand_seen_from_its_palm(hand: Spheres41) -> None:
    points = neutral(hand)
    knuckles = [at(hand, points, f"F{k}_KNU1_B")[0] for k in (1, 2, 3, 4)]
    assert knuckles == sorted(knuckles)  # x: little finger to index finger
    assert at(hand, points, "TH_KNU3_A")[0] > knuckles[-1]
    assert at(hand, points, "F3_KNU3_A")[1] < at(hand, points, "F3_KNU1_B")[1] < at(hand, points, "PALM_1")[1]
    # Fingers up, palm towards the viewer, thumb on the viewer's right: x right, y down, z away is right-handed.


@pytest.mark.parametrize("finger", ["little", "ring", "middle", "index"])
def test_fingers_bend_towards_the_palm(hand: Spheres41, finger: str) -> None:
    tip = f"F{1 + anatomy.FINGERS.index(finger)}_KNU3_A"
    rest = at(hand, neutral(hand), tip)
    for angle in ("mcp_flexion", "pip_flexion", "dip_flexion"):
        assert at(hand, neutral(hand, **{f"{finger}_{angle}": 40}), tip)[2] < rest[2] - 8
    assert at(hand, neutral(hand, **{f"{finger}_mcp_abduction": 10}), tip)[0] > rest[0] + 8


def test_the_thumb_bends_across_the_palm_and_rises_out_of_it(hand: Spheres41) -> None:
    rest = at(hand, neutral(hand), "TH_KNU3_A")
    for angle in ("cmc_flexion", "mcp_flexion", "ip_flexion"):
        assert at(hand, neutral(hand, **{f"thumb_{angle}": 30}), "TH_KNU3_A")[0] < rest[0] - 5
    assert at(hand, neutral(hand, thumb_cmc_abduction=30), "TH_KNU3_A")[2] < rest[2] - 30


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # Mean phalanges of Buryanov & Kotiuk 2010, from joint to joint: a head more before it, a head less at its end.
        ("F1_KNU1_B", "F1_KNU2_B", 32.74 + 6.0 - 3.5),
        ("F2_KNU1_B", "F2_KNU2_B", 41.37 + 7.0 - 4.0),
        ("F3_KNU1_B", "F3_KNU2_B", 44.63 + 7.0 - 4.0),
        ("F4_KNU2_B", "F4_KNU3_B", 22.38 + 4.0 - 3.0),
        ("TH_KNU2_B", "TH_KNU3_B", 31.57 + 6.0 - 4.0),
    ],
)
def test_the_skeleton_has_published_lengths(hand: Spheres41, one: str, other: str, expected: float) -> None:
    points = neutral(hand)
    assert np.linalg.norm(at(hand, points, one) - at(hand, points, other)) == pytest.approx(expected, abs=1e-3)


def test_carpus_and_metacarpals_carry_the_knuckles(hand: Spheres41) -> None:
    """From the wrist's crease: 30 mm of carpus, the third metacarpal less its head (Buryanov & Kotiuk 2010: 64.6)."""
    points = neutral(hand)
    assert anatomy.WRIST_Y - at(hand, points, "F3_KNU1_B")[1] == pytest.approx(30 + 64.6 - 7, abs=0.5)
    knuckles = np.stack([at(hand, points, f"F{k}_KNU1_B") for k in (1, 2, 3, 4)])
    spacing = np.linalg.norm(np.diff(knuckles, axis=0), axis=1)
    assert bool(((spacing > 17) & (spacing < 27)).all())


# ------------------------------------------------------------------------------------------------ names, maps, lengths


def test_names_and_maps(hand: Spheres41) -> None:
    assert len(hand.names) == len(set(hand.names)) == len(hand.parts) == len(hand.radii) == 41
    assert len(hand.pose_names) == 26
    assert len(hand.shape_names) == 8
    names, matrix = hand.annotations["nyu36"]
    assert names == hand.names[:36]
    assert np.array_equal(matrix, np.eye(41, dtype=np.float32)[:36])
    names, matrix = hand.annotations["nyu14"]
    points = neutral(hand)
    assert names[0] == "F1_KNU3_A"
    assert names[10] == "TH_KNU2_B"
    assert names[11:] == ("PALM_1", "PALM_2", "PALM_3")
    for name, joint in zip(names, matrix @ points, strict=True):
        np.testing.assert_allclose(joint, at(hand, points, name))
    assert [hand.names[k] for k in hand.fingertips] == [f"{f}_KNU3_A" for f in ("F1", "F2", "F3", "F4", "TH")]
    assert hand.names[hand.palm_centre] == "PALM_3"


def test_collision_pairs_are_of_different_fingers_or_a_finger_and_the_palm(hand: Spheres41) -> None:
    pairs = hand.collisions()
    found = {frozenset(pair) for pair in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}
    assert len(found) == len(pairs.first) == 690
    assert all(hand.parts[a] != hand.parts[b] for a, b in map(tuple, found))


def test_no_pose_changes_a_bone(hand: Spheres41) -> None:
    bones = hand.bones()
    pose, _ = random_hands(50)
    points = hand.points(pose, torch.ones(50, 8, dtype=torch.float64))
    length = (points[:, bones.first] - points[:, bones.second]).norm(dim=-1)
    assert float((length - length[0]).abs().max()) < 1e-5
    assert bool((bones.shortest < length[0]).all())
    assert bool((length[0] < bones.longest).all())
    assert float(length.min()) > 5


def test_bones_reach_every_point_from_the_palm(hand: Spheres41) -> None:
    bones = hand.bones()
    known = {hand.palm_centre}
    for _ in range(len(hand.names)):
        for a, b in zip(bones.first.tolist(), bones.second.tolist(), strict=True):
            if a in known or b in known:
                known |= {a, b}
    assert len(known) == len(hand.names)


def test_ranges_of_sizes_widen_the_bones() -> None:
    narrow = Spheres41(Spheres41Config(size_range=(1, 1), finger_range=(1, 1), palm_width_range=(1, 1))).bones()
    wide = Spheres41(Spheres41Config(size_range=(0.5, 2), finger_range=(1, 1), palm_width_range=(1, 1))).bones()
    assert float((narrow.longest - narrow.shortest).max()) < 0.05
    torch.testing.assert_close(wide.longest, 2 * narrow.longest, atol=0.05, rtol=0)


def test_sampled_hands_never_leave_the_bones_ranges(hand: Spheres41) -> None:
    bones = hand.bones()
    points = hand.points(*hand.sample(400, torch.Generator().manual_seed(8)))
    length = (points[:, bones.first] - points[:, bones.second]).norm(dim=-1)
    assert bool(((length >= bones.shortest) & (length <= bones.longest)).all())
    # And the ranges are no wider than the shapes need: the ends are reached.
    corners = torch.cartesian_prod(*(torch.tensor(r) for r in ((0.88, 1.13), (0.95, 1.05), (0.94, 1.06))))
    shape = torch.ones(len(corners), 8)
    shape[:, 0], shape[:, 1:6], shape[:, 7] = corners[:, 0], corners[:, 1:2], corners[:, 2]
    points = hand.points(torch.zeros(len(corners), 26), shape)
    length = (points[:, bones.first] - points[:, bones.second]).norm(dim=-1)
    torch.testing.assert_close(length.amin(0), bones.shortest, atol=0.02, rtol=0)
    torch.testing.assert_close(length.amax(0), bones.longest, atol=0.02, rtol=0)


@pytest.mark.parametrize("bad", [(1.1, 0.9), (0.0, 1.0), (1.0, 50.0)])
def test_absurd_sizes_are_refused(bad: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="lowest <= highest"):
        Spheres41Config(size_range=bad)
