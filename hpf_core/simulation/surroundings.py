"""Other objects of a simulated scene: a table, another person, another hand, or an object in the hand.

No object is scored. The objects let us measure hand detection where the hand isn't the nearest surface.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hpf_core.interfaces import HandModel, Mesh
from hpf_core.simulation.body import Body, unit_sphere
from hpf_core.simulation.tessellate import joined

SceneKind = Literal["plain", "table", "second_person", "two_hands", "object", "empty"]

_TABLE_MM = (
    (-600.0, 600.0),
    (170.0, 205.0),
    (-320.0, 330.0),
)  # from the hand's place: below it, and nearer at its front
_BESIDE_MM = (390.0, 10.0, -340.0)  # from one person's place to the second one's: nearer to the camera, to the right
_ELBOW_MM = (-150.0, 110.0, -120.0)  # the second person's elbow, from the chest
_OTHER_HAND_MM = 210.0  # from one hand's place to the other's, to the image's right
_OBJECT_MM = (24.0, 40.0)  # semi-axes of a held object
_HANGING_MM = (-225.0, 150.0, 20.0)  # the elbow of a person whose arm hangs down, from the chest


def table(moments: int, middle: Tensor) -> Mesh:
    """A table top below the hand's place (3,) mm. Its front edge is nearer to the first camera than the hand."""
    low, high = (middle + torch.tensor([side[k] for side in _TABLE_MM]).to(middle) for k in (0, 1))
    corners = torch.stack([torch.where(torch.tensor(pick), high, low) for pick in _CORNERS])
    return Mesh(corners.expand(moments, -1, -1), torch.tensor(_SIDES))


_CORNERS = [[bool(k & 1), bool(k & 2), bool(k & 4)] for k in range(8)]
_SIDES = [  # of a box, wound outwards
    (0, 2, 1), (1, 2, 3), (4, 5, 6), (5, 7, 6), (0, 1, 4), (1, 5, 4),
    (2, 6, 3), (3, 6, 7), (0, 4, 2), (2, 4, 6), (1, 3, 5), (3, 7, 5),
]  # fmt: skip


def second_person(body: Body, place: Tensor) -> Mesh:
    """Another person beside and in front of the first one, at places (F, 3) mm; both sway together."""
    stands = place + torch.tensor(_BESIDE_MM).to(place)
    return body.mesh(stands, stands + body.behind_mm.to(place) + torch.tensor(_ELBOW_MM).to(place))


def person_without_hands(body: Body, place: Tensor) -> Mesh:
    """The person at places (F, 3) mm with a hanging arm and no hand in view."""
    return body.mesh(place, place + body.behind_mm.to(place) + torch.tensor(_HANGING_MM).to(place))


def other_hand(performed: Mesh, middle: Tensor) -> Mesh:
    """Mirror a right hand's performance into a left hand beside the hand's place (3,) mm."""
    across = performed.vertices.new_tensor([-1.0, 1.0, 1.0])
    aside = performed.vertices.new_tensor([2 * float(middle[0]) + _OTHER_HAND_MM, 0.0, 0.0])
    return Mesh(performed.vertices * across + aside, performed.faces.flip(-1))


def held_object(hand: HandModel, points: Tensor, generator: torch.Generator) -> Mesh:
    """An ellipsoid in the grasp of hands with points (F, J, 3) mm. Size and kind are the same at all moments."""
    ball, faces = unit_sphere(3)
    drawn = torch.rand(3, generator=generator)
    axes = (_OBJECT_MM[0] + drawn * (_OBJECT_MM[1] - _OBJECT_MM[0])).to(points)
    tips = points[:, list(hand.fingertips)].mean(dim=1)
    middle = (points[:, hand.palm_centre] + tips) / 2
    return Mesh(ball.to(points) * axes + middle[:, None], faces)


def with_surroundings(surface: Mesh, *others: Mesh) -> Mesh:
    """Join a scene's surface with the other surfaces."""
    return joined(surface, *(Mesh(other.vertices.to(surface.vertices), other.faces) for other in others))
