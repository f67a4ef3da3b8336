"""Validates users' depth images before any search."""

from __future__ import annotations

import numpy as np

from hpf_core.data.cameras import Camera
from hpf_core.errors import DataError
from hpf_core.inference.search import Image

_METRES = 20.0  # a depth image with a nearer farthest surface isn't in mm
_NEAREST_MM, _FARTHEST_MM = 50.0, 20_000.0  # range of the median depth of hand cameras' images


def as_image(depth: np.ndarray, camera: Camera) -> Image:
    """A depth image (H, W) mm of any real type; 0, negative numbers, NaN and infinity mean no return.

    Raises:
        DataError: the array isn't a depth image, differs in size from the camera, or can't be in mm.
    """
    if depth.ndim != 2:
        channels = depth.ndim == 3 and depth.shape[2] in (3, 4)
        hint = ": it looks like a colour image" if channels else ""
        raise DataError(f"A depth image has two axes, (H, W), but this one has the shape {depth.shape}{hint}.")
    if depth.dtype.kind not in "fiu":
        raise DataError(f"A depth image holds numbers, mm, but this one holds {depth.dtype.name} values.")
    if depth.shape != (camera.height, camera.width):
        raise DataError(
            f"The depth image is {depth.shape[1]} x {depth.shape[0]} pixels, but its camera is {camera.width} x "
            f"{camera.height}. Give the camera of this resolution."
        )
    if depth.dtype.kind == "f":
        depth = np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32, copy=False)
    elif depth.dtype != np.uint16:
        depth = np.clip(depth, 0, np.iinfo(np.uint16).max).astype(np.uint16)
    returned = depth > 0
    _check_unit(depth)
    return Image(depth, returned, camera)


def _check_unit(depth: np.ndarray) -> None:
    seen = depth[::8, ::8]
    seen = seen[seen > 0]
    if not seen.size:
        return
    middle, far = float(np.median(seen)), float(seen.max())
    if far < _METRES:
        raise DataError(
            f"The depth image's values go up to {far:g}, so they can't be mm: it looks like metres. Multiply them by "
            "1000, or give --unit-mm 1000."
        )
    if not _NEAREST_MM <= middle <= _FARTHEST_MM:
        guess = "units of 0.1 mm (--unit-mm 0.1) or finer" if middle > _FARTHEST_MM else "centimetres (--unit-mm 10)"
        raise DataError(
            f"The middle of the depth image's values is {middle:g}, so they can't be mm of a hand's surroundings: it "
            f"looks like {guess}."
        )
