"""Labels of a capture for the page of `hpf view`: each frame's annotated joints, beside the error of its hand.

Prediction never sees a label: this module adds them to finished predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpf_core.data.cameras import Rig
from hpf_core.data.layouts.base import Annotation
from hpf_core.inference.sources import FrameSource
from hpf_core.inference.streams import PredictedFrame
from hpf_core.interfaces import HandModel


def add_labels(
    shown: Sequence[dict[str, Any]], frames: Sequence[PredictedFrame], source: FrameSource, hand: HandModel
) -> tuple[str, ...]:
    """Add labels and errors to a page's frames (`view_frame`) where the source's capture has labels.

    Args:
        shown: the page's frames; this changes them.
        frames: the predictions, in the same order.
        source: their source.
        hand: the hand model; labels count if it has an annotation with joints of these names.

    Returns:
        The names of the joints with errors; empty without labels.

    Raises:
        DataError: labels exist, but are unreadable.
    """
    kept: dict[tuple[str, str], Annotation | None] = {}
    found: tuple[str, ...] = ()
    for entry, frame, moment in zip(shown, frames, source.moments, strict=True):
        if moment is None:
            continue
        layout, split, number = moment
        key = (str(layout.root), split)
        if key not in kept:
            kept[key] = layout.annotation(split)
        if isinstance(frame.camera, Rig) and len(frame.camera.cameras) < len(layout.rig.cameras):
            continue  # without the first view, hands may be in another camera's frame than labels
        labels = kept[key]
        annotation = None if labels is None else _shared(labels, hand)
        if labels is None or annotation is None or number >= labels.xyz.shape[1]:
            continue
        found = tuple(hand.annotations[annotation][0])
        truth = labels.xyz[0, number][[labels.names.index(name) for name in found]]
        if np.isfinite(truth).all():
            _add(entry, frame, annotation, truth)
    return found


def _shared(labels: Annotation, hand: HandModel) -> str | None:
    """The hand model's annotation with the most joints that all have labels."""
    fitting = [name for name, (joints, _) in hand.annotations.items() if set(joints) <= set(labels.names)]
    return max(fitting, key=lambda name: len(hand.annotations[name][0]), default=None)


def _add(entry: dict[str, Any], frame: PredictedFrame, annotation: str, truth: np.ndarray) -> None:
    """Add labels (K, 3) mm in the first camera's frame to a frame; the hand nearest to them gives the errors."""
    entry["truth"] = truth.round(1).tolist()
    camera = frame.camera
    cameras = camera.cameras if isinstance(camera, Rig) else (camera,)
    from_rig = camera.from_rig if isinstance(camera, Rig) else np.eye(4)[None]
    for view, one, pose in zip(entry["views"], cameras, from_rig, strict=False):
        if one is not None:
            view["truth"] = one.project(truth @ pose[:3, :3].T + pose[:3, 3])[:, :2].round(1).tolist()
    errors = [np.linalg.norm(hand.as_(annotation) - truth, axis=-1) for hand in frame.hands]
    if errors:
        best = min(errors, key=lambda each: float(each.mean()))
        entry |= {"error_mm": round(float(best.mean()), 2), "joint_errors": best.round(2).tolist()}
