"""The cameras' poses in a capture, from its `rig.yaml`, from the hands that they see, or from its annotation.

`calibration.json` stores the calibration separately from its source. If it came from the annotation, later changes or
removal of the labels don't affect anything else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import torch

from hpf_core.data.cameras import Rig
from hpf_core.data.hand_calibration.calibrate import HandCalibration
from hpf_core.data.layouts.base import Annotation, Layout
from hpf_core.errors import DataError
from hpf_core.files.cache import write_atomic
from hpf_core.geometry.alignment import align_rigid_robust
from hpf_core.geometry.rigid import apply_rigid
from hpf_core.progress import Progress

Method = Literal["file", "hand", "annotated"]
"""The source of a calibration: the capture's `rig.yaml`, the hands that its cameras see, or its annotated joints."""


class HandCalibrator(Protocol):
    """Calibrates a rig from hands. It needs a network, so its implementation lies above this package."""

    @property
    def key(self) -> str:
        """A hash of the network's weights."""

    def calibrate(self, layout: Layout, views: Sequence[int], progress: Progress) -> HandCalibration:
        """Find the cameras' poses from the images alone.

        Raises:
            DataError: the cameras can't be tied together.
        """


_MOST_FRAMES = 1000  # 36,000 points determine six numbers well enough; more only cost time
_OFF_MM = 10.0  # in the report, a frame with a larger median distance of the joints counts as badly annotated


