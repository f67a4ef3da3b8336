"""The hand model: named points with radii, their pose space, and a skin."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hpf_core.files.cache import bytes_key


class BoneRanges(NamedTuple):
    """Pairs of points whose distance has a range: `first`, `second` (K,) int64; `shortest`, `longest` (K,) mm."""

    first: Tensor
    second: Tensor
    shortest: Tensor
    longest: Tensor


class PointPairs(NamedTuple):
    """Pairs of points: `first`, `second` (K,) int64."""

    first: Tensor
    second: Tensor


class Mesh(NamedTuple):
    """Closed surfaces of triangles: `vertices` (N, V, 3) mm, and `faces` (F, 3) int64, shared by all N.

    The order of a face's corners (a, b, c) makes (b - a) x (c - a) point outwards.
    """

    vertices: Tensor
    faces: Tensor


class PoseSample(NamedTuple):
    """`pose` (N, D) and `shape` (N, S) in the hand model's own parameters."""

    pose: Tensor
    shape: Tensor


class HandModel(nn.Module, abc.ABC):
    """Named points with radii, and a pose space with sampling and a map to points.

    The pose begins with the global rotation (3, a rotation vector in radians, from the hand's own frame to the
    camera's) and the translation (3, mm, the position of the hand's origin). The articulation follows.

    Attributes:
        names: J point names.
        parts: J part names ("little", ..., "thumb", "palm").
        links: pairs (a, b) of point indices; the surface connects both points.
        radii: (J,) mm buffer.
        annotations: for each annotation ("nyu36", "nyu14"): its K joint names and a (K, J) matrix of floats that maps
            points to joints.
        fingertips: indices of the points at the tips.
        wrist: indices of the points on the wrist, where a forearm begins.
        palm_centre: index of the palm's centre.
        pose_names, shape_names: names of the D and S parameters.
    """

    names: tuple[str, ...]
    parts: tuple[str, ...]
    links: tuple[tuple[int, int], ...]
    annotations: Mapping[str, tuple[tuple[str, ...], np.ndarray]]
    fingertips: tuple[int, ...]
    wrist: tuple[int, ...]
    palm_centre: int
    pose_names: tuple[str, ...]
    shape_names: tuple[str, ...]
    radii: Tensor

    @abc.abstractmethod
    def bones(self) -> BoneRanges:
        """The pairs that the bone-length prior keeps within their range."""

    @abc.abstractmethod
    def collisions(self) -> PointPairs:
        """The pairs that must not touch."""

    @abc.abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> PoseSample:
        """Draw `count` articulated poses and shapes on the generator's device; the global pose is the identity."""

    @abc.abstractmethod
    def points(self, pose: Tensor, shape: Tensor) -> Tensor:
        """(N, J, 3) mm of poses (N, D) and shapes (N, S); differentiable, in the inputs' dtype."""

    @abc.abstractmethod
    def mesh(self, pose: Tensor, shape: Tensor) -> Mesh:
        """The skin of the posed, shaped hand up to its wrist, in the frame of `points`, for synthetic images.

        A hand without a skin can use `hpf_core.simulation.tessellate.of_spheres`.
        """

    @torch.no_grad()
    def fingerprint(self) -> str:
        """A hash of some sampled hands, points and skin, rounded to 0.01 mm: a part of cache keys."""
        sample = self.sample(8, torch.Generator(self.radii.device).manual_seed(0))
        skin = self.mesh(sample.pose, sample.shape)
        lengths = (self.points(sample.pose, sample.shape), skin.vertices)
        rounded = [length.mul(100).round().to(torch.int32) for length in lengths]
        return bytes_key(b"".join(t.cpu().numpy().tobytes() for t in (*rounded, skin.faces)))
