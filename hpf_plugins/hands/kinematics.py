"""From joint angles to the joints of five fingers and the frames of their bones, in the hand's own frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hpf_core.geometry.rotations import rotation_matrix
from hpf_plugins.hands import anatomy


def rest_frames() -> Tensor:
    """(5, 3, 3) float32: the columns are the axes of each finger's own frame at rest, in the hand's frame.

    A finger's frame is the hand's frame from the finger's view: the finger points along -y and bends towards -z about
    +x.
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

    The three flexions of a finger share one axis. Abduction turns the plane of this axis about the finger's z.

    Args:
        angles: (N, 5, 4) radians: flexion and abduction at the knuckle, flexion of the second and of the third joint.
        lengths: (N, 5, 3) mm of the segments, knuckle to tip.
        knuckles: (N, 5, 3) or (5, 3) mm.
        frames: (5, 3, 3), `rest_frames`.
    """
    bend = torch.stack([angles[..., 0], angles[..., 2], angles[..., 3]], dim=-1).cumsum(dim=-1)
    abduction = angles[..., 1:2]
    along = torch.stack([abduction.sin() * bend.cos(), -abduction.cos() * bend.cos(), -bend.sin()], dim=-1)
    along = along @ frames.transpose(-1, -2)
    steps = torch.cat([knuckles.expand(len(angles), -1, -1)[:, :, None], along * lengths[..., None]], dim=2)
    return steps.cumsum(dim=2)


def bone_rotations(angles: Tensor, frames: Tensor) -> Tensor:
    """Rotations (N, 5, 6, 3, 3) of each finger's bones: from the bone's own axes (-y along it) to the hand's.

    For each of the three joints: first a bone with half of the joint's rotation, then the segment with all of it.

    Args:
        angles: (N, 5, 4) radians, as for `finger_joints`.
        frames: (5, 3, 3), `rest_frames`.
    """
    flexion = torch.stack([angles[..., 0], angles[..., 2], angles[..., 3]], dim=-1)
    whole = flexion.cumsum(dim=-1)
    bend = torch.stack([whole - flexion / 2, whole], dim=-1).flatten(-2)
    abduction = torch.cat([angles[..., 1:2] / 2, angles[..., 1:2].expand(*angles.shape[:-1], 5)], dim=-1)
    ca, sa, cb, sb = abduction.cos(), abduction.sin(), bend.cos(), bend.sin()
    zero = torch.zeros_like(ca)
    own = torch.stack([ca, -sa * cb, sa * sb, sa, ca * cb, -ca * sb, zero, sb, cb], dim=-1).unflatten(-1, (3, 3))
    return frames[:, None] @ own
