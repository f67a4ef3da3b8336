"""The joints that a run predicted, as it left them beside what it measured: `evaluation/STAGE.safetensors`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hpf_core.errors import DataError, InputError, nearest
from hpf_core.evaluation.protocols import TextProtocol
from hpf_core.evaluation.result import summary_evaluations

_SAME_MM = 5.0  # two readings of one annotation differ by rounding and by the camera's constants, not by this


@dataclass(frozen=True)
class RunPredictions:
    """What a run predicted after one stage.

    Attributes:
        run: its folder.
        document: the evaluation, as summary.json lists it.
        joints: (F, K, 3) float64 mm, predicted, in the camera's frame.
        truth: (F, K, 3) float64 mm, what the run held them against.
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
    """What a run predicted after a stage; by default after its last that is no control.

    Raises:
        InputError: it wasn't evaluated after that stage, or at all.
        DataError: the folder isn't a finished run, or is damaged.
    """
    documents = {str(document["after"]): document for document in summary_evaluations(run)}
    if not documents:
        raise InputError(f"{run} was not evaluated: its recipe has `evaluate: null`.")
    if after is not None and after not in documents:
        raise InputError(f"{run} has no evaluation after {after!r}. {nearest(after, documents)}")
    chosen = after if after is not None else [name for name in documents if name not in _controls(run)][-1]
    path = run / "evaluation" / f"{chosen}.safetensors"
    try:
        tensors = load_file(path)
        joints, truth = (tensors[name].astype(np.float64) for name in ("joints", "truth"))
    except (OSError, SafetensorError, KeyError) as error:
        raise DataError(f"{path}: the run's predictions can't be read ({error}).") from error
    if joints.shape != truth.shape or joints.shape[1:] != (len(documents[chosen]["per_joint_mm"]), 3):
        raise DataError(f"{path}: the run's predictions have shape {joints.shape}, its labels {truth.shape}.")
    return RunPredictions(run, documents[chosen], joints, truth)


def fitting(found: RunPredictions, protocol: TextProtocol, labels: np.ndarray, labels_path: Path) -> np.ndarray:
    """The run's joints (F, K, 3) mm, once it is known that these labels (F, K, 3) mm are of the same frames.

    Raises:
        DataError: other joints, another number of frames, or frames that are annotated otherwise.
    """
    check_joints(found, protocol)
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


def check_joints(found: RunPredictions, protocol: TextProtocol) -> None:
    """Raises DataError where a run predicts other joints than a protocol's."""
    if found.joint_names != protocol.joints:
        raise DataError(
            f"{found.run} predicts {len(found.joint_names)} joints ({', '.join(found.joint_names[:3])}, ...), but the "
            f"protocol {protocol.name} has {len(protocol.joints)} ({', '.join(protocol.joints[:3])}, ...)."
        )


def _controls(run: Path) -> set[str]:
    """Stages that a finished run lists as controls of others."""
    stages = json.loads((run / "summary.json").read_text(encoding="utf-8")).get("stages", [])
    return {str(stage["name"]) for stage in stages if isinstance(stage, dict) and stage.get("control_of")}
