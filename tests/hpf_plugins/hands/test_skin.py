"""The skin: a closed, sound mesh of a hand's true measures, moved by its bones, with the skeleton's points inside."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull, cKDTree
from torch import Tensor

from hpf_core.geometry.rotations import rotation_matrix
from hpf_plugins.hands import anatomy
from hpf_plugins.hands.kinematics import rest_frames
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

from build_hand_mesh import bone_weights
from floor import measure
from hand_surface import hand_distance

KNUCKLES, LENGTHS, FRAMES = np.array(anatomy.KNUCKLES), np.array(anatomy.LENGTHS), rest_frames().double().numpy()


@pytest.fixture(scope="module")
def hand() -> Spheres41:
    return Spheres41(Spheres41Config())


@pytest.fixture(scope="module")
def vertices(hand: Spheres41) -> np.ndarray:
    return hand.skin.vertices.double().numpy()


@pytest.fixture(scope="module")
def faces(hand: Spheres41) -> np.ndarray:
    return hand.skin.faces.numpy()


def random_hands(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Any angles within 60 degrees, with global poses, float64."""
    generator = torch.Generator().manual_seed(seed)
    pose = 2 * torch.rand(count, 26, generator=generator, dtype=torch.float64) - 1
    pose[:, 3:6] *= 100
    shape = 0.85 + 0.3 * torch.rand(count, 8, generator=generator, dtype=torch.float64)
    return pose, shape


def posed(hand: Spheres41, **angles_deg: float) -> np.ndarray:
    """The neutral skin with some angles set, (V, 3) mm."""
    pose = torch.zeros(1, 26, dtype=torch.float64)
    for name, value in angles_deg.items():
        pose[0, hand.pose_names.index(name)] = math.radians(value)
    return hand.mesh(pose, torch.ones(1, 8, dtype=torch.float64)).vertices[0].numpy()


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Millilitres."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6000)


def flat_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3), twice each face's area long."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def section(vertices: np.ndarray, faces: np.ndarray, origin: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(K, 3) where a plane meets the mesh's edges."""
    height = (vertices - origin) @ normal
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    a, b = edges[(height[edges[:, 0]] < 0) & (height[edges[:, 1]] >= 0)].T
    share = height[a] / (height[a] - height[b])
    return vertices[a] + share[:, None] * (vertices[b] - vertices[a])


# ------------------------------------------------------------------------------------------------------------ the mesh


def test_the_mesh_is_closed_wound_outwards_and_of_one_piece(vertices: np.ndarray, faces: np.ndarray) -> None:
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)  # each way once
    edges, count = np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)
    assert set(count.tolist()) == {2}
    assert len(vertices) - len(edges) + len(faces) == 2
    assert sorted(set(faces.ravel().tolist())) == list(range(len(vertices)))
    assert volume(vertices, faces) > 0


def test_its_triangles_are_even(vertices: np.ndarray, faces: np.ndarray) -> None:
    assert 1200 <= len(vertices) <= 1800
    sides = np.stack([np.linalg.norm(vertices[faces[:, k]] - vertices[faces[:, k - 1]], axis=1) for k in range(3)])
    assert sides.max() < 8
    assert sides.min() > 2
    height = np.linalg.norm(flat_normals(vertices, faces), axis=1) / sides.max(0)
    assert height.min() > 1.5


def test_the_surface_does_not_meet_itself_at_rest(vertices: np.ndarray, faces: np.ndarray) -> None:
    pairs = cKDTree(vertices[faces].mean(1)).query_pairs(9.5, output_type="ndarray")
    apart = ~(faces[pairs[:, 0]][:, :, None] == faces[pairs[:, 1]][:, None, :]).any((1, 2))
    pairs = pairs[apart]
    assert len(pairs) > 10_000
    assert not pierced(vertices[faces[pairs[:, 0]]], vertices[faces[pairs[:, 1]]]).any()
    assert not pierced(vertices[faces[pairs[:, 1]]], vertices[faces[pairs[:, 0]]]).any()


def pierced(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(K,) whether an edge of the one triangle (K, 3, 3) goes through the other (Moeller & Trumbore 1997)."""
    a, u, v = other[:, 0], other[:, 1] - other[:, 0], other[:, 2] - other[:, 0]
    hit = np.zeros(len(one), bool)
    for k in range(3):
        start, along = one[:, k], one[:, (k + 1) % 3] - one[:, k]
        p = np.cross(along, v)
        determinant = (u * p).sum(1)
        safe = np.where(np.abs(determinant) < 1e-12, np.inf, determinant)
        offset = start - a
        x = (offset * p).sum(1) / safe
        q = np.cross(offset, u)
        y = (along * q).sum(1) / safe
        t = (v * q).sum(1) / safe
        hit |= (np.abs(determinant) > 1e-12) & (x >= 0) & (y >= 0) & (x + y <= 1) & (t >= 0) & (t <= 1)
    return hit


