"""Hands that the synthetic set doesn't hold: who is seen in a simulated capture.

Synthetic samples and actors are skinned by the same hand model, so what would tell them apart is put in here, beyond
what the model's own shapes can do:

- every shape parameter stands near one end of its range, so the proportions are those that are drawn least;
- a hand that is broad for its length is stretched across and pressed along, each by 2 to 4 %, and a slender one the
  other way (Greiner 1991, Natick/TR-92/011: lengths and breadths of adult hands vary by about 5 and 6 to 8 %, as
  coefficients of variation), so that the ratio of both leaves what the model draws;
- where the shape is fleshy, the flesh is 6 to 10 % thicker still, where it is lean, thinner, and each finger, the thumb
  and the palm have up to 3 % of their own on top, so that a part's thickness doesn't follow from the others';
- forearm, upper arm and body, which no synthetic sample shows in full, stand behind.

The two training subjects take opposite ends in all of this, and the new subject shares every other end with each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpf_core.interfaces import HandModel, Mesh
from hpf_core.simulation.body import Body
from hpf_core.simulation.forearm import bend_towards, forearm
from hpf_core.simulation.motion import Motion
from hpf_core.simulation.tessellate import joined

TRAINING, NEW, SECOND = 0, 1, 2
SUBJECT_NAMES = {TRAINING: "training subject", NEW: "new subject", SECOND: "second training subject"}

_ENDS = (0.15, 0.85)  # quantiles of the shapes that the model draws: with the stretch, bones stay plausible
_STRETCH = (0.02, 0.04)
_THICKNESS = (0.06, 0.10)
_PART_THICKNESS = (0.0, 0.03)
_ARM_MM = 250.0  # wrist to elbow: Pheasant & Haslegrave 2006 give 235-285 mm for adults
_ARM = (0.06, 0.12)
_MEDIAN_OF = 64  # shapes
_SMOOTH_MM = 12.0  # how far a part's thickness reaches into its neighbours'


@dataclass(frozen=True)
class Actor:
    """A person: right hand, forearm, and the body behind.

    Attributes:
        hand: whose skin and points are posed.
        shape: (S,) in the hand model's own parameters.
        stretch: (3,) factors along the hand's x, y and z. Those of y and z, in whose plane fingers bend, are the same:
            else bending would change a bone's length.
        swelling: (V,) mm, how far each vertex of the skin lies outside of the model's own.
        arm: factor on the forearm's thickness.
        body: who stands behind.
    """

    hand: HandModel
    shape: Tensor
    stretch: Tensor
    swelling: Tensor
    arm: float
    body: Body

    def perform(self, motion: Motion, body: bool = True) -> tuple[Tensor, Mesh]:
        """Points (F, J, 3) mm in the rig's frame, and all surfaces there: hand, forearm and, if wanted, body."""
        shape = self.shape.expand(len(motion.pose), -1)
        skin = self.hand.mesh(motion.pose, shape)
        own = skin.vertices + vertex_normals(skin) * self.swelling[:, None]
        points = self._placed(self.hand.points(motion.pose, shape), motion)
        placed = Mesh(self._placed(own, motion), skin.faces)
        arm, elbow = self._forearm(points, placed.vertices, motion)
        if not body:
            return points, joined(placed, arm)
        return points, joined(placed, arm, self.body.mesh(motion.body, elbow))

    def _forearm(self, points: Tensor, skin: Tensor, motion: Motion) -> tuple[Mesh, Tensor]:
        """The forearm of each moment, and the elbow (F, 3) mm that it reaches."""
        arm = forearm(
            self.hand,
            points,
            skin,
            length=points.new_full((len(points),), _ARM_MM),
            bend=bend_towards(self.hand, points, motion.elbow),
            thickness=points.new_full((len(points),), self.arm),
        )
        wrist = points[:, list(self.hand.wrist)].mean(dim=1, keepdim=True)
        reached = (arm.vertices - wrist).norm(dim=-1, keepdim=True)
        end = (reached > 0.95 * reached.amax(dim=1, keepdim=True)).to(points)
        return arm, (arm.vertices * end).sum(dim=1) / end.sum(dim=1)

    def _placed(self, own: Tensor, motion: Motion) -> Tensor:
        """Of the hand's own frame (F, K, 3) mm, stretched, to the rig's."""
        return (own * self.stretch) @ motion.rotation.transpose(-1, -2) + motion.position[:, None]


