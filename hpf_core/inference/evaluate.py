"""Evaluation of a network on a dataset's split: a run reads labels only here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpf_core.errors import DataError, nearest
from hpf_core.evaluation.metrics import Measured, measure
from hpf_core.frames import Labels
from hpf_core.inference import centring
from hpf_core.inference.build import Parts
from hpf_core.inference.centring import Centres
from hpf_core.inference.estimate import refined_points
from hpf_core.progress import Progress, no_progress

NETWORK = "network"
"""Name of the points before the first refiner, among the refiners' names."""

_UNLABELLED = "Without labels, errors in mm can't be measured: write `evaluate: null`, or `evaluate: {data: synthetic}`"


@dataclass(frozen=True)
class Refined:
    """Effect of one refiner.

    Attributes:
        name: the refiner's name in the recipe, or `NETWORK` for the network's own points.
        measured: the errors after it.
        moved_mm: mean displacement of the hand model's points by the refiner; 0 for the network's own. For inverse
            kinematics it is the residual of the fitted hand.
    """

    name: str
    measured: Measured
    moved_mm: float

    def document(self) -> dict[str, Any]:
        """An entry of `summary.json`, as plain JSON values."""
        figures = self.measured.document()
        left_out = ("joints", "frames", "subjects")
        own = {name: value for name, value in figures.items() if name not in left_out}
        return {"name": self.name, "moved_mm": round(self.moved_mm, 6), **own}


@dataclass(frozen=True)
class Evaluated:
    """A split's predictions and their errors.

    Attributes:
        points: (F, J, 3) float32 mm in the crops' frames of the evaluated view.
        to_rig: (F, 4, 4) float32, from these crops' frames to the rig's, or None without a rig.
        centres: centres of the crops, if the network estimated them.
        joints: (F, K, 3) float64 mm, predicted, in the camera's frame.
        truth: (F, K, 3) float64 mm, annotated.
        measured: the errors.
        refined: the network's own errors and those after each refiner, in their order; empty without refiners.
    """

    points: np.ndarray
    joints: np.ndarray
    truth: np.ndarray
    measured: Measured
    to_rig: np.ndarray | None = None
    centres: Centres | None = None
    refined: tuple[Refined, ...] = ()

    def document(self) -> dict[str, Any]:
        """The measured figures; with refiners also `refiners`, the errors before and after each of them."""
        own = self.measured.document()
        return own | {"refiners": [each.document() for each in self.refined]} if self.refined else own

    def tensors(self) -> dict[str, Tensor]:
        """Tensors to keep beside the measured figures."""
        arrays = {"points": self.points, "joints": self.joints, "truth": self.truth, "to_rig": self.to_rig}
        kept = {name: torch.from_numpy(array) for name, array in arrays.items() if array is not None}
        return kept | (self.centres.tensors() if self.centres is not None else {})


def split_size(parts: Parts, split: str, limit: int | None = None) -> int:
    """Number of evaluated frames of a split.

    Raises:
        DataError: the dataset has no such split, or it is empty.
    """
    assert parts.real is not None
    sizes = parts.real.splits()
    if split not in sizes:
        raise DataError(f"the dataset has no split '{split}'. {nearest(split, sizes)}")
    if sizes[split] == 0:
        raise DataError(f"the dataset's split '{split}' is empty, so it can't be evaluated")
    return min(sizes[split], limit) if limit else sizes[split]


def check(parts: Parts, split: str) -> None:
    """Check that a split can be evaluated, before hours of training: its frames, its labels, and the hand's joints.

    It reads the labels and keeps nothing of them.

    Raises:
        DataError: the split can't be evaluated.
    """
    assert parts.real is not None
    split_size(parts, split)
    annotation, labels = annotation_of(parts), labels_of(parts, split)
    if annotation not in parts.hand.annotations:
        raise DataError(
            f"the dataset is evaluated on the joints of '{annotation}', but the hand model doesn't have this "
            f"annotation. {nearest(annotation, parts.hand.annotations)}"
        )
    names, annotated = parts.hand.annotations[annotation][0], labels.names
    if tuple(names) != tuple(annotated):
        raise DataError(
            f"the split '{split}' is annotated with the joints {', '.join(annotated)}, but the hand model's "
            f"'{annotation}' are {', '.join(names)}"
        )


