"""The people of a capture: unlike the model's own samples, unlike each other, with closed skins around the labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hpf_core.interfaces import HandModel, Mesh
from hpf_core.simulation.body import Body, unit_sphere
from hpf_core.simulation.motion import Motion, random_motion
from hpf_core.simulation.people import NEW, SECOND, SUBJECT_NAMES, TRAINING, Actor, cast, vertex_normals


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def people(hand: HandModel) -> dict[int, Actor]:
    return cast(hand, seeded())


@pytest.fixture(scope="module")
def motion(hand: HandModel) -> Motion:
    place = torch.tensor([0.0, 0.0, 850.0])
    return random_motion(
        hand, 6, seeded(1), frames_per_pose=3, cone_deg=35.0, roll_deg=30.0, target_mm=place, reach_mm=50.0
    )


def winding(mesh: Mesh, queries: Tensor) -> Tensor:
    """(N, Q) how often the surface goes around each query (N, Q, 3): the sum of the solid angles of its faces.

    Van Oosterom & Strackee 1983, IEEE Trans. Biomed. Eng. 30(2), Eq. 8.
    """
    corners = mesh.vertices.double()[:, mesh.faces][:, None] - queries.double()[:, :, None, None]  # (N, Q, F, 3, 3)
    a, b, c = corners.unbind(dim=3)
    la, lb, lc = (part.norm(dim=-1) for part in (a, b, c))
    triple = (a * torch.linalg.cross(b, c)).sum(-1)
    below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return (2 * torch.atan2(triple, below)).sum(-1) / (4 * math.pi)


def volume(mesh: Mesh) -> Tensor:
    """(N,) mm^3 of a closed mesh, by the divergence theorem: positive where it is wound outwards."""
    a, b, c = mesh.vertices.double()[:, mesh.faces].unbind(dim=2)
    return (a * torch.linalg.cross(b, c)).sum(dim=(1, 2)) / 6


def parts_of(mesh: Mesh, sizes: list[int]) -> list[Mesh]:
    """A joined mesh taken apart, by the number of vertices of each part."""
    out, first = [], 0
    for size in sizes:
        own = ((mesh.faces >= first) & (mesh.faces < first + size)).all(dim=1)
        out.append(Mesh(mesh.vertices[:, first : first + size], mesh.faces[own] - first))
        first += size
    return out


def test_the_cast_has_three_people_who_differ(people: dict[int, Actor]) -> None:
    assert set(people) == {TRAINING, NEW, SECOND} == set(SUBJECT_NAMES)
    one, new, second = people[TRAINING], people[NEW], people[SECOND]
    assert not torch.equal(one.shape, second.shape)
    for value in ("stretch", "swelling"):
        assert not torch.allclose(getattr(one, value), getattr(new, value))
        assert not torch.allclose(getattr(second, value), getattr(new, value))
    # The training subjects stand at opposite ends of everything.
    assert (((one.stretch - 1) * (second.stretch - 1)) < 0).all()
    assert (one.arm - 1) * (second.arm - 1) < 0
    assert one.swelling.mean() * second.swelling.mean() < 0


def test_no_one_is_from_the_middle(hand: HandModel) -> None:
    drawn = hand.sample(4000, seeded(9)).shape
    low, high = drawn.quantile(torch.tensor([0.22, 0.78]), dim=0)
    for seed in range(5):
        for actor in cast(hand, seeded(seed)).values():
            assert ((actor.shape < low) | (actor.shape > high)).all()
            off = (actor.stretch - 1).abs()
            assert (off >= 0.0199).all()
            assert (off <= 0.0401).all()
            assert actor.stretch[1] == actor.stretch[2]
            assert 0.059 < abs(actor.arm - 1) < 0.121


def test_swelling_is_the_promised_share_of_the_thickness(hand: HandModel) -> None:
    for seed in range(4):
        for actor in cast(hand, seeded(seed)).values():
            pose = torch.zeros(1, len(hand.pose_names))
            skin = hand.mesh(pose, actor.shape[None]).vertices[0]
            points = hand.points(pose, actor.shape[None])[0]
            first, last = torch.tensor(hand.links).unbind(1)
            # An independent distance to the skeleton: to a thousand points on it.
            t = torch.linspace(0, 1, 60)[:, None, None]
            on_it = torch.lerp(points[first], points[last], t).flatten(0, 1)
            share = actor.swelling / torch.cdist(skin, on_it).amin(dim=1)
            assert share.abs().min() > 0.02
            assert share.abs().max() < 0.14
            assert (share > 0).all() or (share < 0).all()
            assert share.std() > 1e-3  # each part has its own


def test_labels_lie_inside_of_the_skin_that_is_rendered(
    hand: HandModel, people: dict[int, Actor], motion: Motion
) -> None:
    size = hand.mesh(*hand.sample(1, seeded())).vertices.shape[1]
    for actor in people.values():
        points, surface = actor.perform(motion)
        assert points.shape == (6, len(hand.names), 3)
        assert (winding(parts_of(surface, [size])[0], points) > 0.5).all()


def test_every_part_is_closed_and_wound_outwards(hand: HandModel, people: dict[int, Actor], motion: Motion) -> None:
    size = hand.mesh(*hand.sample(1, seeded())).vertices.shape[1]
    _, surface = people[NEW].perform(motion)
    arm = surface.vertices.shape[1] - size - 7 * 642
    skin, forearm, body = parts_of(surface, [size, arm, 7 * 642])
    assert sum(len(part.faces) for part in (skin, forearm, body)) == len(surface.faces)
    for part in (skin, forearm, body):
        edges = torch.cat([part.faces[:, [0, 1]], part.faces[:, [1, 2]], part.faces[:, [2, 0]]])
        _, counts = edges.sort(dim=1).values.unique(dim=0, return_counts=True)
        assert (counts == 2).all()
        assert (volume(part) > 0).all()
    # The person stands behind the hand, and the upper arm begins where the forearm ends.
    assert (body.vertices[:, : 6 * 642, 2].amin(dim=1) > motion.position[:, 2] + 150).all()
    gap = torch.cdist(forearm.vertices, body.vertices[:, 6 * 642 :]).flatten(1).amin(dim=1)
    assert (gap < 15).all()


def test_bending_a_finger_changes_no_bone_by_much(hand: HandModel, people: dict[int, Actor], motion: Motion) -> None:
    fingers = [k for k, name in enumerate(hand.parts) if name in ("little", "ring", "middle", "index")]
    first, last = torch.tensor([(a, b) for a, b in hand.links if a in fingers and b in fingers]).unbind(1)
    for actor in people.values():
        points, _ = actor.perform(motion)
        length = (points[:, first] - points[:, last]).norm(dim=-1)
        assert (length - length[:1]).abs().max() < 0.5


def test_swelling_moves_the_skin_along_its_normals(hand: HandModel, people: dict[int, Actor], motion: Motion) -> None:
    actor = people[TRAINING]
    bare = Actor(actor.hand, actor.shape, torch.ones(3), torch.zeros_like(actor.swelling), 1.0, actor.body)
    swollen = Actor(actor.hand, actor.shape, torch.ones(3), torch.full_like(actor.swelling, 1.5), 1.0, actor.body)
    size = len(actor.swelling)
    one, other = (person.perform(motion)[1].vertices[:, :size] for person in (bare, swollen))
    torch.testing.assert_close((other - one).norm(dim=-1), torch.full((6, size), 1.5), atol=1e-3, rtol=0)


def test_normals_of_a_ball_point_away_from_its_middle() -> None:
    vertices, faces = unit_sphere(3)
    assert vertices.shape == (642, 3)
    assert faces.shape == (1280, 3)
    normals = vertex_normals(Mesh(vertices[None], faces))[0]
    assert (normals * vertices).sum(-1).min() > 0.999
    assert volume(Mesh(vertices[None], faces))[0].item() == pytest.approx(4 / 3 * math.pi, rel=0.02)


@pytest.mark.parametrize("elbow", [(0.0, 230.0, 950.0), (-120.0, 180.0, 890.0), (120.0, 280.0, 1070.0)])
def test_the_upper_arm_reaches_from_the_shoulder_to_the_elbow(elbow: tuple[float, float, float]) -> None:
    place, at = torch.tensor([[0.0, 0.0, 850.0]]), torch.tensor([elbow])
    arm = Body(torch.tensor([0.0, 330.0, 430.0]), 1.0).mesh(place, at).vertices[:, 6 * 642 :]
    assert torch.cdist(arm, at[:, None]).min() < 30
    assert (arm[0].amax(dim=0) - arm[0].amin(dim=0)).max() > 200
