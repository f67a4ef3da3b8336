"""Hand models that break the contract."""

from __future__ import annotations

import torch
from torch import Tensor

from broken.faults import Faults
from hpf.plugin import BoneRanges, Mesh, PointPairs, PoseSample

HAND = Faults("hand", lambda plugin, config, build: plugin(config.size_range))
Mine = HAND.module.Mine
breaks = HAND.breaks


# ----------------------------------------------------------------------------------------------------------- samples


@breaks("determinism", "same generator gives other samples")
class SamplesFromTheGlobalState(Mine):
    def sample(self, count: int, generator: torch.Generator) -> PoseSample:
        return super().sample(count, torch.default_generator)


@breaks("determinism", "two generators give the same")
class SamplesAlwaysTheSame(Mine):
    def sample(self, count: int, generator: torch.Generator) -> PoseSample:
        return super().sample(count, torch.Generator().manual_seed(0))


@breaks("meta device", "random numbers on the CPU")
class SamplesOnTheHost(Mine):
    def sample(self, count: int, generator: torch.Generator) -> PoseSample:
        torch.rand(2, count, generator=generator)
        return super().sample(count, generator)


@breaks("rigid motion", "six zeros")
class SamplesTurnedHands(Mine):
    def sample(self, count: int, generator: torch.Generator) -> PoseSample:
        pose, shape = super().sample(count, generator)
        return PoseSample(pose + 1, shape)


@breaks("shapes", "sampled pose is (4, 7), not (4, 6)")
class NamesTooFewParameters(Mine):
    pose_names = Mine.pose_names[:-1]


# ------------------------------------------------------------------------------------------- points, bones and pairs


@breaks("shapes", "not float64")
class PointsInSinglePrecision(Mine):
    def points(self, pose: Tensor, shape: Tensor) -> Tensor:
        return super().points(pose, shape).float()


@breaks("rigid motion", "points of a turned and moved pose")
class TurnsTheOtherWay(Mine):
    def points(self, pose: Tensor, shape: Tensor) -> Tensor:
        return super().points(torch.cat([-pose[:, :3], pose[:, 3:]], dim=1), shape)


@breaks("names and indices", "fingertips has a number")
class FingertipBeyondThePoints(Mine):
    fingertips = (3, 6)


@breaks("names and indices", "wrist has no point")
class NoWrist(Mine):
    wrist = ()


@breaks("names and indices", "pairs a point with itself")
class PairOfOnePoint(Mine):
    def collisions(self) -> PointPairs:
        return PointPairs(torch.tensor([3, 3]), torch.tensor([3, 5]))


@breaks("meta device", "collisions().first is on cpu")
class PairsOnTheHost(Mine):
    def collisions(self) -> PointPairs:
        return PointPairs(torch.tensor([3, 3]), torch.tensor([0, 5]))


@breaks("bone ranges", "out of its range")
class BonesTooShort(Mine):
    def bones(self) -> BoneRanges:
        bones = super().bones()
        return bones._replace(longest=bones.longest / self.size_range[1])


# -------------------------------------------------------------------------------------------------------------- mesh


@breaks("rigid motion", "mesh")
class MeshStaysAtRest(Mine):
    def mesh(self, pose: Tensor, shape: Tensor) -> Mesh:
        return super().mesh(0 * pose, shape)


@breaks("closed mesh", "faces look inwards")
class FacesLookInwards(Mine):
    def mesh(self, pose: Tensor, shape: Tensor) -> Mesh:
        mesh = super().mesh(pose, shape)
        return mesh._replace(faces=mesh.faces.flip(1))


@breaks("closed mesh", "faces look inwards")
class FacesOfOneBallLookInwards(Mine):
    def mesh(self, pose: Tensor, shape: Tensor) -> Mesh:
        mesh = super().mesh(pose, shape)
        first = mesh.faces[:, :1] < 12  # the corners of an icosahedron
        return mesh._replace(faces=torch.where(first, mesh.faces.flip(1), mesh.faces))


@breaks("closed mesh", "not closed")
class MeshLacksAFace(Mine):
    def mesh(self, pose: Tensor, shape: Tensor) -> Mesh:
        mesh = super().mesh(pose, shape)
        return mesh._replace(faces=mesh.faces[1:])