def test_the_piercing_test_finds_what_pierces() -> None:
    flat = np.array([[[0.0, 0, 0], [4, 0, 0], [0, 4, 0]]])
    assert pierced(np.array([[[1.0, 1, -1], [1, 1, 1], [9, 9, 9]]]), flat).all()
    assert not pierced(np.array([[[3.0, 3, -1], [3, 3, 1], [9, 9, 9]]]), flat).any()


def test_the_asset_is_what_the_builder_makes(hand: Spheres41, vertices: np.ndarray, faces: np.ndarray) -> None:
    assert np.abs(hand_distance(vertices)).max() < 0.05
    np.testing.assert_allclose(bone_weights(vertices, faces), hand.skin.weights.numpy(), atol=1e-4)


# ---------------------------------------------------------------------------------------------------------- its measure


def test_it_measures_as_adults_do(vertices: np.ndarray, faces: np.ndarray) -> None:
    """mm, half way between the means of women and men: Gordon et al. 1989, and Pheasant's for the fingers."""
    tip = vertices[:, 1].min()
    assert anatomy.WRIST_Y - tip == pytest.approx(187, abs=2)

    wrist = section(vertices, faces, np.array([0, anatomy.WRIST_Y, 0]), np.array([0.0, 1, 0]))
    assert ConvexHull(wrist[:, [0, 2]]).area == pytest.approx(162, abs=3)
    assert np.ptp(wrist[:, 0]) == pytest.approx(60, abs=2)

    across = KNUCKLES[3] - KNUCKLES[0]
    across /= np.linalg.norm(across)
    heads = section(vertices, faces, KNUCKLES[0], np.cross(across, [0, 0, 1.0]))
    side = (heads - KNUCKLES[0]) @ across
    without_web = side[heads[:, 2] > -10]  # the thumb's fold meets the palm's side below the index finger's knuckle
    assert np.ptp(without_web[without_web < 78]) == pytest.approx(85, abs=2.5)
    middle = section(vertices, faces, KNUCKLES[2], np.array([0, 1.0, 0]))
    assert np.ptp(middle[np.abs(middle[:, 0] - KNUCKLES[2, 0]) < 6][:, 2]) == pytest.approx(30.5, abs=1.5)


@pytest.mark.parametrize(
    ("finger", "joint", "breadth", "depth"),
    [("index", 1, 19.5, 17.5), ("index", 2, 17.0, 14.5), ("middle", 1, 19.9, 17.8), ("thumb", 2, 21.5, 19.7)],
)
def test_fingers_are_as_thick_as_adults(
    vertices: np.ndarray, faces: np.ndarray, finger: str, joint: int, breadth: float, depth: float
) -> None:
    k = anatomy.FINGERS.index(finger)
    place = KNUCKLES[k] + FRAMES[k] @ np.array([0, -LENGTHS[k][:joint].sum(), 0])
    own = (section(vertices, faces, place, FRAMES[k][:, 1]) - place) @ FRAMES[k]
    own = own[np.hypot(own[:, 0], own[:, 2]) < 13]
    # A mesh of 5 mm edges lies within the surface by a few tenths of a mm.
    assert np.ptp(own[:, 0]) == pytest.approx(breadth, abs=0.9)
    assert np.ptp(own[:, 2]) == pytest.approx(depth, abs=0.9)


def test_its_volume_is_a_hand_s(vertices: np.ndarray, faces: np.ndarray) -> None:
    assert 280 < volume(vertices, faces) < 420


# --------------------------------------------------------------------------------------------------------- the weights


def test_weights_are_shares_of_at_most_four_bones(hand: Spheres41) -> None:
    weights = hand.skin.weights
    assert bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
    assert int((weights > 0).sum(1).max()) <= 4
    assert weights.shape[1] == 31
    assert bool((weights.sum(0) > 1).all())  # every bone moves something