def cast(hand: HandModel, generator: torch.Generator) -> dict[int, Actor]:
    """The three people of a capture, by their numbers.

    A coin says for each shape parameter which end the first training subject takes; the second takes the other one, and
    the new subject sides with the first in a random half of them. Stretch and thickness go on where the shape leads.
    """
    drawn = hand.sample(512, generator).shape
    parts, shapes = len(set(hand.parts)), drawn.shape[1]
    count = shapes + 2 + 1 + parts + 1
    sides = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
    turned = torch.ones(count, dtype=torch.int64)
    turned[torch.randperm(count, generator=generator)[: count // 2]] = -1
    ends = drawn.quantile(torch.tensor(_ENDS, dtype=drawn.dtype), dim=0)
    lean = _Lean.of(hand, drawn[:_MEDIAN_OF])
    people = {}
    for subject, side in ((TRAINING, sides), (NEW, sides * turned), (SECOND, -sides)):
        share = torch.rand(count, generator=generator)
        shape = ends.gather(0, (side[:shapes] > 0).long()[None])[0]
        broad, fleshy = lean.sides(hand, shape)
        own = side.clone()
        # A shape that leads nowhere leaves it to the coin.
        own[shapes : shapes + 2] = (
            side[shapes] * side.new_tensor([1, -1]) if not broad else side.new_tensor([broad, -broad])
        )
        own[shapes + 2] = fleshy or side[shapes + 2]
        stretch, whole, part, arm = torch.split(torch.stack([own, share])[:, shapes:], [2, 1, parts, 1], dim=1)
        across, along = _factors(stretch, _STRETCH).tolist()
        thickness = _factors(whole, _THICKNESS) * _factors(part, _PART_THICKNESS)
        behind = torch.tensor([0.0, 330.0, 430.0]) + (2 * torch.rand(3, generator=generator) - 1) * 40
        people[subject] = Actor(
            hand=hand,
            shape=shape,
            stretch=torch.tensor([across, along, along], dtype=drawn.dtype),
            swelling=_swelling(hand, shape, thickness),
            arm=float(_factors(arm, _ARM)),
            body=Body(behind, float(0.94 + 0.12 * torch.rand(1, generator=generator))),
        )
    return people


def _factors(drawn: Tensor, reach: tuple[float, float]) -> Tensor:
    """(K,) factors that lie by a share within `reach` off 1, of sides and uniform numbers (2, K)."""
    side, share = drawn
    return 1 + side * (reach[0] + share * (reach[1] - reach[0]))


def _swelling(hand: HandModel, shape: Tensor, thickness: Tensor) -> Tensor:
    """(V,) mm: how far the skin of this shape grows for factors (P,) on the parts' thickness, smooth from part to part.

    A vertex grows by its part's factor less 1, times its distance from the skeleton in the model's rest pose.
    """
    pose = torch.zeros(1, len(hand.pose_names), dtype=shape.dtype)
    points, skin = hand.points(pose, shape[None])[0], hand.mesh(pose, shape[None]).vertices[0]
    away = torch.cdist(skin, points)
    share = torch.softmax(-(away / _SMOOTH_MM).square(), dim=1)
    names = list(dict.fromkeys(hand.parts))
    factor = share @ thickness.to(shape)[[names.index(name) for name in hand.parts]]
    return (factor - 1) * _depth(hand, points, skin)


def _depth(hand: HandModel, points: Tensor, skin: Tensor) -> Tensor:
    """(V,) mm, distance of the skin (V, 3) from the skeleton of points (J, 3)."""
    first, last = torch.tensor(hand.links).unbind(1)
    return _to_segments(skin, points[first], points[last]).amin(dim=1)


@dataclass(frozen=True)
class _Lean:
    """What is usual among the hand model's shapes: breadth for length, and flesh for length."""

    breadth: float
    flesh: float

    @staticmethod
    def of(hand: HandModel, shapes: Tensor) -> _Lean:
        measured = torch.tensor([_measures(hand, shape) for shape in shapes])
        return _Lean(*measured.median(dim=0).values.tolist())

    def sides(self, hand: HandModel, shape: Tensor) -> tuple[int, int]:
        """1 for broad, -1 for slender; 1 for fleshy, -1 for lean; 0 for a shape that is as usual."""
        breadth, flesh = _measures(hand, shape)
        return _side(breadth / self.breadth), _side(flesh / self.flesh)


def _measures(hand: HandModel, shape: Tensor) -> tuple[float, float]:
    """Breadth and mean depth of flesh of a shape (S,) at rest, as shares of its length."""
    pose = torch.zeros(1, len(hand.pose_names), dtype=shape.dtype)
    points, skin = hand.points(pose, shape[None])[0], hand.mesh(pose, shape[None]).vertices[0]
    palm = torch.tensor([k for k, name in enumerate(hand.parts) if name == hand.parts[hand.palm_centre]])
    near = torch.cdist(skin, points).argmin(dim=1)
    across = skin[torch.isin(near, palm), 0]
    length = float(skin[:, 1].max() - skin[:, 1].min())
    return float(across.max() - across.min()) / length, float(_depth(hand, points, skin).mean()) / length


def _side(ratio: float) -> int:
    return 0 if abs(ratio - 1) < 1e-3 else 1 if ratio > 1 else -1


def _to_segments(queries: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """(Q, L) mm, distance of queries (Q, 3) to the segments between `first` and `last` (L, 3)."""
    along = last - first
    offset = queries[:, None] - first
    share = (offset * along).sum(-1) / along.square().sum(-1).clamp(min=1e-6)
    return (offset - share.clamp(0, 1)[..., None] * along).norm(dim=-1)


def vertex_normals(mesh: Mesh) -> Tensor:
    """(N, V, 3) unit normals outwards: of the faces around each vertex, weighted by their areas."""
    corners = mesh.vertices[:, mesh.faces]  # (N, F, 3, 3)
    across = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    total = torch.zeros_like(mesh.vertices)
    for corner in range(3):
        total.index_add_(1, mesh.faces[:, corner], across)
    return torch.nn.functional.normalize(total, dim=-1)
