"""Smooth motion of a hand in front of a rig: from key pose to key pose, each drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hpf_core.interfaces import HandModel
from hpf_core.rotations import rotation_matrix, rotation_vector, sample_view

_ELBOW_MM = ((-120.0, 120.0), (180.0, 280.0), (40.0, 220.0))  # from the hand's place: below, and behind it


@dataclass(frozen=True)
class Motion:
    """A hand's way through F moments.

    Attributes:
        pose: (F, D) the hand model's pose with the identity as global pose.
        rotation: (F, 3, 3) from the hand's own frame to the rig's.
        position: (F, 3) mm, the hand's origin in the rig's frame.
        elbow: (F, 3) mm, where the forearm comes from, in the rig's frame.
    """

    pose: Tensor
    rotation: Tensor
    position: Tensor
    elbow: Tensor


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

    moment = torch.arange(frames, dtype=torch.float64) / frames_per_pose
    before = moment.floor().long()
    linear = (moment - before).to(poses.dtype)[:, None]
    eased = linear.square() * (3 - 2 * linear)
    turn = rotation_vector(rotations[:-1].transpose(-1, -2) @ rotations[1:])[before]

    def between(values: Tensor) -> Tensor:
        return torch.lerp(values[before], values[before + 1], eased)

    return Motion(
        pose=between(poses),
        rotation=rotations[before] @ rotation_matrix(turn * eased),
        position=between(positions),
        elbow=between(elbows),
    )
