"""Clauses for datasets, real and synthetic: assumptions of the engine and the evaluation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hpf_core.errors import HPFError
from hpf_core.frames import RealFrames, State, SyntheticSamples, ViewIndex
from hpf_core.interfaces import HandModel, RealDataset, SyntheticDataset
from hpf_core.testing import scene
from hpf_core.testing.clause import clause
from hpf_core.testing.outcome import Broken, NotApplicable, need
from hpf_core.testing.shapes import shaped
from hpf_core.testing.subject import Subject
from hpf_core.testing.trees import same

_FAR = scene.GRID.far_mm


@clause("images", "depth maps are in mm within the cube, and have the far value where there is no surface", "dataset")
def images(subject: Subject) -> None:
    data, size = subject.built.plugin, scene.GRID.size
    if isinstance(data, SyntheticDataset):
        for count in (1, 3):
            found = data.sample(count, scene.generator(count))
            shaped("depth", found.depth, (count, size, size), torch.float32)
            shaped("state", found.state, (count, size, size), torch.uint8)
            _maps(found.depth, found.state, found.cube_mm)
        return
    for split in data.splits():
        frames = _some(data, split)
        batch, views = frames.present.shape
        shaped("depth", frames.depth, (batch, views, size, size), torch.float32)
        shaped("state", frames.state, (batch, views, size, size), torch.uint8)
        _maps(frames.depth, frames.state, frames.cube_mm)


@clause(
    "frames",
    "frames give their cameras, times and poses, and are the same in any order and number of requests",
    "dataset",
)
def frames(subject: Subject) -> None:
    data = _real(subject)
    splits = data.splits()
    need(
        len(splits) > 0 and all(count > 0 for count in splits.values()), f"splits() gives {dict(splits)}: none to draw"
    )
    data.prepare()  # again: it must be free and change nothing
    for split, count in splits.items():
        numbers = np.arange(min(3, count))
        found = data.frames(split, numbers)
        batch, views = found.present.shape
        need(batch == len(numbers), f"{len(numbers)} frames of {split!r} were requested, but {batch} were returned")
        shaped("to_rig", found.to_rig, (batch, views, 4, 4), torch.float32)
        shaped("sequence", found.sequence, (batch,), torch.int64)
        shaped("time", found.time, (batch,), torch.float64)
        shaped("index", found.index, (batch,), torch.int64)
        need(found.index.tolist() == numbers.tolist(), f"index is {found.index.tolist()}, not the requested numbers")
        need(found.depth.device.type == "cpu", "frames() must give frames on the host")
        need(found.present.any(dim=1).all(), "a frame has no view at all")
        _rigid(found)
        index = ViewIndex.of(found.present.numpy())
        held = all(
            torch.equal(getattr(found.views, n), getattr(index, n)) for n in ("rows", "frame", "source", "target")
        )
        need(held, "views isn't ViewIndex.of(present)")
        reverse = data.frames(split, numbers[::-1].copy())
        for name in ("depth", "state", "present", "to_rig", "sequence", "time"):
            equal = torch.equal(getattr(reverse, name).flip(0), getattr(found, name))
            need(equal, f"{name} changes if frames of {split!r} are requested in another order")
        for row in range(len(numbers)):
            alone = data.frames(split, numbers[row : row + 1])
            for name in ("depth", "state", "present", "to_rig", "sequence", "time"):
                equal = torch.equal(getattr(alone, name)[0], getattr(found, name)[row])
                need(equal, f"{name} changes if a frame of {split!r} is requested alone")


@clause("evaluation", "labels, protocol and cameras agree with each other and with the hand model", "dataset")
def evaluation(subject: Subject) -> None:
    data, hand = subject.built.plugin, subject.built.hand
    if isinstance(data, SyntheticDataset):
        _annotated(hand, data.annotation, "annotation")
        return
    protocol = data.protocol
    joints = _annotated(hand, protocol.annotation, "protocol.annotation") if protocol.annotation else ()
    need(protocol.centre in ("annotated", "mass", "refined"), f"protocol.centre is {protocol.centre!r}")
    need(all(0 <= i < len(joints) for i in protocol.fingertips), "protocol.fingertips has a number that is no joint's")
    for split, count in data.splits().items():
        camera = data.to_camera(split)
        need(camera.shape == (count, 4, 4), f"to_camera of {split!r} is {camera.shape}, not ({count}, 4, 4)")
        some = _some(data, split)
        need(protocol.view < some.present.shape[1], "protocol.view is no view's number")
        labels = data.labels(split)
        if labels is None:
            continue
        need(protocol.annotation is not None, f"it has labels of {split!r}, and its protocol names no annotation")
        expected = (count, len(joints), 3)
        need(labels.joints.shape == expected, f"labels of {split!r} are {labels.joints.shape}, not {expected}")
        need(labels.joints.dtype == np.float64, f"labels of {split!r} are {labels.joints.dtype}, not float64")
        need(
            tuple(labels.names) == tuple(joints), f"labels of {split!r} name other joints than {protocol.annotation!r}"
        )
        people = set(np.unique(labels.subject).tolist())
        need(labels.subject.shape == (count,), f"subject of {split!r} is {labels.subject.shape}, not ({count},)")
        need(
            people <= set(labels.subject_names),
            f"subject_names of {split!r} lacks {people - set(labels.subject_names)}",
        )
        for row in range(len(some.index)):
            if some.present[row, protocol.view]:
                middle = camera[row, :3, 3]
                apart = float(np.linalg.norm(np.median(labels.joints[row], axis=0) - middle))
                need(
                    apart <= some.cube_mm,
                    f"labels of {split!r} lie {apart:.0f} mm from the crop's middle, which to_camera puts at "
                    f"({', '.join(f'{mm:.0f}' for mm in middle)}): both are in the camera's frame, in mm",
                )


@clause("samples", "samples belong to the hand model: poses, shapes and points agree", "dataset")
def samples(subject: Subject) -> None:
    data, hand = subject.built.plugin, subject.built.hand
    if not isinstance(data, SyntheticDataset):
        raise NotApplicable("it holds real frames")
    found: SyntheticSamples = data.sample(4, scene.generator(9))
    shaped("points", found.points, (4, len(hand.names), 3), torch.float32)
    shaped("pose", found.pose, (4, len(hand.pose_names)), torch.float32)
    shaped("shape", found.shape, (4, len(hand.shape_names)), torch.float32)
    with torch.no_grad():
        gap = float((hand.points(found.pose, found.shape) - found.points).abs().max())
    need(gap < 0.1, f"points are {gap:.3g} mm off what the hand model makes of pose and shape")
    inside = (found.state == int(State.HIT)).flatten(1).any(dim=1)
    need(inside.any(), "no sample shows a surface")


@clause(
    "crops that move", "a dataset with `recentres` moves its crops to the given centres, and back to its own", "dataset"
)
def recentring(subject: Subject) -> None:
    data = _real(subject)
    split = min(data.splits(), key=lambda name: data.splits()[name])
    count = data.splits()[split]
    if not data.recentres:
        try:
            data.recentre(split, None)
        except HPFError:
            return
        raise Broken("recentre() works, but `recentres` is False")
    before = _some(data, split)
    moved = data.recentre(split, _centres(data, split) + 5.0)
    need(moved.shape == (count,) and moved.dtype == bool, "recentre() must give (F,) bool")
    after = _some(data, split)
    data.recentre(split, None)
    again = _some(data, split)
    if moved[: len(before.index)].any():
        need(not torch.equal(before.to_rig, after.to_rig), "to_rig doesn't follow the centres")
    differs = same(
        {"depth": again.depth, "to_rig": again.to_rig}, {"depth": before.depth, "to_rig": before.to_rig}, 0, 0
    )
    need(not differs, f"after recentre(None), {differs}")


def _centres(data: RealDataset, split: str) -> np.ndarray:
    """(F, 3) mm in the rig's frame, current centres of the crops."""
    found = data.frames(split, np.arange(data.splits()[split]))
    first = found.present.int().argmax(dim=1)
    return found.to_rig[torch.arange(len(first)), first, :3, 3].double().numpy()


