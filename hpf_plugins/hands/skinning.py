"""The hand's skin: a mesh with bones and linear blend skinning.

Up to four of 31 bones move each vertex. The bones are the palm and, for each joint of a finger, one bone with half of
the joint's rotation and the segment with all of it. The half-way bones prevent the collapse of joints under linear
blending. At 100 degrees the mean of two rotations lets a joint collapse; the mean of two rotations 50 degrees apart
hardly does (Mohr & Gleicher 2003, ACM ToG 22(3), add such bones for the same reason).

`tools/build_hand_mesh.py` makes the asset from published anthropometry.
"""

from __future__ import annotations

from importlib.resources import files

import torch
from safetensors.torch import load
from torch import Tensor, nn

from hpf_core.interfaces import Mesh
from hpf_plugins.hands import anatomy
from hpf_plugins.hands.kinematics import bone_rotations, finger_joints, rest_frames

ASSET = "hand.safetensors"
BONES_A_VERTEX = 4
BONES = 1 + 6 * len(anatomy.FINGERS)


class Skin(nn.Module):
    """The neutral hand's skin and its weights to the bones.

    Attributes:
        faces: (F, 3) int64, outward.
        vertices: (V, 3) mm, at rest: all angles 0, neutral shape.
        weights: (V, 31), rows sum to 1.
    """

    def __init__(self) -> None:
        super().__init__()
        asset = load(files("hpf_plugins.hands").joinpath(ASSET).read_bytes())
        vertices = asset["vertices"]
        weights = vertices.new_zeros(len(vertices), BONES).scatter_add(1, asset["bones"].long(), asset["weights"])
        joints = finger_joints(
            torch.zeros(1, len(anatomy.FINGERS), 4),
            torch.tensor([anatomy.LENGTHS]),
            torch.tensor(anatomy.KNUCKLES),
            rest_frames(),
        )[0]
        self.faces: Tensor
        self.vertices: Tensor
        self.weights: Tensor
        self._origins: Tensor
        self._axes: Tensor
        self._bind: Tensor
        self.register_buffer("faces", asset["faces"].long(), persistent=False)
        self.register_buffer("vertices", vertices, persistent=False)
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("_origins", _twice(joints[:, :3]).flatten(0, 1), persistent=False)  # (30, 3)
        self.register_buffer("_axes", rest_frames(), persistent=False)
        # A vertex is sum_b w_b (A_b v + t_b): linear in the bones' 3 x 4 maps, so one product with a constant matrix.
        homogeneous = torch.cat([vertices, torch.ones(len(vertices), 1)], dim=1)
        self.register_buffer("_bind", (weights[:, :, None] * homogeneous[:, None]).flatten(1), persistent=False)

    def forward(self, angles: Tensor, joints: Tensor, shape: Tensor, rotation: Tensor, translation: Tensor) -> Mesh:
        """The posed, shaped skin.

        Args:
            angles: (N, 5, 4) radians.
            joints: (N, 5, 4, 3) mm, `finger_joints` of the same hands in the hand's own frame, before the overall size.
            shape: (N, 8) factors: overall size; length of each finger; thickness, across the fingers and through the
                palm; width of the palm.
            rotation: (N, 3, 3), from the hand's own frame.
            translation: (N, 3) mm.

        Returns:
            Vertices (N, V, 3) mm.
        """
        axes = self._axes.to(angles)
        size, fingers, thickness, width = shape[:, 0], shape[:, 1:6], shape[:, 6], shape[:, 7]
        across = thickness[:, None].expand_as(fingers)
        scale = torch.stack([across, fingers, across], dim=-1)  # along each bone's own axes
        turned = bone_rotations(angles, axes) * scale[:, :, None, None, :]  # (N, 5, 6, 3, 3)
        linear = (turned @ axes.transpose(-1, -2)[:, None]).flatten(1, 2)  # (N, 30, 3, 3)
        shift = _twice(joints[:, :, :3]).flatten(1, 2) - (linear * self._origins.to(angles)[:, None]).sum(-1)
        palm = torch.diag_embed(torch.stack([width, torch.ones_like(width), thickness], dim=-1))
        linear = torch.cat([palm[:, None], linear], dim=1)
        shift = torch.cat([torch.zeros_like(shift[:, :1]), shift], dim=1)

        # The global pose goes into the bones' maps, because there are far fewer bones than vertices.
        maps = (rotation * size[:, None, None])[:, None] @ torch.cat([linear, shift[..., None]], dim=-1)
        maps = torch.cat([maps[..., :3], maps[..., 3:] + translation[:, None, :, None]], dim=-1)  # (N, 31, 3, 4)
        stacked = maps.permute(1, 3, 0, 2).flatten(2).flatten(0, 1)  # (31 * 4, N * 3)
        vertices = (self._bind.to(angles) @ stacked).unflatten(-1, (len(angles), 3)).transpose(0, 1)
        return Mesh(vertices, self.faces)


def _twice(joints: Tensor) -> Tensor:
    """Joints (..., 3, 3) to (..., 6, 3), each for two bones."""
    return joints.repeat_interleave(2, dim=-2)
