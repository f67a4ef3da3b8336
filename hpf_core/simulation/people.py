"""People in simulated captures. Their hands differ from all hands of the synthetic set.

One hand model skins both the synthetic samples and the actors. So this module adds differences that the model's own
shapes can't express:

- Every shape parameter lies near one end of its range, so the proportions are the rarest ones.
- A hand that is broad for its length is stretched across and compressed along, each by 2 to 4 %. A slender hand gets
  the opposite. Then the ratio of breadth to length leaves the model's range. Greiner 1991 (Natick/TR-92/011) reports
  coefficients of variation of about 5 % for lengths and 6 to 8 % for breadths of adult hands.
- A fleshy shape becomes 6 to 10 % thicker, and a lean shape becomes thinner. Each finger, the thumb and the palm also
  vary by up to 3 % on their own. Then one part's thickness doesn't determine the thickness of the others.
- The forearm, the upper arm and the body are behind the hand. No synthetic sample shows them in full.

The two training subjects take opposite ends in all of this. The new subject shares every other end with each of them.
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

_ENDS = (0.15, 0.85)  # quantiles of the model's shapes; bones stay plausible with the stretch
_STRETCH = (0.02, 0.04)
_THICKNESS = (0.06, 0.10)
_PART_THICKNESS = (0.0, 0.03)
_ARM_MM = 250.0  # wrist to elbow: Pheasant & Haslegrave 2006 give 235-285 mm for adults
_ARM = (0.06, 0.12)
_MEDIAN_OF = 64  # shapes
_SMOOTH_MM = 12.0  # distance over which one part's thickness blends into its neighbours


@dataclass(frozen=True)
class Actor:
    """A person: right hand, forearm, and the body behind them.

    Attributes:
        hand: the model of the skin and the points.
        shape: (S,) in the hand model's own parameters.
        stretch: (3,) factors along the hand's x, y and z. Fingers bend in the plane of y and z. So both have the same
            factor, otherwise bending would change a bone's length.
        swelling: (V,) mm, the distance of each vertex of the skin outwards from the model's own skin.
        arm: factor of the forearm's thickness.
        body: the body behind the hand.
    """

    hand: HandModel
    shape: Tensor
    stretch: Tensor
    swelling: Tensor
    arm: float
    body: Body

    def perform(self, motion: Motion, body: bool = True) -> tuple[Tensor, Mesh]:
        """Return points (F, J, 3) mm and all surfaces in the rig's frame: hand, forearm and, on request, body."""
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
        """Return the forearm at each moment, and its elbow (F, 3) mm."""
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
        """Stretch points (F, K, 3) mm of the hand's own frame and map them to the rig's frame."""
        return (own * self.stretch) @ motion.rotation.transpose(-1, -2) + motion.position[:, None]


def cast(hand: HandModel, generator: torch.Generator) -> dict[int, Actor]:
    """Create the three people of a capture, keyed by number.

    A coin decides for each shape parameter which end the first training subject takes. The second takes the other end.
    The new subject agrees with the first in a random half of the parameters. Stretch and thickness amplify the shape.
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
        # Where a shape is as broad or as fleshy as usual, a coin decides.
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
    """Turn sides and uniform numbers (2, K) into (K,) factors that differ from 1 by a share within `reach`."""
    side, share = drawn
    return 1 + side * (reach[0] + share * (reach[1] - reach[0]))


def _swelling(hand: HandModel, shape: Tensor, thickness: Tensor) -> Tensor:
    """(V,) mm: growth of this shape's skin for thickness factors (P,) of the parts, smooth from part to part.

    A vertex grows by (its part's factor - 1) times its distance from the skeleton in the model's rest pose.
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
    """The usual proportions of the hand model's shapes: breadth for length, and flesh for length."""

    breadth: float
    flesh: float

    @staticmethod
    def of(hand: HandModel, shapes: Tensor) -> _Lean:
        measured = torch.tensor([_measures(hand, shape) for shape in shapes])
        return _Lean(*measured.median(dim=0).values.tolist())

    def sides(self, hand: HandModel, shape: Tensor) -> tuple[int, int]:
        """1 for broad, -1 for slender; 1 for fleshy, -1 for lean; 0 for a usual shape."""
        breadth, flesh = _measures(hand, shape)
        return _side(breadth / self.breadth), _side(flesh / self.flesh)


def _measures(hand: HandModel, shape: Tensor) -> tuple[float, float]:
    """Breadth and mean depth of flesh of a shape (S,) at rest, divided by its length."""
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
    """(N, V, 3) outward unit normals: the area-weighted mean of the normals of the faces around each vertex."""
    corners = mesh.vertices[:, mesh.faces]  # (N, F, 3, 3)
    across = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    total = torch.zeros_like(mesh.vertices)
    for corner in range(3):
        total.index_add_(1, mesh.faces[:, corner], across)
    return torch.nn.functional.normalize(total, dim=-1)