def annotation_of(parts: Parts) -> str:
    """The annotation with the scored joints of the dataset's protocol.

    Raises:
        DataError: the protocol names none.
    """
    assert parts.real is not None
    annotation = parts.real.protocol.annotation
    if annotation is None:
        raise DataError(f"the dataset's protocol names no annotation to score. {_UNLABELLED}")
    return annotation


def labels_of(parts: Parts, split: str) -> Labels:
    """The labels of a split.

    Raises:
        DataError: the dataset has none.
    """
    assert parts.real is not None
    labels = parts.real.labels(split)
    if labels is None:
        raise DataError(f"the dataset has no labels of the split '{split}'. {_UNLABELLED}")
    return labels


def predict(
    parts: Parts, split: str, frames: int, device: torch.device, batch: int, progress: Progress = no_progress
) -> tuple[list[np.ndarray], np.ndarray]:
    """Points of the first `frames` frames in the crops of the evaluated view, from the network and after each refiner.

    Points are (F, J, 3) float32 mm. The second result has the maps (F, 4, 4) float32 from these crops to the rig.
    """
    assert parts.real is not None
    view = parts.real.protocol.view
    parts.backbone.eval()
    found: list[list[np.ndarray]] = []
    to_rig = []
    with torch.no_grad():
        for first in range(0, frames, batch):
            numbers = np.arange(first, min(first + batch, frames))
            seen = parts.real.frames(split, numbers)
            points = refined_points(parts.backbone, parts.refiners, seen.depth[:, view].to(device))
            found.append([each.float().cpu().numpy() for each in points])
            to_rig.append(seen.to_rig[:, view].numpy())
            progress(first + len(numbers), frames, f"evaluating on {split}")
    return joined(found), np.concatenate(to_rig)


def joined(batches: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """One array per refiner, from batches of them."""
    return [np.concatenate(each) for each in zip(*batches, strict=True)]


def refined(
    parts: Parts, points: Sequence[np.ndarray], measured: Measured, measure_one: Callable[[np.ndarray], Measured]
) -> tuple[Refined, ...]:
    """Effect of each refiner; empty without refiners.

    Args:
        points: (F, J, 3) mm from the network, and after each refiner.
        measured: the errors after the last of them.
        measure_one: returns the errors of such points.
    """
    if len(points) == 1:
        return ()
    names = (NETWORK, *parts.refiner_names)
    moved = [0.0, *(float(np.linalg.norm(b - a, axis=-1).mean()) for a, b in pairwise(points))]
    every = [*map(measure_one, points[:-1]), measured]
    return tuple(Refined(*entry) for entry in zip(names, every, moved, strict=True))


def to_joints(parts: Parts, split: str, points: np.ndarray) -> np.ndarray:
    """(F, K, 3) float64 mm in the camera's frame: the annotation's joints, from points (F, J, 3) in crops' frames."""
    assert parts.real is not None
    _, matrix = parts.hand.annotations[annotation_of(parts)]
    joints = np.einsum("kj,fjc->fkc", np.asarray(matrix, dtype=np.float64), points.astype(np.float64))
    camera = parts.real.to_camera(split)[: len(points)]
    return joints @ camera[:, :3, :3].transpose(0, 2, 1) + camera[:, None, :3, 3]


def evaluate(
    parts: Parts,
    split: str,
    device: torch.device,
    limit: int | None = None,
    batch: int = 64,
    progress: Progress = no_progress,
) -> Evaluated:
    """Predict a split and compare the result with its labels; the network centres the crops itself if requested."""
    assert parts.real is not None
    frames = split_size(parts, split, limit)
    centres = None
    if centring.is_asked_for(parts):
        centres = centring.refine(parts, split, device, limit, progress=progress)
    points, to_rig = predict(parts, split, frames, device, batch, progress)
    labels, tips = labels_of(parts, split), parts.real.protocol.fingertips

    def measured(joints: np.ndarray) -> Measured:
        return measure(
            joints,
            labels.joints[:frames],
            joint_names=labels.names,
            fingertips=tips,
            subject=labels.subject[:frames],
            subject_names=labels.subject_names,
        )

    joints = to_joints(parts, split, points[-1])
    found = measured(joints)
    steps = refined(parts, points, found, lambda each: measured(to_joints(parts, split, each)))
    return Evaluated(points[-1], joints, labels.joints[:frames], found, to_rig, centres, steps)


def some_frames(frames: int, count: int) -> Iterator[int]:
    """Indices of `count` frames spread over a split."""
    yield from sorted({round(k) for k in np.linspace(0, frames - 1, min(count, frames))})
