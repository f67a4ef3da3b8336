"""Errors of predicted joints: means, medians, success rates, per joint and per subject.

All values are float64 NumPy, in mm. A joint's error in a frame is the Euclidean distance between prediction and
annotation in the evaluated camera's frame, without alignment or scaling. The mean is over all joints and frames (paper,
Sec. 4.1). The success rate uses each frame's worst joint (Taylor et al., CVPR 2012).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpf_core.errors import DataError, RunError, nearest

SUCCESS_MM = (20, 30, 40, 50)
"""Thresholds of the reported success rates."""

CURVE_MM = np.arange(0.0, 81.0)
"""(81,) mm, thresholds of the success curves."""
CURVE_MM.setflags(write=False)

AUC_MM = (0.0, 80.0)
"""The range in mm of the area under a success curve. The area is a share of the largest possible area."""


@dataclass(frozen=True)
class Measured:
    """Errors of F frames with K joints.

    Attributes:
        joint_names: K names.
        frames: F.
        mean: mm, over all joints and frames.
        median: mm, over all F * K errors as one set (not a median of means).
        success: for each of `SUCCESS_MM`, the share of frames whose worst joint is within the threshold.
        fingertip: mm, mean over the fingertips and all frames; None where the annotation has none.
        per_joint: (K,) mm, mean over the frames.
        frame_mean: (F,) mm, mean over each frame's joints.
        frame_max: (F,) mm, error of each frame's worst joint.
        curve_max: (81,) the success curve: share of frames whose worst joint is within each of `CURVE_MM`.
        curve_mean: (81,) share of frames whose mean error is within each of `CURVE_MM`.
        auc_max, auc_mean: area under these two curves over `AUC_MM`, in [0, 1]. Exact, computed from the errors.
        subjects: the same figures for each subject by name, in the order of subject numbers. Their `subjects` are
            empty.
    """

    joint_names: tuple[str, ...]
    frames: int
    mean: float
    median: float
    success: dict[int, float]
    fingertip: float | None
    per_joint: np.ndarray
    frame_mean: np.ndarray
    frame_max: np.ndarray
    curve_max: np.ndarray
    curve_mean: np.ndarray
    auc_max: float
    auc_mean: float
    subjects: dict[str, Measured] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The fields of `summary.json` and `hpf eval --json`, as plain JSON values, rounded to 1e-6."""
        own = {"joints": len(self.joint_names), **self._figures()}
        return own | {"subjects": {name: subject._figures() for name, subject in self.subjects.items()}}

    def _figures(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "mean_error_mm": round(self.mean, 6),
            "median_error_mm": round(self.median, 6),
            "success": {str(threshold): round(share, 6) for threshold, share in self.success.items()},
            "fingertip_error_mm": None if self.fingertip is None else round(self.fingertip, 6),
            "per_joint_mm": {
                name: round(float(error), 6) for name, error in zip(self.joint_names, self.per_joint, strict=True)
            },
            "auc": {"max": round(self.auc_max, 6), "mean": round(self.auc_mean, 6), "range_mm": list(AUC_MM)},
        }


def measure(
    predicted: np.ndarray,
    truth: np.ndarray,
    *,
    joint_names: Sequence[str],
    fingertips: Sequence[int] = (),
    subject: np.ndarray | None = None,
    subject_names: Mapping[int, str] | None = None,
) -> Measured:
    """Compare predictions with the annotation.

    Args:
        predicted: (F, K, 3) mm.
        truth: (F, K, 3) mm, in the same frame.
        joint_names: K distinct names.
        fingertips: indices of the fingertips.
        subject: (F,) integers, number of the person in each frame. Without it, there are no results per subject.
        subject_names: the name of each subject number.

    Raises:
        DataError: there are no frames, the shapes don't match, the annotation isn't finite, or a subject has no name.
        RunError: a prediction isn't finite.
    """
    predicted = np.asarray(predicted, dtype=np.float64)
    truth = np.asarray(truth, dtype=np.float64)
    names = tuple(joint_names)
    _check_shapes(predicted, truth, names, fingertips)
    _check_finite(truth, names, "The annotation", DataError)
    _check_finite(predicted, names, "The prediction", RunError)
    with np.errstate(over="ignore"):
        errors = np.linalg.norm(predicted - truth, axis=-1)
    _check_finite(errors, names, "The error", RunError)
    return _measured(errors, names, tuple(fingertips), _split(len(errors), subject, subject_names))


