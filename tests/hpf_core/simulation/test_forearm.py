"""The forearm's tube: closed, where it must be, as thick as the wrist, and out of sight where there is none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hpf_core.grid import Grid
from hpf_core.interfaces import HandModel, Mesh
from hpf_core.simulation.forearm import bend_towards, forearm, random_bend
from hpf_core.simulation.rasteriser import orthographic
from hpf_core.simulation.tessellate import joined


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def posed(hand: HandModel, count: int, seed: int = 0) -> tuple[Tensor, Mesh]:
    pose, shape = hand.sample(count, seeded(seed))
    return hand.points(pose, shape), hand.mesh(pose, shape)


def volume(mesh: Mesh) -> Tensor:
    a, b, c = mesh.vertices[:, mesh.faces].unbind(dim=2)
    return (torch.linalg.cross(a, b) * c).sum(dim=(-1, -2)) / 6


def test_it_begins_within_the_wrist_and_goes_on_from_the_palm(hand: HandModel) -> None:
    points, skin = posed(hand, 4)
    length = torch.tensor([50.0, 100.0, 200.0, 250.0])
    arm = forearm(hand, points, skin.vertices, length, torch.zeros(4, 2), torch.ones(4))
    wrist = points[:, list(hand.wrist)].mean(dim=1)
    along = torch.nn.functional.normalize(wrist - points[:, hand.palm_centre], dim=-1)
    reach = ((arm.vertices - wrist[:, None]) * along[:, None]).sum(-1)
    torch.testing.assert_close(reach.amin(dim=1), torch.full((4,), -10.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(reach.amax(dim=1), length, atol=1e-3, rtol=0)


def test_it_is_closed_and_wound_outwards_at_every_bend(hand: HandModel) -> None:
    points, skin = posed(hand, 5)
    bend = torch.tensor([[0.0, 0.0], [60.0, 0.0], [-60.0, 0.0], [0.0, 25.0], [60.0, -25.0]]).deg2rad()
    arm = forearm(hand, points, skin.vertices, torch.full((5,), 150.0), bend, torch.ones(5))
    edges = torch.cat([arm.faces[:, [0, 1]], arm.faces[:, [1, 2]], arm.faces[:, [2, 0]]])
    there, back = {tuple(e) for e in edges.tolist()}, {tuple(e) for e in edges.flip(1).tolist()}
    assert there == back  # each side is shared by two faces, once in each direction
    assert len(there) == len(edges)
    assert arm.faces.unique().tolist() == list(range(arm.vertices.shape[1]))
    straight = forearm(hand, points, skin.vertices, torch.full((5,), 150.0), torch.zeros(5, 2), torch.ones(5))
    assert volume(straight).min() > 150 * 25**2  # mm^3: no tube of a wrist is thinner
    torch.testing.assert_close(volume(arm), volume(straight), rtol=0.1, atol=0)


def test_its_section_is_the_skin_s_and_widens_by_a_third(hand: HandModel) -> None:
    points, skin = posed(hand, 2)
    thickness = torch.tensor([1.0, 1.2])
    arm = forearm(hand, points, skin.vertices, torch.full((2,), 250.0), torch.zeros(2, 2), thickness)
    rings = arm.vertices[:, :-2].unflatten(1, (10, 16))
    breadth, depth = (rings[:, :, 0] - rings[:, :, 8]).norm(dim=-1), (rings[:, :, 4] - rings[:, :, 12]).norm(dim=-1)
    torch.testing.assert_close(breadth[:, 9] / breadth[:, 1], torch.full((2,), 4 / 3))
    torch.testing.assert_close(depth[:, 9] / depth[:, 1], torch.full((2,), 4 / 3))
    # The small hand's wrist: spheres around two points, so the skin reaches beyond them on both sides.
    apart = (points[:, hand.wrist[0]] - points[:, hand.wrist[1]]).norm(dim=-1)
    assert (breadth[:, 1] / thickness > apart).all()
    assert (breadth[:, 1] / thickness < apart + 60).all()
    assert (depth[:, 1] < breadth[:, 1]).all()
    torch.testing.assert_close(breadth[1] / breadth[0], (apart[1] / apart[0] * 1.2).expand(10), rtol=0.2, atol=0)


def test_without_length_nothing_of_it_is_seen(hand: HandModel) -> None:
    points, skin = posed(hand, 3)
    arm = forearm(hand, points, skin.vertices, torch.zeros(3), random_bend(3, seeded()), torch.ones(3))
    grid = Grid(48)
    torch.testing.assert_close(orthographic(joined(skin, arm), grid), orthographic(skin, grid), rtol=0, atol=0)


def test_hand_and_forearm_together_show_the_nearer_of_both(hand: HandModel) -> None:
    points, skin = posed(hand, 3)
    arm = forearm(hand, points, skin.vertices, torch.full((3,), 120.0), random_bend(3, seeded()), torch.ones(3))
    grid = Grid(48)
    both = torch.minimum(orthographic(skin, grid), orthographic(arm, grid))
    torch.testing.assert_close(orthographic(joined(skin, arm), grid), both, rtol=0, atol=0)
    assert (torch.isfinite(both) & ~torch.isfinite(orthographic(skin, grid))).any()


def test_a_wrist_bends_towards_the_elbow_as_far_as_it_goes(hand: HandModel) -> None:
    points, skin = posed(hand, 2)
    wrist = points[:, list(hand.wrist)].mean(dim=1)
    along = wrist - points[:, hand.palm_centre]
    elbow = wrist + along / along.norm(dim=-1, keepdim=True) * 200 + torch.tensor([40.0, 0.0, 60.0])
    bend = bend_towards(hand, points, elbow)
    arm = forearm(hand, points, skin.vertices, (elbow - wrist).norm(dim=-1), bend, torch.ones(2))
    # The tube begins in the middle of the skin's section, which needn't be that of the wrist's points.
    assert (arm.vertices[:, -1] - elbow).norm(dim=-1).max() < 15
    behind = bend_towards(hand, points, wrist - 100 * along)
    assert behind.abs().rad2deg().max() <= 60.01


def test_random_bends_keep_within_the_wrist_s_range() -> None:
    bend = random_bend(4000, seeded()).rad2deg()
    for angle, limit in zip(bend.unbind(1), (50.0, 20.0), strict=True):
        assert 0.9 * limit < angle.abs().max() <= limit
        assert angle.mean().abs() < 0.05 * limit
        assert float(angle.std()) == pytest.approx(limit / math.sqrt(6), rel=0.05)  # of a triangular distribution
