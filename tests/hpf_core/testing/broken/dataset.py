"""Datasets of real frames that break the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from broken.faults import Faults
from hpf.plugin import Labels, RealDataset, RealFrames, State, invert_rigid

DATASET = Faults(
    "dataset", lambda plugin, config, build: plugin(config, build.need_hand(), build.need_renderer(), build.grid)
)
Mine = DATASET.module.Mine
breaks = DATASET.breaks


# ------------------------------------------------------------------------------------------------------------ images


@breaks("images", "far value")
class ZeroWithoutASurface(Mine):
    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        frames = super().frames(split, indices)
        return replace(frames, depth=torch.where(frames.state == State.HIT, frames.depth, 0.0))


@breaks("images", "beyond the cube")
class DepthFromTheCamera(Mine):
    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        frames = super().frames(split, indices)
        return replace(frames, depth=torch.where(frames.state == State.HIT, frames.depth + 800, frames.depth))


@breaks("images", "state is torch.int64, not uint8")
class StatesInLongIntegers(Mine):
    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        frames = super().frames(split, indices)
        return replace(frames, state=frames.state.long())


# ------------------------------------------------------------------------------------------------------------ frames


@breaks("determinism", "numpy")
class DrawsFromTheGlobalState(Mine):
    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        np.random.rand(1)  # noqa: NPY002  the fault
        return super().frames(split, indices)


@breaks("frames", "not the requested numbers")
class NumbersFromOne(Mine):
    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        return replace(super().frames(split, indices), index=torch.arange(len(indices)) + 1)


@breaks("frames", "mm apart in the rig")
class PosesAreInverted(Mine):
    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        frames = super().frames(split, indices)
        return replace(frames, to_rig=invert_rigid(frames.to_rig))


@breaks("frames", "isn't a rotation")
class PosesScale(Mine):
    def _cameras(self, count: int) -> torch.Tensor:
        rig = super()._cameras(count)
        rig[:, 1, :3, :3] *= 2
        return rig


@breaks("frames", "none to draw")
class EmptySplit(Mine):
    def splits(self) -> Mapping[str, int]:
        return {**super().splits(), "test": 0}


@breaks("frames", "is requested alone")
class DependsOnTheNumberOfFrames(Mine):
    def _moment(self, split: str, indices: np.ndarray) -> torch.Tensor:
        return super()._moment(split, indices) + float(len(indices))


@breaks("frames", "in another order")
class DependsOnPlace(Mine):
    def _moment(self, split: str, indices: np.ndarray) -> torch.Tensor:
        return super()._moment(split, indices) + torch.arange(len(indices))[:, None, None]


# -------------------------------------------------------------------------------------------------------- evaluation


@breaks("interface", "abstract")
class NoCamera(Mine):
    to_camera = RealDataset.to_camera


@breaks("evaluation", "labels of 'train' are")
class LabelsOfOneFrame(Mine):
    def labels(self, split: str) -> Labels:
        labels = super().labels(split)
        return replace(labels, joints=labels.joints[:1])


@breaks("evaluation", "hand model lacks")
class UnknownAnnotation(Mine):
    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.protocol = replace(self.protocol, annotation="nyu")


@breaks("evaluation", "subject_names")
class NamelessSubject(Mine):
    def labels(self, split: str) -> Labels:
        return replace(super().labels(split), subject_names={1: "nobody"})


@breaks("evaluation", "mm from the crop's middle")
class LabelsInTheCropsFrame(Mine):
    def labels(self, split: str) -> Labels:
        labels = super().labels(split)
        return replace(labels, joints=labels.joints - [0, 0, DATASET.module.AWAY_MM])


@breaks("crops that move", "can't be moved")
class DeclaresToRecentre(Mine):
    recentres = True
