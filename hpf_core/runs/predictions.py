"""A run's predicted joints, in the files beside its evaluations: `evaluation/STAGE.safetensors`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpf_core.errors import DataError, InputError, nearest
from hpf_core.evaluation.protocols import TextProtocol
from hpf_core.runs.documents import read_summary

if TYPE_CHECKING:
    from torch import Tensor

_SAME_MM = 5.0  # two readings of one annotation differ less: by rounding and by the camera's constants


@dataclass(frozen=True)
class RunPredictions:
    """Predictions of a run after one stage.

    Attributes:
        run: folder of the run.
        document: the evaluation, as in summary.json.
        joints: (F, K, 3) float64 mm, predicted, in the camera's frame.
        truth: (F, K, 3) float64 mm, the annotated joints in the run's evaluation.
    """

    run: Path
    document: dict[str, Any]
    joints: np.ndarray
    truth: np.ndarray

    @property
    def joint_names(self) -> tuple[str, ...]:
        """K names."""
        return tuple(self.document["per_joint_mm"])


def read_run(run: Path, after: str | None = None) -> RunPredictions:
    """Predictions of a run after a stage; by default after its last stage other than controls.

    Raises:
        InputError: the run has no evaluation after that stage, or none at all.
        DataError: the folder isn't a finished run, or is damaged.
    """
    summary = read_summary(run)
    documents = {str(document["after"]): document for document in summary["evaluation"]}
    if not documents:
        raise InputError(f"{run} was not evaluated: its recipe has `evaluate: null`.")
    if after is not None and after not in documents:
        raise InputError(f"{run} has no evaluation after {after!r}. {nearest(after, documents)}")
    controls = {stage["name"] for stage in summary.get("stages", []) if stage.get("control_of") is not None}
    candidates = [name for name in documents if name not in controls]
    if after is None and not candidates:
        raise InputError(f"{run} was evaluated only after controls: choose one with --after")
    chosen = after if after is not None else candidates[-1]
    path = run / "evaluation" / f"{chosen}.safetensors"
    joints, truth = (errors.double().numpy() for errors in read_joints(path))
    if joints.shape[1] != len(documents[chosen]["per_joint_mm"]):
        raise DataError(
            f"{path}: the run's predictions have {joints.shape[1]} joints, but its summary has "
            f"{len(documents[chosen]['per_joint_mm'])}."
        )
    return RunPredictions(run, documents[chosen], joints, truth)


def read_joints(path: Path) -> tuple[Tensor, Tensor]:
    """The predicted and the annotated joints (F, K, 3) mm of a run's file.

    Raises:
        DataError: the file is missing or damaged, or has other content.
    """
    from hpf_core.runs import checkpoint  # torch, which files of predictions do not need

    tensors = checkpoint.read(path).tensors
    joints, truth = tensors.get("joints"), tensors.get("truth")
    if joints is None or truth is None:
        raise DataError(f"{path}: the run's predictions can't be read: it has no joints with their truth.")
    fits = joints.ndim == 3 and joints.shape[0] > 0 and joints.shape[2] == 3 and joints.shape == truth.shape
    if not fits or not (joints.dtype.is_floating_point and truth.dtype.is_floating_point):
        raise DataError(
            f"{path}: the run's predictions are {tuple(joints.shape)} {joints.dtype}, its labels "
            f"{tuple(truth.shape)} {truth.dtype}; two float arrays (F, K, 3) were expected."
        )
    if not bool(joints.isfinite().all() & truth.isfinite().all()):
        raise DataError(f"{path}: the run's predictions or labels aren't finite.")
    return joints, truth


def fitting(found: RunPredictions, protocol: TextProtocol, labels: np.ndarray, labels_path: Path) -> np.ndarray:
    """The run's joints (F, K, 3) mm, after a check that these labels (F, K, 3) mm belong to the same frames.

    Raises:
        DataError: other joints, another number of frames, or frames with other annotations.
    """
    found = in_order(found, protocol)
    if len(found.joints) != len(labels):
        count = found.document.get("left_out", 0)
        left_out = f" and left {count:,} out, of which an image is missing or damaged" if count else ""
        raise DataError(
            f"{found.run} was evaluated on {len(found.joints):,} frames{left_out}, but {labels_path} has "
            f"{len(labels):,}: both need the same frames in the same order."
        )
    apart = float(np.median(np.linalg.norm(found.truth - labels, axis=-1)))
    if not apart <= _SAME_MM:
        raise DataError(
            f"{found.run} was evaluated on other frames than those of {labels_path}: their annotations are "
            f"{apart:.0f} mm apart."
        )
    return found.joints


def in_order(found: RunPredictions, protocol: TextProtocol) -> RunPredictions:
    """The run's joints in the order and on the side of a protocol's files: HPF mirrors datasets of left hands.

    Raises:
        DataError: the run has other joints.
    """
    check_joints(found, protocol)
    names = protocol.joints if set(found.joint_names) == set(protocol.joints) else protocol.hand_joints
    order = [found.joint_names.index(name) for name in names]
    sign = [-1.0 if protocol.hand == "left" else 1.0, 1.0, 1.0]
    return replace(found, joints=found.joints[:, order] * sign, truth=found.truth[:, order] * sign)


def check_joints(found: RunPredictions, protocol: TextProtocol) -> None:
    """Raise DataError if a run's joints differ from a protocol's, in any order."""
    if set(found.joint_names) not in (set(protocol.joints), set(protocol.hand_joints)):
        raise DataError(
            f"{found.run} predicts {len(found.joint_names)} joints ({', '.join(found.joint_names[:3])}, ...), but the "
            f"protocol {protocol.name} has {len(protocol.joints)} ({', '.join(protocol.joints[:3])}, ...)."
        )
