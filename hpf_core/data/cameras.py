"""Cameras of depth sensors, and rigs of several cameras.

Pixel centres are whole numbers: the ray of the pixel in column i and row j is the ray of u = i, v = j, as in OpenCV and
in NYU's annotation (`docs/geometry.md`, "Cameras"). Camera frames have x to the right, y down and z away; millimetres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Literal

import numpy as np

from hpf_core.errors import InputError

DISTORTION_LENGTHS = (0, 4, 5, 8)
"""Permitted numbers of coefficients in OpenCV's distortion model; none means an ideal pinhole."""

Side = Literal["right", "left", "both"]
"""The side of a rig's recorded hand."""

Volume = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""A box: the limits along x, y and z, mm."""

_ROUNDS = 50  # Newton's method needs 3 to 6 rounds within the range in which the model is one-to-one
_COARSE = 8  # step between tested pixels of a distorted image in the search for a window
_CONVERGED = 1e-12  # of coordinates on the plane z = 1: far below a thousandth of a pixel
_SQUARE_TOLERANCE = 1e-3  # tolerance of a rotation's rows for being orthonormal


@dataclass(frozen=True)
class Camera:
    """A depth camera: a pinhole with OpenCV's lens distortion.

    Without distortion, u = x * fx / z + cx and v = y * fy / z + cy.

    Attributes:
        width, height: size of the images, pixels.
        fx, fy: focal lengths, pixels.
        cx, cy: principal point, pixels; whole numbers are pixel centres.
        distortion: k1, k2, p1, p2, then k3, then k4, k5, k6: 4, 5 or 8 numbers in the order of OpenCV, or none.

    Raises:
        InputError: a value is impossible for a camera.

    Source: the distortion model is that of OpenCV's "Camera Calibration and 3D Reconstruction" (radial rational and
    tangential, after Brown 1966).
    """

    width: int
    height: int
    _: KW_ONLY
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "distortion", tuple(float(number) for number in self.distortion))
        if self.width < 1 or self.height < 1:
            raise InputError(f"A camera's size is {self.width} x {self.height}, but both must be 1 or more pixels.")
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(math.isfinite(number) for number in numbers):
            raise InputError(f"A camera has the parameters {list(numbers)}, but all of them must be finite numbers.")
        if self.fx <= 0 or self.fy <= 0:
            raise InputError(f"A camera has the focal lengths {self.fx:g}, {self.fy:g}, but both must be above 0.")
        if len(self.distortion) not in DISTORTION_LENGTHS:
            raise InputError(
                f"A camera has {len(self.distortion)} distortion coefficients, but OpenCV's model has 4 (k1, k2, p1, "
                "p2), 5 (and k3) or 8 (and k4, k5, k6)."
            )

    @property
    def is_distorted(self) -> bool:
        """Whether any distortion coefficient differs from 0."""
        return any(self.distortion)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project (..., 3) mm in the camera's frame to (..., 3) float64: u, v in pixels (distorted) and z in mm."""
        x, y, z = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
        if not self.is_distorted:
            return np.stack([x * self.fx / z + self.cx, y * self.fy / z + self.cy, z], axis=-1)
        a, b = self.distort(x / z, y / z)
        return np.stack([a * self.fx + self.cx, b * self.fy + self.cy, z], axis=-1)

    def unproject(self, pixels: np.ndarray) -> np.ndarray:
        """Map (..., 3) u, v in pixels (distorted) and depth z in mm to (..., 3) float64 mm in the camera's frame.

        NaN where the distortion model has no inverse.
        """
        u, v, z = np.moveaxis(np.asarray(pixels, dtype=np.float64), -1, 0)
        x, y = (u - self.cx) / self.fx, (v - self.cy) / self.fy
        if self.is_distorted:
            x, y = self.undistort(x, y)
        return np.stack([x * z, y * z, z], axis=-1)

    def distort(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map coordinates on an ideal pinhole's plane z = 1 to the coordinates behind the lens."""
        return _distorted(self.distortion, np.asarray(x, np.float64), np.asarray(y, np.float64))

    def undistort(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `distort`; NaN where the model has no inverse."""
        return _undistorted(self.distortion, np.asarray(x, np.float64), np.asarray(y, np.float64))

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """x / z and y / z (H, W) float64 of every pixel, undistorted and read-only; NaN where there is no inverse.

        The result is computed once for each camera.
        """
        return _rays(self)

    def window(self, low: tuple[float, float], high: tuple[float, float]) -> tuple[slice, slice]:
        """Rows and columns that may see rays between two corners (x / z, y / z), with a margin of some pixels.

        Both are empty if no pixel sees such rays.
        """
        if not self.is_distorted:
            ends = [
                (math.floor(a * focal + middle) - 1, math.ceil(b * focal + middle) + 2, size)
                for a, b, focal, middle, size in (
                    (low[1], high[1], self.fy, self.cy, self.height),
                    (low[0], high[0], self.fx, self.cx, self.width),
                )
            ]
        else:
            x, y = (part[::_COARSE, ::_COARSE] for part in self.rays())
            reach_x, reach_y = 2 * _COARSE / self.fx, 2 * _COARSE / self.fy  # so that no window falls through the mesh
            inside = (x > low[0] - reach_x) & (x < high[0] + reach_x) & (y > low[1] - reach_y) & (y < high[1] + reach_y)
            rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
            if not len(rows):
                return slice(0, 0), slice(0, 0)
            ends = [
                (int(rows[0] - 1) * _COARSE, int(rows[-1] + 1) * _COARSE + 1, self.height),
                (int(columns[0] - 1) * _COARSE, int(columns[-1] + 1) * _COARSE + 1, self.width),
            ]
        rows_, columns_ = (slice(min(max(a, 0), size), min(max(b, 0), size)) for a, b, size in ends)
        return rows_, columns_

    def mirrored(self) -> Camera:
        """The camera of the mirrored image. Column i of the mirrored image is column width - 1 - i of this image.

        A point (x, y, z) of this camera is the point (-x, y, z) of the mirrored one. Mirroring twice gives the same
        camera to the last digit if cx has at most 15 decimal digits.
        """
        middle = float(Decimal(self.width - 1) - Decimal(repr(float(self.cx))))
        k = list(self.distortion)
        if k:
            k[3] = -k[3]
        return replace(self, cx=middle, distortion=tuple(k))


PRIMESENSE = Camera(640, 480, fx=588.03, fy=587.07, cx=320.0, cy=240.0)
"""The intrinsics of NYU's annotation (Tompson et al. 2014, evaluation code of the dataset)."""


@dataclass(frozen=True, eq=False)
class Rig:
    """The cameras of a capture, and all further information that the images lack.

    Attributes:
        cameras: one for each view. The first view is the evaluated view, and its frame is the rig's frame.
        to_rig: (V, 4, 4) float64, from each camera's frame to the rig's, mm; None while unknown.
        names: the cameras' names; "1", "2", ... by default.
        unit_mm: millimetres per step of the stored depth.
        no_return: stored values of pixels without return; 0 always is one.
        hand: side of the recorded hand. Cropping mirrors left hands and their cameras.
        volume_mm: ((x, x), (y, y), (z, z)), a box in the rig's frame; surfaces outside the box count as no return.
        where: the file with this information, for messages; empty without a file.

    Raises:
        InputError: the numbers of cameras, names and maps differ, or a map isn't rigid.
    """

    cameras: tuple[Camera, ...]
    to_rig: np.ndarray | None = None
    _: KW_ONLY
    names: tuple[str, ...] = ()
    unit_mm: float = 1.0
    no_return: tuple[float, ...] = (0.0,)
    hand: Side = "right"
    volume_mm: Volume | None = None
    where: str = ""

    def __post_init__(self) -> None:
        count = len(self.cameras)
        if not count:
            raise InputError("A rig has no camera, but it needs 1 or more.")
        if not self.names:
            object.__setattr__(self, "names", tuple(str(view + 1) for view in range(count)))
        if len(self.names) != count or len(set(self.names)) != count:
            raise InputError(
                f"A rig of {count} cameras has the names {list(self.names)}, but each needs one of its own."
            )
        if self.to_rig is None and count == 1:
            object.__setattr__(self, "to_rig", np.eye(4)[None])
        if self.to_rig is None:
            return
        object.__setattr__(self, "to_rig", np.asarray(self.to_rig, dtype=np.float64))
        if self.to_rig.shape != (count, 4, 4):
            raise InputError(f"to_rig of a rig of {count} cameras has the shape {self.to_rig.shape}.")
        for name, pose in zip(self.names, self.to_rig, strict=True):
            if wrong := wrong_with_pose(pose):
                raise InputError(f"to_rig of camera '{name}' {wrong}.")

    @property
    def poses(self) -> np.ndarray:
        """`to_rig` (V, 4, 4), which must be known.

        Raises:
            InputError: `to_rig` is unknown.
        """
        if self.to_rig is None:
            raise InputError(
                f"{self.where or 'The rig'} has {len(self.cameras)} cameras without `to_rig`: their places aren't "
                "known. Run `hpf rig calibrate`, or write each camera's pose into `to_rig` (docs/own-cameras.md)."
            )
        return self.to_rig

    @property
    def from_rig(self) -> np.ndarray:
        """(V, 4, 4) float64, from the rig's frame to each camera's."""
        return np.linalg.inv(self.poses)

    def take(self, views: Sequence[int]) -> Rig:
        """Select some of the cameras, counted from 0; the first of them gives the new rig's frame.

        The new rig keeps `volume_mm` only if the rig's frame stays the same.
        """
        poses = None if self.to_rig is None else self.to_rig[list(views)]
        moved = poses is not None and not np.array_equal(poses[0], np.eye(4))
        if poses is not None and moved:
            poses = np.linalg.inv(poses[0]) @ poses
            poses[0] = np.eye(4)
        return replace(
            self,
            cameras=tuple(self.cameras[view] for view in views),
            to_rig=poses,
            names=tuple(self.names[view] for view in views),
            volume_mm=None if moved or poses is None else self.volume_mm,
        )

    def mirrored(self) -> Rig:
        """The rig in the mirrored scene: a rig of left hands becomes a rig of right hands."""
        flip = np.diag([-1.0, 1.0, 1.0, 1.0])
        sides: dict[Side, Side] = {"right": "left", "left": "right", "both": "both"}
        box = self.volume_mm
        return replace(
            self,
            cameras=tuple(camera.mirrored() for camera in self.cameras),
            # + 0.0 turns negative zeros into plain ones, so that mirroring twice changes no digit.
            to_rig=None if self.to_rig is None else flip @ self.to_rig @ flip + 0.0,
            hand=sides[self.hand],
            volume_mm=None if box is None else ((-box[0][1], -box[0][0]), box[1], box[2]),
        )


def wrong_with_pose(pose: np.ndarray) -> str:
    """Describe the error in a rigid map (4, 4), mm, as the end of a sentence; empty for a valid map."""
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        return "isn't 4 x 4 finite numbers"
    if not np.array_equal(pose[3], [0, 0, 0, 1]):
        return f"has the last row {pose[3].tolist()}, but 0, 0, 0, 1 was expected (rows, not columns)"
    turn = pose[:3, :3]
    volume = float(np.linalg.det(turn))
    if abs(volume) < 1e-6:
        return "is singular: its rotation has the determinant 0"
    if np.abs(turn @ turn.T - np.eye(3)).max() > _SQUARE_TOLERANCE:
        return "isn't rigid: the rows of its rotation aren't of length 1 and at right angles"
    if volume < 0:
        return "is left-handed: its rotation has the determinant -1, so it mirrors (an axis points the wrong way)"
    return ""


def _split(k: tuple[float, ...]) -> tuple[list[float], list[float], float, float]:
    """Numerator's and denominator's coefficients of r^2, r^4, r^6, and the two tangential coefficients."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (*k, *([0.0] * (8 - len(k))))
    return [k1, k2, k3], [k4, k5, k6], p1, p2


def _distorted(k: tuple[float, ...], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    over, under, p1, p2 = _split(k)
    square = x * x + y * y
    radial = _series(over, square) / _series(under, square)
    return (
        x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x),
        y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y,
    )


def _series(k: list[float], square: np.ndarray) -> np.ndarray:
    return 1 + square * (k[0] + square * (k[1] + square * k[2]))


def _slope(k: list[float], square: np.ndarray) -> np.ndarray:
    return k[0] + square * (2 * k[1] + square * 3 * k[2])


def _undistorted(k: tuple[float, ...], to_x: np.ndarray, to_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Invert the distortion by Newton's method, starting at the distorted place."""
    over, under, p1, p2 = _split(k)
    x, y = to_x.copy(), to_y.copy()
    with np.errstate(all="ignore"):  # values outside the model's range become NaN
        for _ in range(_ROUNDS):
            square = x * x + y * y
            top, bottom = _series(over, square), _series(under, square)
            radial = top / bottom
            growth = (_slope(over, square) * bottom - top * _slope(under, square)) / (bottom * bottom)
            at_x, at_y = _distorted(k, x, y)
            off_x, off_y = at_x - to_x, at_y - to_y
            xx = radial + 2 * x * x * growth + 2 * p1 * y + 6 * p2 * x
            xy = 2 * x * y * growth + 2 * p1 * x + 2 * p2 * y
            yy = radial + 2 * y * y * growth + 6 * p1 * y + 2 * p2 * x
            area = xx * yy - xy * xy
            x, y = x - (off_x * yy - off_y * xy) / area, y - (off_y * xx - off_x * xy) / area
            if not (np.maximum(np.abs(off_x), np.abs(off_y)) > _CONVERGED).any():
                break
        at_x, at_y = _distorted(k, x, y)
        # Beyond the radius at which the image folds, a solution is on another branch, where the area is negative.
        good = (np.maximum(np.abs(at_x - to_x), np.abs(at_y - to_y)) < 1e-9) & (area > 0) & (radial > 0)
    return np.where(good, x, np.nan), np.where(good, y, np.nan)


@lru_cache(maxsize=32)
def _rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    pixels = np.stack([u, v, np.ones_like(u)], axis=-1)
    x, y = (np.ascontiguousarray(part) for part in np.moveaxis(camera.unproject(pixels)[..., :2], -1, 0))
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y
