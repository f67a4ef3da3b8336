"""A small hand for the synthesis library's tests: NYU's 36 points, fingers that flex, one size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from hpf_core.data.layouts import nyu
from hpf_core.interfaces import BoneRanges, HandModel, Mesh, PointPairs, PoseSample
from hpf_core.simulation.tessellate import of_spheres

_KNUCKLES = [(-33.0, -38.0, 62.0), (-12.0, -45.0, 76.0), (10.0, -46.0, 82.0), (32.0, -42.0, 74.0)]  # x, y, length
_PALM = [(-24.0, 48.0), (18.0, 48.0), (0.0, 0.0), (-26.0, -18.0), (2.0, -28.0), (26.0, -12.0)]


class SmallHand(HandModel):
    """Pose: 6 global parameters that it ignores, then a flexion for each digit, rad. Shape: size."""

    def __init__(self) -> None:
        super().__init__()
        self.names = nyu.JOINTS
        self.parts = tuple(n for n in ("little", "ring", "middle", "index", "thumb", "palm") for _ in range(6))
        chains = [[6 * digit + step for step in range(6)] for digit in range(5)]
        inner = [(a, b) for chain in chains for a, b in itertools.pairwise(chain)]
        roots = [(5, 33), (11, 34), (17, 34), (23, 35), (29, 35)]
        palm = [(30, 33), (31, 35), (30, 32), (31, 32), (32, 33), (32, 34), (32, 35), (30, 31), (33, 34), (34, 35)]
        self.links = (*inner, *roots, *palm)
        everything = np.eye(36, dtype=np.float32)
        scored = list(nyu.EVALUATED)
        self.annotations = {
            "nyu36": (self.names, everything),
            "nyu14": (tuple(self.names[i] for i in scored), everything[scored]),
        }
        self.fingertips, self.wrist, self.palm_centre = (0, 6, 12, 18, 24), (30, 31), 32
        self.pose_names = (*(f"global_{n}" for n in range(6)), "f1", "f2", "f3", "f4", "th")
        self.shape_names = ("size",)
        self.register_buffer("radii", torch.tensor(([8.0, 8.5, 8.5, 9.0, 9.5, 10.0] * 5) + [20.0] * 6))

    def bones(self) -> BoneRanges:
        raise NotImplementedError("synthesis doesn't ask for bones")

    def collisions(self) -> PointPairs:
        raise NotImplementedError("synthesis doesn't ask for collisions")

    def sample(self, count: int, generator: torch.Generator) -> PoseSample:
        pose = torch.zeros(count, 11, device=generator.device)
        pose[:, 6:] = torch.rand(count, 5, generator=generator, device=generator.device) * 1.3
        return PoseSample(pose, 0.9 + 0.2 * torch.rand(count, 1, generator=generator, device=generator.device))

    def points(self, pose: Tensor, shape: Tensor) -> Tensor:
        out = []
        for digit, (x, y, length) in enumerate(_KNUCKLES):
            out.append(self._chain(pose[:, 6 + digit], (x, y), (0.0, -1.0), length))
        out.append(self._chain(0.5 * pose[:, 10], (30.0, 20.0), (0.6, -0.8), 62.0))
        palm = torch.tensor([(x, y, 0.0) for x, y in _PALM]).expand(len(pose), -1, -1)
        return torch.cat([*out, palm], dim=1) * shape[:, None, :1]

    def _chain(self, flexion: Tensor, root: tuple[float, float], way: tuple[float, float], length: float) -> Tensor:
        angle, at, points = torch.zeros_like(flexion), [torch.full_like(flexion, v) for v in (*root, 0.0)], []
        for _ in range(3):
            angle = angle + flexion / 2
            for share in (0.0, 1.0):
                reach = length / 3 * share
                points.append(
                    torch.stack(
                        [
                            at[0] + way[0] * reach * angle.cos(),
                            at[1] + way[1] * reach * angle.cos(),
                            at[2] - reach * angle.sin(),
                        ],
                        dim=-1,
                    )
                )
            at = list(points[-1].unbind(-1))
        return torch.stack(points[::-1], dim=1)

    def mesh(self, pose: Tensor, shape: Tensor) -> Mesh:
        points = self.points(pose, shape)
        first, last = torch.tensor(self.links).unbind(1)
        middle = (points[:, first] + points[:, last]) / 2
        radii = torch.cat([self.radii, (self.radii[first] + self.radii[last]) / 2]) * shape
        return of_spheres(torch.cat([points, middle], dim=1), radii)


@pytest.fixture(scope="session")
def hand() -> HandModel:
    return SmallHand()