def success_curve(frame_errors: np.ndarray, thresholds: np.ndarray = CURVE_MM) -> np.ndarray:
    """(T,) share of frames whose error (F,) mm is at most each of the thresholds (T,) mm."""
    within = np.searchsorted(np.sort(frame_errors), thresholds, side="right")
    return within / len(frame_errors)


def area_under_curve(frame_errors: np.ndarray) -> float:
    """Area under the success curve of errors (F,) mm over `AUC_MM`, divided by its width: 1 if all errors are 0.

    The curve is a staircase with a step of 1 / F at each error. So the area is a mean, without thresholds.
    """
    low, high = AUC_MM
    return float((high - np.clip(frame_errors, low, high)).mean() / (high - low))


def _measured(
    errors: np.ndarray, names: tuple[str, ...], fingertips: tuple[int, ...], split: Mapping[str, np.ndarray]
) -> Measured:
    """Compute the figures from errors (F, K) mm and the frames (F,) bool of each subject."""
    worst = errors.max(axis=1)
    return Measured(
        joint_names=names,
        frames=len(errors),
        mean=float(errors.mean()),
        median=float(np.median(errors)),
        success={threshold: float((worst <= threshold).mean()) for threshold in SUCCESS_MM},
        fingertip=float(errors[:, list(fingertips)].mean()) if fingertips else None,
        per_joint=errors.mean(axis=0),
        frame_mean=errors.mean(axis=1),
        frame_max=worst,
        curve_max=success_curve(worst),
        curve_mean=success_curve(errors.mean(axis=1)),
        auc_max=area_under_curve(worst),
        auc_mean=area_under_curve(errors.mean(axis=1)),
        subjects={name: _measured(errors[chosen], names, fingertips, {}) for name, chosen in split.items()},
    )


def _split(frames: int, subject: np.ndarray | None, subject_names: Mapping[int, str] | None) -> dict[str, np.ndarray]:
    """Return the frames (F,) bool of each subject in the data."""
    if subject is None:
        return {}
    subject = np.asarray(subject)
    if subject.shape != (frames,):
        raise DataError(f"The subjects have shape {subject.shape}, but there are {frames:,} frames: one number each.")
    known = dict(subject_names or {})
    split: dict[str, np.ndarray] = {}
    for number in np.unique(subject).tolist():
        if number not in known:
            hint = nearest(str(number), (str(k) for k in known))
            raise DataError(f"Subject {number} occurs in the annotation but has no name. {hint}")
        if known[number] in split:
            raise DataError(f"Two subjects are named {known[number]!r}.")
        split[known[number]] = subject == number
    return split


def _check_shapes(predicted: np.ndarray, truth: np.ndarray, names: tuple[str, ...], fingertips: Sequence[int]) -> None:
    if truth.ndim != 3 or truth.shape[-1] != 3:
        raise DataError(f"The annotation has shape {truth.shape}; expected (frames, joints, 3).")
    if predicted.shape != truth.shape:
        raise DataError(f"The prediction has shape {predicted.shape}, but the annotation {truth.shape}.")
    if truth.shape[0] == 0 or truth.shape[1] == 0:
        raise DataError(f"The annotation is empty: its shape is {truth.shape}.")
    if len(names) != truth.shape[1] or len(set(names)) != len(names):
        raise DataError(f"{truth.shape[1]} joints need as many different names, but these are given: {list(names)}.")
    outside = [tip for tip in fingertips if not 0 <= tip < len(names)]
    if outside:
        raise DataError(f"Fingertip {outside[0]} isn't one of the joints 0 to {len(names) - 1}.")


def _check_finite(
    values: np.ndarray, names: tuple[str, ...], what: str, error: type[DataError] | type[RunError]
) -> None:
    """Check values (F, K, ...) for NaN and infinity, which must never look like a good result."""
    bad = ~np.isfinite(values).reshape(*values.shape[:2], -1).all(axis=-1)
    if bad.any():
        frame, joint = (int(i) for i in np.argwhere(bad)[0])
        raise error(
            f"{what} of joint {names[joint]} in frame {frame} (counted from 0) isn't a finite number: "
            f"{values[frame, joint].tolist()}. Frames that have one: {int(bad.any(axis=1).sum()):,} of {len(values):,}."
        )
