"""From joint angles to the joints of five fingers, in the hand's own frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hpf_core.rotations import rotation_matrix
from hpf_plugins.hands import anatomy


def rest_frames() -> Tensor:
    """(5, 3, 3) float32: columns are the axes of each finger's own frame in the hand's, at rest.

    A finger's frame is the hand's seen from the finger: it points along -y and bends towards -z, about +x.
    """
    splay = torch.tensor(anatomy.SPLAY_DEG, dtype=torch.float64) * (math.pi / 180)
    roll = torch.tensor(anatomy.ROLL_DEG, dtype=torch.float64) * (math.pi / 180)
    zero = torch.zeros_like(splay)
    fingers = rotation_matrix(torch.stack([zero, zero, splay], dim=-1)) @ rotation_matrix(
        torch.stack([zero, roll, zero], dim=-1)
    )
    along = torch.nn.functional.normalize(torch.tensor(anatomy.THUMB_ALONG, dtype=torch.float64), dim=0)
    bend = torch.tensor(anatomy.THUMB_FLEXION, dtype=torch.float64)
    bend = torch.nn.functional.normalize(bend - (bend @ along) * along, dim=0)
    thumb = torch.stack([torch.linalg.cross(along, bend), -along, -bend], dim=-1)
    return torch.cat([fingers, thumb[None]]).float()


def finger_joints(angles: Tensor, lengths: Tensor, knuckles: Tensor, frames: Tensor) -> Tensor:
    """Joints (N, 5, 4, 3) mm of each finger, knuckle to tip.

    The three bendings of a finger share one axis: it lies in a plane that abduction turns about the finger's z.

    Args:
        angles: (N, 5, 4) radians: flexion and abduction at the knuckle, flexion of the second and of the third joint.
        lengths: (N, 5, 3) mm of the segments, knuckle to tip.
        knuckles: (5, 3) mm.
        frames: (5, 3, 3), `rest_frames`.
    """
    bend = torch.stack([angles[..., 0], angles[..., 2], angles[..., 3]], dim=-1).cumsum(dim=-1)
    abduction = angles[..., 1:2]
    along = torch.stack([abduction.sin() * bend.cos(), -abduction.cos() * bend.cos(), -bend.sin()], dim=-1)
    along = along @ frames.transpose(-1, -2)
    steps = torch.cat([knuckles.expand(len(angles), -1, -1)[:, :, None], along * lengths[..., None]], dim=2)
    return steps.cumsum(dim=2)