def _maps(depth: Tensor, state: Tensor, cube_mm: float) -> None:
    need(torch.isfinite(depth).all(), "a depth isn't finite")
    need(cube_mm == scene.GRID.cube_mm, f"cube_mm is {cube_mm:g}, and the grid's {scene.GRID.cube_mm:g}")
    need(set(state.unique().tolist()) <= {int(s) for s in State}, "state has values that are no State")
    hit = state == int(State.HIT)
    need((depth[~hit] == _FAR).all(), f"where no surface is, depth must be the far value, {_FAR:g} mm")
    need(
        (depth[hit].abs() <= _FAR + 1e-3).all(),
        f"a surface lies beyond the cube: more than {_FAR:g} mm from its centre",
    )


def _rigid(found: RealFrames) -> None:
    turn = found.to_rig[..., :3, :3].double()
    gap = (turn @ turn.transpose(-1, -2) - torch.eye(3, dtype=torch.float64)).abs().max()
    need(gap < 1e-4 and (torch.linalg.det(turn) > 0).all(), "to_rig isn't a rotation and a translation")
    absent = found.to_rig[~found.present]
    need((absent == torch.eye(4)).all(), "to_rig must be the identity where a view is absent")
    for frame, there in enumerate(found.present):
        centre = found.to_rig[frame, there, :3, 3]
        apart = float((centre[:, None] - centre[None]).norm(dim=-1).max())
        need(
            apart <= found.cube_mm,
            f"the crops of one frame lie {apart:.0f} mm apart in the rig: to_rig goes from the crop to the rig, in mm",
        )


def _annotated(hand: HandModel, annotation: str | None, what: str) -> tuple[str, ...]:
    if annotation is None:
        return ()
    known = ", ".join(hand.annotations) or "none"
    need(annotation in hand.annotations, f"{what} is {annotation!r}, which the hand model lacks (it has {known})")
    return hand.annotations[annotation][0]


def _real(subject: Subject) -> RealDataset:
    if not isinstance(subject.built.plugin, RealDataset):
        raise NotApplicable("it generates samples")
    return subject.built.plugin


def _some(data: RealDataset, split: str) -> RealFrames:
    return data.frames(split, np.arange(min(3, data.splits()[split])))


CLAUSES = (images, frames, evaluation, samples, recentring)
