"""Smooth motion of a hand in front of a rig. The motion interpolates random key poses.

A capture's defaults are 10 frames a second and 0.3 s from key to key (`simulate.CaptureConfig`). We measured 1,000
frames of such a capture. The palm moves at 0.2 m/s on average and 0.6 m/s at most. The palm turns at 130 degrees a
second on average and 360 at most. A joint bends at 84 degrees a second on average, and at more than 400 in one of a
hundred frames. This is a lively hand, but slow for an exposure of a few milliseconds. So the simulation omits motion
blur.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hpf_core.geometry.rotations import rotation_matrix, rotation_vector, sample_view
from hpf_core.interfaces import HandModel

_ELBOW_MM = ((-120.0, 120.0), (180.0, 280.0), (40.0, 220.0))  # from the hand's place: below and behind
_SWAY_MM = 20.0  # sway of the body to each side
_POSES_PER_SWAY = 5  # hand's key poses between two key places of the body


@dataclass(frozen=True)
class Motion:
    """A hand's trajectory through F moments.

    Attributes:
        pose: (F, D) the hand model's pose; its global rotation is the identity.
        rotation: (F, 3, 3) from the hand's own frame to the rig's.
        position: (F, 3) mm, the hand's origin in the rig's frame.
        elbow: (F, 3) mm, the elbow of the forearm in the rig's frame.
        body: (F, 3) mm in the rig's frame: the middle of the hand's place plus the sway of the body behind the hand.
    """

    pose: Tensor
    rotation: Tensor
    position: Tensor
    elbow: Tensor
    body: Tensor

    def moments(self, first: int, last: int) -> Motion:
        """Return the moments `first` to `last` - 1."""
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

    Values ease in and out between two keys (3 t^2 - 2 t^3) and stay within the range of the two keys. So joint limits
    that hold at the keys hold throughout. Rotations take the shortest path.

    Args:
        hand: supplies the poses.
        frames: F.
        generator: on the host.
        frames_per_pose: number of frames from one key pose to the next.
        cone_deg, roll_deg: range of the keys' rotations as in `sample_view`, for the rig's first camera.
        target_mm: (3,) mm, the middle of the hand's place, in the rig's frame.
        reach_mm: largest distance from the target along each axis.
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
    """For each frame: the index of the key before it (F,) int64, and the progress to the next key (F, 1), 0 to 1."""
    moment = torch.arange(frames, dtype=torch.float64) / frames_per_key
    before = moment.floor().long()
    linear = (moment - before).to(dtype)[:, None]
    return before, linear.square() * (3 - 2 * linear)