def test_weights_are_smooth_and_fingers_do_not_mix(hand: Spheres41, vertices: np.ndarray, faces: np.ndarray) -> None:
    weights = hand.skin.weights.double().numpy()
    # By how many degrees would two neighbours turn apart if every joint turned by 90 degrees?
    turned = np.zeros(31)
    for k in range(5):
        turned[1 + 6 * k : 7 + 6 * k] = np.array([0.5, 1, 1.5, 2, 2.5, 3]) * 90
    angle = weights @ turned
    steps = np.concatenate([np.abs(angle[faces[:, k]] - angle[faces[:, k - 1]]) for k in range(3)])
    assert steps.max() < 90
    for k in range(5):
        own = (vertices - KNUCKLES[k]) @ FRAMES[k]
        on_finger = (np.hypot(own[:, 0], own[:, 2]) < 13) & (-own[:, 1] > (0.85 if k < 4 else 1.3) * LENGTHS[k, 0])
        others = np.delete(weights[on_finger], slice(1 + 6 * k, 7 + 6 * k), axis=1)
        assert on_finger.sum() > 80
        assert others.max() < 0.02


# ------------------------------------------------------------------------------------------------------------ skinning


def turn(axis: int, angle: float) -> np.ndarray:
    vector = torch.zeros(3, dtype=torch.float64)
    vector[axis] = angle
    return rotation_matrix(vector).numpy()


