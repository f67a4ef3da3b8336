"""A mixture of kinds of hand pose, after Sharp et al., CHI 2015.

"Accurate, Robust, and Flexible Real-time Hand Tracking" has a prior that mixes open, half-open, pinched, closed and
pointing hands. Here a hand is of one of six kinds. It is open; half open, with one bending for all fingers; pinching
with one finger; closed; or pointing, where all 2^5 sets of extended fingers are equally likely. Or each finger has its
own state. A hand may also be on the way from one such pose to another. Neighbouring fingers bend together, as in real
hands (Häger-Ross & Schieber 2000, "Quantifying the independence of human finger movements", J. Neurosci. 20(22)). We
chose the strength of this coupling, the shares of the kinds and the angles of their states.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hpf_plugins.hands import anatomy
from hpf_plugins.hands.pinches import VARIANTS, Pinches

# States of a finger, degrees: MCP flexion, abduction, PIP; the DIP joint follows.
STRAIGHT, RELAXED, HALF, CLOSED, HOOK, FLAT = range(6)
FINGER_STATES = (
    (0.0, 0.0, 3.0),
    (18.0, 0.0, 22.0),
    (38.0, 0.0, 50.0),
    (76.0, 0.0, 98.0),
    (8.0, 0.0, 85.0),
    (65.0, 0.0, 12.0),
)
# States of the thumb, degrees: CMC flexion and abduction, MCP, IP.
OUT, REST, ALONG, ACROSS, OVER = range(5)
THUMB_STATES = (
    (-34.0, -13.0, 8.0, -6.0),
    (-25.0, 6.0, 21.0, 10.0),
    (-17.0, -11.0, 43.0, 17.0),
    (-3.0, 22.0, 41.0, 40.0),
    (-3.0, 20.0, 46.0, 55.0),
)

KINDS = {
    "open": 0.18,
    "half open, all fingers by a common amount": 0.18,
    "pinched with one of four fingers": 0.20,
    "closed": 0.12,
    "pointing, each of the 2^5 sets of extended fingers equally often": 0.20,
    "every finger in a state of its own": 0.12,
}
"""The share of each kind of pose; `tools/hand_poses.py` writes them into docs/hand.md."""
SHARE_ON_THE_WAY = 0.35
"""The share of poses between one pose of the mixture and another."""
_PINCHED, _CLOSED, _POINTING = 2, 3, 4
_FREE_STATES = (0.28, 0.20, 0.16, 0.20, 0.08, 0.08)
_FREE_THUMBS = (0.25, 0.25, 0.2, 0.15, 0.15)
_HALF_OPEN = (0.15, 0.8)  # common bending of a half open hand, 0 straight, 1 a fist

# Abduction of fully spread fingers in degrees, little to index. 0 is the rest position; minus this presses them
# together.
_SPREAD_DEG = (-11.0, -5.0, 0.0, 8.0)
# Coupling of each finger to its neighbours, little to index.
_FOLLOWS = (0.10, 0.15, 0.08, 0.05)
_NOISE_DEG = (8.0, 3.0, 9.0, 4.0)
_THUMB_NOISE_DEG = (6.0, 6.0, 7.0, 8.0)
_NOISE_ALIKE = 0.5  # correlation of the bending noise of two neighbours; the power is the distance in fingers


class Solved(NamedTuple):
    """Solutions for a hand: its pinches, and (16, K, 4) folded thumbs for each set of extended fingers, as in
    `folded.fold_thumbs`."""

    pinches: Pinches
    folded: Tensor


class Kinds(NamedTuple):
    """A draw of the mixture before noise, for the neutral shape.

    Attributes:
        angles: (N, 5, 4) radians.
        roomy: (N, 5, 4) the same angles with changes against crowding. Beside a pinch the others relax. The thumb of
            open, half open and free hands moves out. Abduction is at rest.
        pinching: (N,) bool.
        finger: (N,) int64, the pinching finger, 0 to 3.
        variant: (N,) int64, index of its solved pinch.
    """

    angles: Tensor
    roomy: Tensor
    pinching: Tensor
    finger: Tensor
    variant: Tensor


@dataclass(frozen=True)
class Tables:
    """The tables above, in radians, on one device."""

    states: Tensor  # (6, 4)
    thumbs: Tensor  # (5, 4)
    spread: Tensor  # (4,)
    follow: Tensor  # (4, 4) rows: the weights of all fingers in each finger's bending
    noise: Tensor  # (5, 4)
    alike: Tensor  # (4, 4) maps independent noise of four fingers to noise with correlated neighbours
    limits: Tensor  # (5, 4, 2)
    number: Tensor  # (4,) the indices of the fingers

    @staticmethod
    @functools.cache
    def on(device: torch.device) -> Tables:
        """The tables on a device. The host makes them once, so that no draw on a GPU waits for a copy."""

        def radians(values: object) -> Tensor:
            return torch.tensor(values, dtype=torch.float32) * (math.pi / 180)

        limits = [list(anatomy.FINGER_LIMITS_DEG) for _ in range(4)] + [list(anatomy.THUMB_LIMITS_DEG)]
        limits[2][1] = anatomy.MIDDLE_ABDUCTION_DEG
        states = radians(FINGER_STATES)
        number = torch.arange(4)
        apart = (number[:, None] - number).abs()
        beside = (apart == 1).float()
        share = torch.tensor(_FOLLOWS)[:, None]
        tables = Tables(
            states=torch.cat([states, states[:, 2:] * anatomy.DIP_PER_PIP], dim=-1),
            thumbs=radians(THUMB_STATES),
            spread=radians(_SPREAD_DEG),
            follow=(1 - share) * torch.eye(4) + share * beside / beside.sum(-1, keepdim=True),
            noise=radians([_NOISE_DEG] * 4 + [_THUMB_NOISE_DEG]),
            alike=torch.linalg.cholesky((_NOISE_ALIKE**apart).double()).float(),
            limits=radians(limits),
            number=number,
        )
        return Tables(**{name: table.to(device) for name, table in vars(tables).items()})


def draw_kinds(count: int, generator: torch.Generator, tables: Tables, solved: Solved) -> Kinds:
    """Poses of the mixture without noise and without transitions.

    The function draws every kind for every sample and selects one: shapes are static, and the amount of randomness is
    fixed.
    """
    device = generator.device
    draw = torch.rand(count, 20, generator=generator, device=device)
    kind = _choose(tuple(KINDS.values()), draw[:, 0])
    # Five bits, from the little finger to the thumb: extended or not.
    extended = draw[:, 1:6] < 0.5
    straight = torch.where(extended[:, :4], STRAIGHT, CLOSED)
    free = _choose(_FREE_STATES, draw[:, 6:10])
    others = _choose((0.45, 0.25, 0.15, 0.15), draw[:, 10:11]).expand(-1, 4)  # straight, relaxed, half, closed
    zero = torch.zeros_like(free)
    state = torch.stack([zero, zero, others, zero + CLOSED, straight, free], dim=1)
    row = torch.arange(count, device=device)
    fingers = tables.states[state[row, kind]]
    # Half open: a common bending for all fingers, with a small random trend towards the little finger.
    low, high = _HALF_OPEN
    slope = (1.5 - tables.number) * 0.1 * (2 * draw[:, 11:12] - 0.5)
    curl = (low + (high - low) * draw[:, 12:13] + slope).clamp(0, 1)
    half = torch.lerp(tables.states[STRAIGHT], tables.states[CLOSED], curl[..., None])
    fingers = torch.where((kind == 1)[:, None, None], half, fingers)
    pinching = kind == _PINCHED
    relaxed = torch.where(pinching[:, None, None], tables.states[RELAXED], fingers)
    fingers, relaxed = tables.follow @ fingers, tables.follow @ relaxed
    abduction = (2 * draw[:, 18:19] - 1) * tables.spread * _freedom(fingers[..., 0])
    fingers = torch.stack([fingers[..., 0], abduction, fingers[..., 2], fingers[..., 3]], dim=-1)

    side = draw[:, 13] < 0.5
    out = zero[:, 0] + OUT
    thumb = torch.stack(
        [
            _choose((0.5, 0.4, 0.1), draw[:, 14]),
            torch.where(side, REST, ACROSS),
            zero[:, 0] + REST,
            torch.where(side, OUT, ALONG),
            torch.where(side, OUT, REST),
            _choose(_FREE_THUMBS, draw[:, 15]),
        ],
        dim=1,
    )[row, kind]
    # A sum of products: CUDA has no matrix product of integers.
    sets = (torch.where((kind == _CLOSED)[:, None], False, extended[:, :4]) * 2**tables.number).sum(dim=-1)
    choice = (draw[:, 15] * solved.folded.shape[1]).long().clamp(max=solved.folded.shape[1] - 1)
    folds = ((kind == _CLOSED) & (draw[:, 14] < 0.85)) | ((kind == _POINTING) & ~extended[:, 4])
    fixed = folds | (kind == _POINTING) | pinching
    folded = solved.folded[sets, choice]
    thumbs = torch.where(folds[:, None], folded, tables.thumbs[thumb])
    far = torch.where(fixed[:, None], thumbs, tables.thumbs[out])

    angles = torch.cat([fingers, thumbs[:, None]], dim=1)
    roomy = torch.cat([relaxed, far[:, None]], dim=1)
    finger = _choose((0.23, 0.23, 0.26, 0.28), draw[:, 16])
    variant = (draw[:, 17] * VARIANTS).long().clamp(max=VARIANTS - 1)
    angles = put_pinch(angles, solved.pinches.angles[finger, variant], pinching, finger)
    return Kinds(angles, roomy, pinching, finger, variant)


def draw_way(count: int, generator: torch.Generator) -> Tensor:
    """(N,) the share of the way to another pose; 0 for most hands."""
    draw = torch.rand(count, 2, generator=generator, device=generator.device)
    return draw[:, 0] * (draw[:, 1] < SHARE_ON_THE_WAY)


def draw_noise(shape: tuple[int, ...], generator: torch.Generator, tables: Tables) -> Tensor:
    """(*shape, 5, 4) radians: the bending noise of neighbours is correlated, and DIP joints follow PIP joints."""
    noise = torch.randn(*shape, 5, 4, generator=generator, device=generator.device)
    alike = tables.alike @ noise[..., :4, :]
    fingers = torch.stack([alike[..., 0], noise[..., :4, 1], alike[..., 2], noise[..., :4, 3]], dim=-1)
    noise = torch.cat([fingers, noise[..., 4:, :]], dim=-2) * tables.noise
    last = noise[..., :4, 3] + anatomy.DIP_PER_PIP * noise[..., :4, 2]
    return torch.cat([torch.cat([noise[..., :4, :3], last[..., None]], dim=-1), noise[..., 4:, :]], dim=-2)


def take_pinch(angles: Tensor, finger: Tensor) -> Tensor:
    """(..., 8): angles of a finger (N,) and of the thumb, from (N, ..., 5, 4)."""
    index = finger.view(-1, *[1] * (angles.ndim - 1)).expand(*angles.shape[:-2], 1, 4)
    return torch.cat([angles.gather(-2, index), angles[..., 4:, :]], dim=-2).flatten(-2)


def put_pinch(angles: Tensor, pinch: Tensor, where: Tensor, finger: Tensor) -> Tensor:
    """`angles` (N, ..., 5, 4) with `pinch` (N, ..., 8) as the angles of `finger` (N,) and the thumb, `where` (N,)."""
    ones = [1] * (angles.ndim - 3)
    number = torch.arange(5, device=angles.device)
    is_finger = (number == finger.view(-1, *ones, 1))[..., None]
    pinch = pinch.unflatten(-1, (2, 4))
    put = torch.where(is_finger, pinch[..., :1, :], angles)
    put = torch.where((number == 4)[:, None], pinch[..., 1:, :], put)
    return torch.where(where.view(-1, *ones, 1, 1), put, angles)


def within_limits(angles: Tensor, limits: Tensor) -> Tensor:
    """Angles (..., 5, 4), reflected at the limits (5, 4, 2), so that they don't accumulate there.

    Bent knuckles can hardly spread, because their collateral ligaments tighten: see `_freedom`.
    """
    low, high = limits.unbind(-1)
    angles = low + (angles - low).abs()
    angles = high - (high - angles).abs()
    angles = torch.maximum(angles, low)
    free = _freedom(angles[..., :4, 0])
    abduction = torch.minimum(torch.maximum(angles[..., :4, 1], low[:4, 1] * free), high[:4, 1] * free)
    fingers = torch.stack([angles[..., :4, 0], abduction, angles[..., :4, 2], angles[..., :4, 3]], dim=-1)
    return torch.cat([fingers, angles[..., 4:, :]], dim=-2)


def _freedom(flexion: Tensor) -> Tensor:
    """The greatest abduction at an MCP flexion, as a share of the limit: a quarter at 90 degrees."""
    return 0.25 + 0.75 * flexion.cos().clamp(min=0)


def _choose(shares: tuple[float, ...], draw: Tensor) -> Tensor:
    """Indices of the choices, with the given shares as probabilities, from uniform draws of the same shape."""
    return (draw[..., None] >= _edges(shares, draw.device)).sum(-1)


@functools.cache
def _edges(shares: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(shares).cumsum(0)[:-1].to(device)
