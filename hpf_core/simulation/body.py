"""The person behind the hand: chest, shoulders, neck, head and upper arm as ellipsoids. The body is never scored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from hpf_core.interfaces import Mesh

_GOLDEN = (1 + 5**0.5) / 2
_PARTS = (
    # Centre and semi-axes, mm: x to the image's right, y down, z away from the camera. The origin is the chest's
    # middle.
    ((0.0, 0.0, 0.0), (165.0, 240.0, 110.0)),  # chest
    ((0.0, 190.0, 5.0), (145.0, 200.0, 105.0)),  # belly
    ((0.0, -185.0, 10.0), (190.0, 65.0, 65.0)),  # shoulders
    ((0.0, -270.0, 15.0), (58.0, 80.0, 58.0)),  # neck
    ((0.0, -390.0, 0.0), (76.0, 115.0, 95.0)),  # head
    ((185.0, 0.0, 25.0), (50.0, 190.0, 55.0)),  # the left upper arm, at rest
)
"""Rounded proportions of an adult. The body only has to occupy a plausible place: we measure nothing on the body."""

_SHOULDER = (-185.0, -165.0, 15.0)  # the right shoulder: at the left of the image of a person who faces the camera
_UPPER_ARM = (48.0, 40.0)  # mm, largest radius across the arm: in the hand's direction, and perpendicular to it


@dataclass(frozen=True)
class Body:
    """A person behind the hand.

    Attributes:
        behind_mm: (3,) mm in the rig's frame: the offset from the middle of the hand's place to the chest's middle.
        size: scale factor of the whole body.
    """

    behind_mm: Tensor
    size: float

    def mesh(self, place: Tensor, elbow: Tensor) -> Mesh:
        """Return the body's mesh at each of F moments. The upper arm connects the shoulder and the elbow.

        Args:
            place: (F, 3) mm in the rig's frame: the middle of the hand's place plus the body's sway.
            elbow: (F, 3) mm in the rig's frame.
        """
        ball, faces = unit_sphere(3)
        ball, faces = ball.to(place), faces.to(place.device)
        chest = place + self.behind_mm.to(place)
        parts = torch.tensor(_PARTS).to(place) * self.size
        centres, axes = parts.unbind(dim=1)
        still = (ball * axes[:, None] + centres[:, None]).flatten(0, 1) + chest[:, None]
        shoulder = chest + torch.tensor(_SHOULDER).to(place) * self.size
        arm = _limb(ball, shoulder, elbow, self.size)
        count = len(_PARTS) + 1
        every = faces + len(ball) * torch.arange(count, device=faces.device)[:, None, None]
        return Mesh(torch.cat([still, arm], dim=1), every.flatten(0, 1))


def _limb(ball: Tensor, start: Tensor, end: Tensor, size: float) -> Tensor:
    """(F, B, 3): stretch the unit ball from `start` to `end` (F, 3). The result extends a little past both."""
    along = end - start
    length = along.norm(dim=-1, keepdim=True)
    axis = along / length
    other = axis.new_tensor([0.0, 0.3, 1.0]).expand_as(axis)  # no arm points in this direction, through the body
    side = torch.nn.functional.normalize(torch.linalg.cross(axis, other), dim=-1)
    other = torch.linalg.cross(side, axis)
    frame = torch.stack([side * _UPPER_ARM[0] * size, axis * (length / 2 + 25.0), other * _UPPER_ARM[1] * size], dim=1)
    return ball @ frame + ((start + end) / 2)[:, None]


@lru_cache(maxsize=4)
def unit_sphere(rounds: int) -> tuple[Tensor, Tensor]:
    """Split each face of an icosahedron in four, `rounds` times: vertices (V, 3) of norm 1, faces (F, 3) outwards."""
    corners = np.array([(one, other, 0.0) for one in (-1.0, 1.0) for other in (-_GOLDEN, _GOLDEN)])
    corners = np.concatenate([np.roll(corners, k, axis=1) for k in range(3)])
    # Three corners form one of the 20 faces if all their distances equal the edge length 2.
    near = np.isclose(np.linalg.norm(corners[:, None] - corners, axis=-1), 2.0)
    triples = [(i, j, k) for i, j, k in combinations(range(12), 3) if near[i, j] and near[j, k] and near[i, k]]
    faces = np.array([t if np.linalg.det(corners[list(t)]) > 0 else (t[0], t[2], t[1]) for t in triples])
    vertices = corners / np.linalg.norm(corners, axis=1, keepdims=True)
    for _ in range(rounds):
        edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
        unique, which = np.unique(edges, axis=0, return_inverse=True)
        middle = vertices[unique].mean(axis=1)
        ab, bc, ca = which.reshape(3, -1) + len(vertices)
        vertices = np.concatenate([vertices, middle / np.linalg.norm(middle, axis=1, keepdims=True)])
        a, b, c = faces.T
        faces = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    return torch.from_numpy(vertices), torch.from_numpy(faces)
