"""Datasets of synthetic samples that break the contract: HPF's own, with changed samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from broken.faults import Fault
from hpf.plugin import Build, SyntheticDataset
from hpf_core.frames import SyntheticSamples
from hpf_core.plugins import PluginHost

Change = Callable[[SyntheticSamples], SyntheticSamples]

_SOUND = PluginHost.load(only=[]).get("dataset", "synthetic").spec


def _fault(name: str, clause: str, change: Change, says: str) -> Fault:
    def build(config: Any, build: Build) -> SyntheticDataset:
        data: SyntheticDataset = _SOUND.factory(config, build)
        data.sample = lambda count, generator, draw=data.sample: change(draw(count, generator))  # type: ignore[method-assign, misc]
        return data

    return Fault(name, replace(_SOUND, factory=build), clause, (says,))


SYNTHETIC = [
    _fault(
        "points beside the hand",
        "samples",
        lambda s: replace(s, points=s.points + 1),
        "1 mm off what the hand model makes of pose and shape",
    ),
    _fault("a parameter too few", "samples", lambda s: replace(s, pose=s.pose[:, 1:]), "pose is (4, 25), not (4, 26)"),
    _fault("empty images", "samples", lambda s: replace(s, state=0 * s.state), "no sample shows a surface"),
    _fault("depth moved", "images", lambda s: replace(s, depth=s.depth + 1), "far value"),
    _fault("double precision", "images", lambda s: replace(s, depth=s.depth.double()), "not float32"),
    _fault("another cube", "images", lambda s: replace(s, cube_mm=250.0), "cube_mm is 250"),
    _fault(
        "global random state",
        "determinism",
        lambda s: replace(s, points=s.points + torch.rand(())),
        "the same generator gives other samples",
    ),
    _fault(
        "always the same",
        "determinism",
        lambda s: replace(s, points=0 * s.points),
        "two generators give the same samples",
    ),
]
