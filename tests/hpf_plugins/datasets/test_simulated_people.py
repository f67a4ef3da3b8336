"""The people of `simulated` with the hand model that recipes use, against what `synthetic` draws from it."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from hpf_core.interfaces import Mesh
from hpf_core.simulation.motion import Motion, random_motion
from hpf_core.simulation.people import Actor, cast
from hpf_core.simulation.simulate import generator_of
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config

HAND = Spheres41(Spheres41Config())


@pytest.fixture(scope="module")
def people() -> list[Actor]:
    return [actor for seed in range(3) for actor in cast(HAND, generator_of(seed, 1)).values()]


def winding(mesh: Mesh, queries: Tensor) -> Tensor:
    """(N, Q) how often the surface goes around each query (Van Oosterom & Strackee 1983, Eq. 8)."""
    a, b, c = (mesh.vertices[:, mesh.faces][:, None] - queries[:, :, None, None]).unbind(dim=3)
    la, lb, lc = (part.norm(dim=-1) for part in (a, b, c))
    triple = (a * torch.linalg.cross(b, c)).sum(-1)
    below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return (2 * torch.atan2(triple, below)).sum(-1) / (4 * math.pi)


def test_labels_lie_inside_of_the_rendered_skin(people: list[Actor]) -> None:
    place = torch.tensor([0.0, 0.0, 850.0])
    motion = random_motion(
        HAND, 4, generator_of(5), frames_per_pose=1, cone_deg=35.0, roll_deg=30.0, target_mm=place, reach_mm=50.0
    )
    labelled = torch.as_tensor(HAND.annotations["nyu36"][1])
    for actor in people:
        points, surface = actor.perform(motion)
        count = len(actor.swelling)
        skin = Mesh(surface.vertices[:, :count], surface.faces[(surface.faces < count).all(dim=1)])
        assert (winding(skin, labelled @ points) > 0.5).all()


def at_rest(actor: Actor) -> Tensor:
    """(V, 3) mm, the skin of a person's hand in the model's own frame and rest pose."""
    rest = Motion(
        pose=torch.zeros(1, len(HAND.pose_names)),
        rotation=torch.eye(3)[None],
        position=torch.zeros(1, 3),
        elbow=torch.tensor([[0.0, 230.0, 100.0]]),
        body=torch.zeros(1, 3),
    )
    return actor.perform(rest)[1].vertices[0, : len(actor.swelling)]


def skin_of(shape: Tensor) -> Tensor:
    return HAND.mesh(torch.zeros(1, len(HAND.pose_names)), shape[None]).vertices[0]


def nearest_skin_mm(skin: Tensor, low: Tensor, high: Tensor) -> float:
    """Mean distance of a skin (V, 3) from the nearest that a shape within the range has, by Gauss-Newton."""
    shape = (low + high) / 2
    for _ in range(4):
        steps = 0.005 * torch.eye(len(shape))
        slope = torch.stack([(skin_of(shape + e) - skin_of(shape - e)).flatten() / 0.01 for e in steps], dim=1)
        off = (skin - skin_of(shape)).flatten()
        bounds = ((low - shape - 1e-6).double().numpy(), (high - shape + 1e-6).double().numpy())
        step = lsq_linear(slope.double().numpy(), off.double().numpy(), bounds).x
        shape = shape + torch.from_numpy(step).float()
    return float((skin - skin_of(shape)).norm(dim=-1).mean())


def test_no_shape_that_the_model_draws_has_an_actors_skin(people: list[Actor]) -> None:
    drawn = HAND.sample(4000, generator_of(1)).shape
    low, high = drawn.amin(dim=0), drawn.amax(dim=0)
    assert nearest_skin_mm(skin_of(drawn[7]), low, high) < 0.05
    for actor in people:
        assert nearest_skin_mm(at_rest(actor), low, high) > 0.8


def test_bones_keep_to_the_ranges_of_the_prior(people: list[Actor]) -> None:
    bones = HAND.bones()
    place = torch.tensor([0.0, 0.0, 850.0])
    motion = random_motion(
        HAND, 30, generator_of(3), frames_per_pose=1, cone_deg=35.0, roll_deg=30.0, target_mm=place, reach_mm=50.0
    )
    for actor in people:
        points, _ = actor.perform(motion)
        length = (points[:, bones.first] - points[:, bones.second]).norm(dim=-1)
        over = torch.maximum(length - bones.longest, bones.shortest - length)
        assert (over > 0).float().mean() < 0.1
        assert over.max() < 1.0


def test_training_subjects_are_opposites(people: list[Actor]) -> None:
    for one, _, second in zip(people[::3], people[1::3], people[2::3], strict=True):
        middle = HAND.sample(4000, generator_of(1)).shape.median(dim=0).values
        assert ((one.shape - middle) * (second.shape - middle) < 0).all()
        assert (at_rest(one) - at_rest(second)).norm(dim=-1).mean() > 4
