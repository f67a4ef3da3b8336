"""MANO's skinning: blend shapes, then linear blend skinning along the chain of joints.

Sources: Romero, Tzionas and Black, "Embodied Hands: Modeling and Capturing Hands and Bodies Together", SIGGRAPH Asia
2017; for SMPL's formulation, Loper, Mahmood, Romero, Pons-Moll and Black, "SMPL: A Skinned Multi-Person Linear Model",
SIGGRAPH Asia 2015. Written from the papers; lengths in mm.

Code for training steps (the joints) uses sums of products and no matrix products: mixed precision would round matrix
products by millimetres.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hpf.plugin import rotation_matrix
from hpf_mano import anatomy, surface
from hpf_mano.asset import Asset, palm_axes

_MM = 1000.0


class Skeleton(NamedTuple):
    """A posed skeleton.

    Attributes:
        rotations: (N, 16, 3, 3), from the template's frame to the camera's, of each joint's bone.
        joints: (N, 16, 3) mm in the camera's frame.
        straight: (N, 16, 3) mm, the shaped joints in the template's frame.
        local: (N, 15, 3, 3), own rotation of each joint except the wrist.
    """

    rotations: Tensor
    joints: Tensor
    straight: Tensor
    local: Tensor


class Skinning(nn.Module):
    """MANO's numbers as buffers. Saved states exclude them: the licence forbids redistribution.

    Args:
        asset: the converted model, in metres.
        palm: (23,) the weights of the anchors in the palm's centre, which is the origin of the hand's own frame.
    """

    def __init__(self, asset: Asset, palm: np.ndarray) -> None:
        super().__init__()
        skin = surface.closed(asset)
        anchors, by_shape = surface.anchors(asset)
        blend = np.concatenate([skin.shapedirs, skin.posedirs], axis=2) * _MM
        self.template = self._kept("template", skin.v_template * _MM)  # (V, 3)
        self.blend = self._kept("blend", blend.reshape(-1, blend.shape[2]).T)  # (10 + 135, V * 3)
        self.weights = self._kept("weights", skin.weights)  # (V, 16)
        self.anchors = self._kept("anchors", anchors * _MM)  # (23, 3), the joints first
        self.by_shape = self._kept("by_shape", by_shape * _MM)  # (23, 3, 10)
        self.palm = self._kept("palm", palm)
        self.axes = self._kept("axes", palm_axes(asset.joints()))  # (3, 3), from the template's frame to the hand's own
        self.faces: Tensor
        self.bones: Tensor
        self.register_buffer("faces", torch.from_numpy(skin.faces.copy()), persistent=False)
        self.register_buffer("bones", torch.tensor(anatomy.BONES), persistent=False)

    def _kept(self, name: str, values: np.ndarray) -> Tensor:
        tensor = torch.tensor(values, dtype=torch.float32)
        self.register_buffer(name, tensor, persistent=False)
        return tensor

    def shaped(self, shape: Tensor) -> Tensor:
        """The anchors (N, 23, 3) mm of shapes (N, 10), in the template's frame."""
        return self.anchors.to(shape) + (self.by_shape.to(shape) * shape[:, None, None]).sum(-1)

    def skeleton(self, rotation: Tensor, translation: Tensor, angles: Tensor, anchors: Tensor) -> Skeleton:
        """The posed skeleton.

        Args:
            rotation: (N, 3) rad, rotation vector from the hand's own frame to the camera's.
            translation: (N, 3) mm, position of the palm's centre.
            angles: (N, 15, 3) rad, rotation vectors of all joints except the wrist, each in the template's frame.
            anchors: (N, 23, 3) mm, `shaped`.
        """
        straight = anchors[:, : anatomy.JOINTS]
        local = rotation_matrix(angles)
        centre = (self.palm.to(anchors)[:, None] * anchors).sum(1)
        whole = product(rotation_matrix(rotation), self.axes.to(rotation))
        wrist = turn(whole, straight[:, anatomy.WRIST] - centre) + translation
        # All five chains of three joints together, from the wrist outwards.
        chains, own = straight[:, 1:].unflatten(1, (5, 3)), local.unflatten(1, (5, 3))
        turned, place, before = whole[:, None], wrist[:, None], straight[:, :1]
        rotations, joints = [], []
        for depth in range(3):
            here = chains[:, :, depth]
            place = place + turn(turned, here - before)
            turned = product(turned, own[:, :, depth])
            before = here
            rotations.append(turned)
            joints.append(place)
        return Skeleton(
            rotations=torch.cat([whole[:, None], torch.stack(rotations, dim=2).flatten(1, 2)], dim=1),
            joints=torch.cat([wrist[:, None], torch.stack(joints, dim=2).flatten(1, 2)], dim=1),
            straight=straight,
            local=local,
        )

    def placed(self, posed: Skeleton, anchors: Tensor) -> Tensor:
        """The anchors (N, 23, 3) mm in the camera's frame, each moved with its bone."""
        offset = anchors - posed.straight[:, self.bones]
        return posed.joints[:, self.bones] + turn(posed.rotations[:, self.bones], offset)

    def skin(self, posed: Skeleton, shape: Tensor) -> Tensor:
        """Vertices (N, V, 3) mm in the camera's frame of shapes (N, 10)."""
        identity = torch.eye(3, dtype=shape.dtype, device=shape.device)
        share = torch.cat([shape, (posed.local - identity).flatten(1)], dim=1)
        blended = self.template.to(shape) + (share @ self.blend.to(shape)).unflatten(-1, (-1, 3))
        shift = posed.joints - turn(posed.rotations, posed.straight)
        maps = torch.cat([posed.rotations, shift[..., None]], dim=-1)  # (N, 16, 3, 4)
        mixed = (self.weights.to(shape) @ maps.flatten(2)).unflatten(-1, (3, 4))  # (N, V, 3, 4)
        return turn(mixed[..., :3], blended) + mixed[..., 3]


def product(first: Tensor, second: Tensor) -> Tensor:
    """The product (..., 3, 3) of matrices (..., 3, 3)."""
    return (first[..., :, None] * second[..., None, :, :]).sum(-2)


def turn(rotation: Tensor, vector: Tensor) -> Tensor:
    """Vectors (..., 3), rotated by matrices (..., 3, 3)."""
    return (rotation * vector[..., None, :]).sum(-1)
