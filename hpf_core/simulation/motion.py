"""Smooth motion of a hand in front of a rig: from key pose to key pose, each drawn at random.

At the defaults of a capture (10 frames a second, 0.3 s from key to key, `simulate.CaptureConfig`) the palm moves at
0.2 m/s on average and 0.6 m/s at most, turns at 130 degrees a second on average and 360 at most, and a joint bends at
84 on average, in one of a hundred frames at more than 400 (measured over 1,000 frames): a lively hand, and a slow one
for a camera that exposes for a few milliseconds, so motion blur is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hpf_core.geometry.rotations import rotation_matrix, rotation_vector, sample_view
from hpf_core.interfaces import HandModel

_ELBOW_MM = ((-120.0, 120.0), (180.0, 280.0), (40.0, 220.0))  # from the hand's place: below, and behind it
_SWAY_MM = 20.0  # of the body, to each side
_POSES_PER_SWAY = 5  # key poses from one of the body's key places to the next


@dataclass(frozen=True)
class Motion:
    """A hand's way through F moments.

    Attributes:
        pose: (F, D) the hand model's pose with the identity as global pose.
        rotation: (F, 3, 3) from the hand's own frame to the rig's.
        position: (F, 3) mm, the hand's origin in the rig's frame.
        elbow: (F, 3) mm, where the forearm comes from, in the rig's frame.
        body: (F, 3) mm in the rig's frame, the middle of the hand's place moved by the sway of the body behind it.
    """

    pose: Tensor
    rotation: Tensor
    position: Tensor
    elbow: Tensor
    body: Tensor

    def moments(self, first: int, last: int) -> Motion:
        """The moments from `first` up to, but without, `last`."""
        fields = (self.pose, self.rotation, self.position, self.elbow, self.body)
        return Motion(*(values[first:last] for values in fields))


def random_motion(
    hand: HandModel,
    frames: int,
    generator: torch.Generator,
    *,
    frames_per_pose: int,
    cone_deg: float,
    roll_deg: float,
    target_mm: Tensor,
    reach_mm: float,
) -> Motion:
    """Draw a motion.

    Between two key poses everything eases in and out (3 t^2 - 2 t^3), so no value leaves the range that its two keys
    span: joint limits that hold for the keys hold all along. Rotations go the shortest way.

    Args:
        hand: its poses are drawn.
        frames: F.
        generator: on the host.
        frames_per_pose: how many frames lie from one key pose to the next.
        cone_deg, roll_deg: range of the keys' rotations as in `sample_view`, for the rig's first camera.
        target_mm: (3,) mm, the middle of the place where the hand moves, in the rig's frame.
        reach_mm: how far it goes from there along each axis.
    """
    keys = math.ceil(frames / frames_per_pose) + 1
    poses = hand.sample(keys, generator).pose
    rotations = sample_view(keys, generator, cone_deg, roll_deg).to(poses.dtype)
    positions = target_mm + (2 * torch.rand(keys, 3, generator=generator) - 1) * reach_mm
    low, high = torch.tensor(_ELBOW_MM).unbind(-1)
    elbows = target_mm + low + torch.rand(keys, 3, generator=generator) * (high - low)
    stands = math.ceil(frames / (frames_per_pose * _POSES_PER_SWAY)) + 1
    places = target_mm + (2 * torch.rand(stands, 3, generator=generator) - 1) * _SWAY_MM

    before, eased = _eased(frames, frames_per_pose, poses.dtype)
    turn = rotation_vector(rotations[:-1].transpose(-1, -2) @ rotations[1:])[before]

    def between(values: Tensor) -> Tensor:
        return torch.lerp(values[before], values[before + 1], eased)

    stood, moved = _eased(frames, frames_per_pose * _POSES_PER_SWAY, poses.dtype)
    return Motion(
        pose=between(poses),
        rotation=rotations[before] @ rotation_matrix(turn * eased),
        position=between(positions),
        elbow=between(elbows),
        body=torch.lerp(places[stood], places[stood + 1], moved),
    )


def _eased(frames: int, frames_per_key: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """For each frame the key before it (F,) int64, and how far the way to the next one is done (F, 1), 0 to 1."""
    moment = torch.arange(frames, dtype=torch.float64) / frames_per_key
    before = moment.floor().long()
    linear = (moment - before).to(dtype)[:, None]
    return before, linear.square() * (3 - 2 * linear)