@dataclass(frozen=True)
class Calibration:
    """The poses of a rig's cameras.

    Attributes:
        views: the capture's views in the rig, counted from 0; the first one's frame is the rig's.
        to_rig: (V, 4, 4) float64, from each camera's frame to the rig's, mm.
        residual_mm: (V,) median distance between a joint in this view and the same joint in the first view.
        outliers: (V,) share of the frames whose median joint is off by more than 10 mm.
        off: for each view, the numbers of these frames, counted from 0.
        annotated: number of annotated frames; None if an older HPF wrote the file, or if the annotation wasn't used.
        method: source: "file" (`rig.yaml`), "hand" or "annotated". With "file", residuals and outliers are NaN. With
            "hand", the residual is the distance of the hand's surface from other views' surfaces, and outliers are NaN.
    """

    views: tuple[int, ...]
    to_rig: np.ndarray
    residual_mm: np.ndarray
    outliers: np.ndarray
    off: tuple[tuple[int, ...], ...] = ()
    annotated: int | None = None
    method: Method = "annotated"

    @staticmethod
    def of_rig(rig: Rig, views: Sequence[int]) -> Calibration:
        """Take the poses from a rig's file, for some of its views. The first view gives the frame.

        Raises:
            InputError: the file doesn't state the cameras' poses.
        """
        part = rig.take(views)
        unknown = np.full(len(views), np.nan)
        return Calibration(tuple(views), part.poses, unknown, unknown, ((),) * len(views), None, "file")

    @staticmethod
    def of_hands(found: HandCalibration, views: Sequence[int], where: str) -> Calibration:
        """Take the poses from a calibration by hands.

        Raises:
            DataError: a camera doesn't agree with the others.
        """
        bad = [view.name for view in found.views if not view.fits]
        if bad:
            raise DataError(
                f"{where}: the poses of the cameras can't be found from the hands, because these cameras don't agree "
                f"with the others: {', '.join(bad)}. Write their poses into rig.yaml, or choose another `calibration`."
            )
        residual = np.array([view.after_mm for view in found.views])
        residual[0] = 0.0
        unknown = np.full(len(views), np.nan)
        return Calibration(tuple(views), found.to_rig, residual, unknown, ((),) * len(views), None, "hand")

    def save(self, path: Path) -> None:
        """Write the calibration as JSON, atomically."""
        content = {
            "views": list(self.views),
            "to_rig": self.to_rig.tolist(),
            "residual_mm": _numbers_or_none(self.residual_mm),
            "outliers": _numbers_or_none(self.outliers),
            "off": [list(frames) for frames in self.off],
            "annotated": self.annotated,
            "method": self.method,
        }
        text = json.dumps(content) + "\n"

        def write(file: Path) -> None:
            file.write_text(text, encoding="utf-8")

        write_atomic(path, write)

    @staticmethod
    def load(path: Path) -> Calibration:
        """Read a saved calibration, bit for bit the same.

        Raises:
            DataError: the file is missing or isn't a calibration.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            views = tuple(int(view) for view in content["views"])
            to_rig = np.array(content["to_rig"], dtype=np.float64)
            residual = np.array(content["residual_mm"], dtype=np.float64)
            outliers = np.array(content["outliers"], dtype=np.float64)
            off = tuple(tuple(int(frame) for frame in frames) for frames in content.get("off", ()))
            annotated = None if content.get("annotated") is None else int(content["annotated"])
            method = content.get("method", "annotated")
            if method not in get_args(Method):
                raise ValueError(f"its method is {method!r}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} isn't a calibration that HPF wrote: {error}.") from error
        if to_rig.shape != (len(views), 4, 4) or not np.isfinite(to_rig).all():
            raise DataError(f"{path}: to_rig has the shape {to_rig.shape}, but ({len(views)}, 4, 4) was expected.")
        return Calibration(views, to_rig, residual, outliers, off, annotated, method)


def _numbers_or_none(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def calibrate(xyz: np.ndarray, views: Sequence[int], where: str = "the annotation") -> Calibration:
    """Compute one rigid map per view for the whole capture, by robust Procrustes alignment of the annotated joints.

    All joints of up to 1,000 frames, spread over the capture, are aligned at once. Outliers are weighted down
    (`hpf_core.geometry.align_rigid_robust`), so wrong annotations in one view don't matter. Then every frame is
    compared
    with the result, and frames with a large error are listed.

    Args:
        xyz: (V_all, N, K, 3) mm, joints in each view's camera frame. Frames at z <= 0, or with all joints in one place,
            count as unannotated.
        views: the views of the rig; the first one gives its frame.
        where: the source of the joints, for messages.

    Raises:
        DataError: a view isn't annotated, or its joints determine no rigid map.
    """
    missing = [view + 1 for view in views if view >= len(xyz)]
    if missing:
        there = "1 view is" if len(xyz) == 1 else f"{len(xyz)} views are"
        raise DataError(
            f"{where}: {there} annotated, but view {missing[0]} is required. Choose other views: `views` of the "
            "dataset in "
            "a recipe, --views of `hpf data prepare`."
        )
    xyz = Annotation(xyz, ()).without_blanks().xyz
    frames = np.unique(np.linspace(0, xyz.shape[1] - 1, min(_MOST_FRAMES, xyz.shape[1])).round().astype(int))
    target = xyz[views[0], frames]
    transforms, residuals, outliers = [np.eye(4)], [0.0], [0.0]
    off: list[tuple[int, ...]] = [()]
    for view in views[1:]:
        source = xyz[view, frames]
        usable = np.isfinite(source).all((1, 2)) & np.isfinite(target).all((1, 2))
        if not usable.any():
            raise DataError(f"{where}: no frame is annotated both in view {view + 1} and in view {views[0] + 1}.")
        one, other = torch.from_numpy(source[usable]), torch.from_numpy(target[usable])
        try:
            found = align_rigid_robust(one.flatten(0, 1), other.flatten(0, 1))
        except DataError as error:
            raise DataError(f"{where}: view {view + 1} compared with view {views[0] + 1}: {error}") from error
        misses = np.concatenate(
            [
                _misses(
                    xyz[view, first : first + _MOST_FRAMES],
                    xyz[views[0], first : first + _MOST_FRAMES],
                    found.transform,
                )
                for first in range(0, xyz.shape[1], _MOST_FRAMES)
            ]
        )
        transforms.append(found.transform.numpy())
        residuals.append(float(found.residual.median()))
        outliers.append(float((misses > _OFF_MM).sum() / np.isfinite(misses).sum()))
        off.append(tuple(np.flatnonzero(misses > _OFF_MM).tolist()))
    return Calibration(
        views=tuple(views),
        to_rig=np.stack(transforms),
        residual_mm=np.array(residuals),
        outliers=np.array(outliers),
        off=tuple(off),
        annotated=xyz.shape[1],
    )


def _misses(source: np.ndarray, target: np.ndarray, transform: torch.Tensor) -> np.ndarray:
    """(F,) mm, median error of the joints of each frame (F, K, 3); NaN for unannotated frames."""
    misses = apply_rigid(transform, torch.from_numpy(np.ascontiguousarray(source))) - torch.from_numpy(
        np.ascontiguousarray(target)
    )
    return misses.norm(dim=-1).quantile(0.5, dim=-1).numpy()