def reference_skin(hand: Spheres41, pose: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """One hand's skin, bone after bone: every vertex by every bone, then their weighted mean. (V, 3) mm"""
    rest = hand.skin.vertices.double().numpy()
    by_bone = [rest * np.array([shape[7], 1, shape[6]])]
    for k in range(5):
        flex, abduct, second, third = pose[6 + 4 * k : 10 + 4 * k]
        base = FRAMES[k]
        joint, before = KNUCKLES[k] * np.array([shape[7], 1, 1]), KNUCKLES[k].copy()
        turned = base
        for j, (z, x) in enumerate(((abduct, flex), (0, second), (0, third))):
            for share in (0.5, 1.0):
                frame = turned @ turn(2, share * z) @ turn(0, share * x)
                own = (rest - before) @ base * np.array([shape[6], shape[1 + k], shape[6]])
                by_bone.append(own @ frame.T + joint)
            turned = frame
            step = np.array([0, -LENGTHS[k, j], 0])
            joint, before = joint + turned @ step * shape[1 + k], before + base @ step
    own = np.einsum("vb,bvi->vi", hand.skin.weights.double().numpy(), np.stack(by_bone)) * shape[0]
    return own @ rotation_matrix(torch.tensor(pose[:3])).numpy().T + pose[3:6]


def test_the_skin_matches_the_reference(hand: Spheres41) -> None:
    pose, shape = random_hands(6)
    expected = np.stack([reference_skin(hand, p, s) for p, s in zip(pose.numpy(), shape.numpy(), strict=True)])
    np.testing.assert_allclose(hand.mesh(pose, shape).vertices.numpy(), expected, atol=1e-3)


def test_at_rest_it_is_the_asset(hand: Spheres41, vertices: np.ndarray) -> None:
    np.testing.assert_allclose(posed(hand), vertices, atol=1e-4)


def test_it_keeps_dtype_runs_without_data_and_takes_no_hands(hand: Spheres41) -> None:
    pose, shape = random_hands(3)
    assert hand.mesh(pose, shape).vertices.dtype == torch.float64
    assert hand.mesh(pose.float(), shape.float()).vertices.dtype == torch.float32
    assert hand.mesh(pose[:0], shape[:0]).vertices.shape == (0, len(hand.skin.vertices), 3)
    ghost = Spheres41(Spheres41Config()).to("meta").mesh(pose.to("meta"), shape.to("meta"))
    assert ghost.vertices.device.type == ghost.faces.device.type == "meta"


def test_the_global_pose_is_rigid_and_size_scales(hand: Spheres41) -> None:
    pose, shape = random_hands(4)
    own, unit = pose.clone(), shape.clone()
    own[:, :6], unit[:, 0] = 0, 1
    small = hand.mesh(own, unit).vertices * shape[:, :1, None]
    torch.testing.assert_close(
        hand.mesh(pose, shape).vertices, small @ rotation_matrix(pose[:, :3]).mT + pose[:, None, 3:6], atol=1e-4, rtol=0
    )


def test_the_skin_has_true_gradients(hand: Spheres41) -> None:
    pose, shape = random_hands(2)
    pose[0, :3] = 0
    some = torch.arange(0, len(hand.skin.vertices), 160)

    def few(pose: Tensor, shape: Tensor) -> Tensor:
        return hand.mesh(pose, shape).vertices[:, some]

    assert torch.autograd.gradcheck(few, (pose.requires_grad_(), shape.requires_grad_()), eps=1e-5, atol=1e-4)


def test_each_shape_parameter_does_what_it_says(hand: Spheres41, vertices: np.ndarray) -> None:
    def shaped(name: str, factor: float) -> np.ndarray:
        shape = torch.ones(1, 8, dtype=torch.float64)
        shape[0, hand.shape_names.index(name)] = factor
        return hand.mesh(torch.zeros(1, 26, dtype=torch.float64), shape).vertices[0].numpy()

    wide = shaped("palm_width", 1.06)
    palm = hand.skin.weights[:, 0].numpy() > 0.999
    np.testing.assert_allclose(wide[palm, 0], 1.06 * vertices[palm, 0], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(wide[palm, 1:], vertices[palm, 1:], atol=1e-3)

    own = (vertices - KNUCKLES[3]) @ FRAMES[3]
    middle = (np.hypot(own[:, 0], own[:, 2]) < 13) & (-own[:, 1] > 24) & (-own[:, 1] < 32)
    thick = (shaped("thickness", 1.1) - KNUCKLES[3]) @ FRAMES[3]
    np.testing.assert_allclose(thick[middle][:, [0, 2]], 1.1 * own[middle][:, [0, 2]], rtol=0.03, atol=0.05)
    longer = shaped("middle", 1.05)
    tip = vertices[:, 1].argmin()
    whole = LENGTHS[2].sum() + anatomy.TIP_RADII[2]
    assert vertices[tip, 1] - longer[tip, 1] == pytest.approx(0.05 * whole, abs=0.3)


# ------------------------------------------------------------------------------------------------- poses and the points


def winding(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Generalised winding number of points (K, 3) about triangles (F, 3, 3) (van Oosterom & Strackee 1983)."""
    a, b, c = (corners[None, :, k] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
    above = (a * np.cross(b, c)).sum(-1)
    below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return np.arctan2(above, below).sum(-1) / (2 * math.pi)


def test_every_point_lies_inside_of_the_skin(hand: Spheres41, faces: np.ndarray) -> None:
    pose, shape = hand.sample(60, torch.Generator().manual_seed(4))
    points, skin = hand.points(pose, shape).double().numpy(), hand.mesh(pose, shape).vertices.double().numpy()
    for own, surface in zip(points, skin, strict=True):
        assert winding(own, surface[faces]).min() > 0.5
        assert abs(winding(own[:1] + 400, surface[faces])[0]) < 1e-6


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("joints", ["mcp", "pip", "all"])
def test_joint_limits_keep_the_skin_whole(hand: Spheres41, faces: np.ndarray, end: int, joints: str) -> None:
    """The volume stays, and nearly no face turns against the bones that move it."""
    angles = {}
    for finger in anatomy.FINGERS:
        limits = anatomy.THUMB_LIMITS_DEG if finger == "thumb" else anatomy.FINGER_LIMITS_DEG
        names = [n for n in anatomy.ANGLE_NAMES if n.startswith(finger)]
        for k, name in enumerate(names):
            bends = (k == 0 and joints != "pip") or (k >= 2 and joints != "mcp")
            angles[name] = limits[k][end] if bends else 0.0
    rest, bent = posed(hand), posed(hand, **angles)
    assert np.isfinite(bent).all()
    assert 0.75 < volume(bent, faces) / volume(rest, faces) < 1.15

    # Where the bones of a face's corners, by their weights, turn its normal to.
    pose = torch.zeros(1, 26, dtype=torch.float64)
    for name, value in angles.items():
        pose[0, hand.pose_names.index(name)] = math.radians(value)
    maps = reference_maps(pose[0].numpy())
    by_vertex = np.einsum("vb,bij->vij", hand.skin.weights.double().numpy(), maps)
    expected = np.einsum("fij,fj->fi", by_vertex[faces].mean(1), flat_normals(rest, faces))
    agree = (expected * flat_normals(bent, faces)).sum(1) > 0
    assert agree.mean() > (0.95 if joints == "all" else 0.96)


def reference_maps(pose: np.ndarray) -> np.ndarray:
    """(31, 3, 3) by how much each bone has turned from rest."""
    maps = [np.eye(3)]
    for k in range(5):
        flex, abduct, second, third = pose[6 + 4 * k : 10 + 4 * k]
        turned = FRAMES[k]
        for z, x in ((abduct, flex), (0, second), (0, third)):
            for share in (0.5, 1.0):
                frame = turned @ turn(2, share * z) @ turn(0, share * x)
                maps.append(frame @ FRAMES[k].T)
            turned = frame
    return np.stack(maps)


def test_the_floor_of_m2d(hand: Spheres41) -> None:
    """A perfect fit of the spheres leaves so much; `tools/floor.py` measures it over 1,000 hands."""
    found = measure(hand, 50, seed=1)
    assert found.iou > 0.85
    assert found.depth_mm < 4.8
    assert abs(found.bias_mm) < 1
