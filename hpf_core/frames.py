"""The data of a run: real frames, synthetic samples, estimates, and (for evaluation only) labels.

Units are millimetres, axes x right, y down, z away from the camera; `docs/geometry.md` defines the conventions.
Shapes use B frames, V views, N images or estimates, P ordered pairs of views, J points, H x W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

_T = TypeVar("_T", bound="_Moves")


class State(IntEnum):
    """The state of a pixel of a cropped depth map."""

    EMPTY = 0  # the ray meets nothing inside the cube: its surface is beyond the cube, or it has none
    HIT = 1  # a surface inside the cube
    UNKNOWN = 2  # the sensor returned nothing: a hole, the projector's shadow


@dataclass(frozen=True)
class _Moves:
    """A frozen record of tensors that move together."""

    def to(self: _T, device: torch.device | str, non_blocking: bool = False) -> _T:
        """Return the same record with every tensor on `device`."""

        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: _T) -> _T:
        """Return the same record in page-locked memory of the host: copies to a GPU from there don't block."""
        return self._each(Tensor.pin_memory)

    def _each(self: _T, change: Callable[[Tensor], Tensor]) -> _T:
        def changed(value: Any) -> Any:
            if isinstance(value, Tensor):
                return change(value)
            return value._each(change) if isinstance(value, _Moves) else value

        return dataclasses.replace(
            self, **{f.name: changed(getattr(self, f.name)) for f in dataclasses.fields(self) if f.init}
        )


@dataclass(frozen=True)
class ViewIndex(_Moves):
    """Index of the present images of a batch. The host computes the index, so that a step has static shapes.

    The network and the terms process the N present views, packed in order of (frame, view). They skip missing views.

    Attributes:
        rows: (N,) int64, flat index `frame * V + view` of each present view.
        frame: (N,) int64, the frame of each row.
        source: (P,) int64, row of the estimate, over all ordered pairs (i, j) of present views of one frame.
        target: (P,) int64, row of the depth map to compare with. The first N pairs are the own views (n, n).
        frames: B.
        views: V.
        counts: B numbers on the host: the number of views of each frame.
    """

    rows: Tensor
    frame: Tensor
    source: Tensor
    target: Tensor
    frames: int
    views: int
    counts: tuple[int, ...]

    @staticmethod
    def of(present: np.ndarray) -> ViewIndex:
        """Build the index from `present` (B, V) bool on the host."""
        present = np.asarray(present, dtype=bool)
        frames, views = present.shape
        rows = np.flatnonzero(present.reshape(-1))
        frame = rows // views
        same = frame[:, None] == frame[None, :]
        np.fill_diagonal(same, False)
        source, target = np.nonzero(same)
        own = np.arange(len(rows))
        return ViewIndex(
            rows=torch.from_numpy(rows.astype(np.int64)),
            frame=torch.from_numpy(frame.astype(np.int64)),
            source=torch.from_numpy(np.concatenate([own, source]).astype(np.int64)),
            target=torch.from_numpy(np.concatenate([own, target]).astype(np.int64)),
            frames=frames,
            views=views,
            counts=tuple(int(count) for count in present.sum(axis=1)),
        )


@dataclass(frozen=True)
class RealFrames(_Moves):
    """Depth maps of B moments from up to V cameras. No field can hold a label.

    Attributes:
        depth: (B, V, H, W) float32 mm from the crop's centre, + away from the camera; the far value (half of the cube)
            where `state` is not HIT.
        state: (B, V, H, W) uint8, `State`.
        present: (B, V) bool, False for views that a frame lacks.
        to_rig: (B, V, 4, 4) float32, the full rigid map from each crop's frame to the rig's (mm). It includes the
            crop's centre and rotation. Missing views have the identity.
        views: the packed index of `present`.
        sequence: (B,) int64, index of the frame's recording.
        time: (B,) float64 seconds, or the frame's number if the time is unknown.
        index: (B,) int64, the frame's number in its dataset's split.
        cube_mm: side of the crop's cube.
        radius_scale: (B,) float32, the factor on the hand model's radii, measured on the depth maps
            (`hpf_core.inference.radius_scale`); None if the renderer measures none.
    """

    depth: Tensor
    state: Tensor
    present: Tensor
    to_rig: Tensor
    views: ViewIndex
    sequence: Tensor
    time: Tensor
    index: Tensor
    cube_mm: float = 300.0
    radius_scale: Tensor | None = None


@dataclass(frozen=True)
class SyntheticSamples(_Moves):
    """Depth maps with the hands that they show.

    Attributes:
        depth: (N, H, W) float32 mm, far value (half of the cube) where not HIT.
        state: (N, H, W) uint8, `State`.
        points: (N, J, 3) mm in the crop's frame.
        pose: (N, D) the hand model's pose parameters.
        shape: (N, S) its shape parameters.
        cube_mm: side of the crop's cube.
    """

    depth: Tensor
    state: Tensor
    points: Tensor
    pose: Tensor
    shape: Tensor
    cube_mm: float = 300.0

    def take(self, rows: slice) -> SyntheticSamples:
        """Return the samples of some rows."""
        return self._each(lambda tensor: tensor[rows])

    @staticmethod
    def joined(pieces: Sequence[SyntheticSamples]) -> SyntheticSamples:
        """Concatenate the samples of all pieces, in order. All pieces share one cube's side."""
        names = [f.name for f in dataclasses.fields(SyntheticSamples) if f.name != "cube_mm"]
        tensors = {name: torch.cat([getattr(piece, name) for piece in pieces]) for name in names}
        return SyntheticSamples(**tensors, cube_mm=pieces[0].cube_mm)


@dataclass(frozen=True)
class Estimate(_Moves):
    """A backbone's output for N images.

    Attributes:
        points: (N, J, 3) mm in the crop's frame, float32 also under autocast.
        heatmaps: (N, J, h, w) dimensionless maps whose label peaks at 1, or None.
        latent_depth: (N, J, h, w) mm, or None.
        variance: (N, J) mm^2, variance of the soft-argmax's weights in x and y together, or None.
        pose: (N, D) or None.
        shape: (N, S) or None.
    """

    points: Tensor
    heatmaps: Tensor | None = None
    latent_depth: Tensor | None = None
    variance: Tensor | None = None
    pose: Tensor | None = None
    shape: Tensor | None = None

    def take(self, rows: slice) -> Estimate:
        """Return the estimates of some images."""
        cut: dict[str, Any] = {
            f.name: (None if getattr(self, f.name) is None else getattr(self, f.name)[rows])
            for f in dataclasses.fields(self)
        }
        return Estimate(**cut)


@dataclass(frozen=True)
class Labels:
    """The annotation of a split. Only evaluation uses it.

    Attributes:
        joints: (F, K, 3) float64 mm, in the camera's frame of the evaluated view (x right, y down, z away).
        names: K joint names.
        subject: (F,) int, number of the person in each frame.
        subject_names: name of each subject number, e.g. {0: "training subject", 1: "new subject"}.
    """

    joints: np.ndarray
    names: tuple[str, ...]
    subject: np.ndarray
    subject_names: dict[int, str]
