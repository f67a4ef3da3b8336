"""A contact sheet of a capture: depth maps around the hand with the annotated joints drawn over them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from hpf_core.data.checks.capture import CaptureReport, SplitReport
from hpf_core.data.layouts import nyu
from hpf_core.errors import DataError
from hpf_core.files.cache import write_atomic

_TILE_PX, _HEAD_PX = 200, 14
_REACH_MM = 150.0  # from the palm to the rim of a tile, and in depth
_ROWS = 12
_FINGERS = 5
_JOINTS_OF_A_FINGER = 6
_PALM = ((30, 31), (30, 35), (31, 33), (35, 34), (33, 34), (34, 32))  # wrist, heel, ball of the thumb, centre
_ROOTS = ((5, 32), (11, 32), (17, 32), (23, 32), (29, 33))  # fingers' knuckles and the thumb's first joint
_COLOURS = ("#ff5a5f", "#ffb400", "#8ce071", "#4fc3f7", "#c792ea", "#ffffff")
_PAPER, _LOST = (24, 24, 28), (70, 20, 20)  # no tile; nothing returned


def capture_sheet(report: CaptureReport, path: Path) -> int:
    """Draw up to 12 frames, spread over all splits, a row for each frame and a column for each view.

    Depth is coloured from near (bright) to far (dark) within 150 mm of the palm, what returned nothing is dark red. A
    frame's number is the one on disk.

    Returns:
        How many frames are on it; where that is 0, nothing is written.

    Raises:
        RunError: the file can't be written.
    """
    rows = list(_rows(report))
    if not rows:
        return 0
    views = max(len(part.views) for part in report.splits)
    sheet = Image.new("RGB", (views * _TILE_PX, len(rows) * (_TILE_PX + _HEAD_PX)), _PAPER)
    for number, (part, frame) in enumerate(rows):
        top = number * (_TILE_PX + _HEAD_PX)
        for column, view in enumerate(part.views):
            tile, remark = _tile(report.root / part.name, part, view, frame)
            sheet.paste(tile, (column * _TILE_PX, top + _HEAD_PX))
            text = f"{part.name} {frame + 1}  view {view + 1}{remark}"
            ImageDraw.Draw(sheet).text((column * _TILE_PX + 3, top + 1), text, fill="white")
    write_atomic(path, lambda file: sheet.save(file, "PNG"))
    return len(rows)


def _rows(report: CaptureReport) -> Iterator[tuple[SplitReport, int]]:
    """Frames in order, as many of each split as of the others, spread over it."""
    parts = [part for part in report.splits if part.frames]
    for number, part in enumerate(parts):
        share = _ROWS * (number + 1) // len(parts) - _ROWS * number // len(parts)
        for frame in np.unique(np.linspace(0, part.frames - 1, min(share, part.frames)).round().astype(int)):
            yield part, int(frame)


def _tile(split: Path, part: SplitReport, view: int, frame: int) -> tuple[Image.Image, str]:
    """The picture of an image, and what is wrong with it."""
    empty = Image.new("RGB", (_TILE_PX, _TILE_PX), _PAPER)
    try:
        depth = nyu.read_depth(nyu.image_path(split, view, frame))
    except DataError:
        return empty, ": missing or damaged"
    joints = _joints(part, view, frame)
    if joints is None:
        seen = depth[nyu.returned(depth)]
        return _coloured(depth, float(np.median(seen)) if seen.size else 0.0).resize(empty.size), ": no labels"
    image = nyu.CAMERA.project(joints)
    u, v, z = image[nyu.PALM_CENTRE]
    reach = _REACH_MM * nyu.CAMERA.fx / z  # pixels
    window = (u - reach, v - reach, u + reach, v + reach)
    picture = _coloured(depth, z).transform(empty.size, Image.Transform.EXTENT, window, Image.Resampling.NEAREST)
    # A pixel's index is its centre, but a picture's coordinates begin at the corner.
    _draw(ImageDraw.Draw(picture), (image[:, :2] + 0.5 - window[:2]) * (_TILE_PX / (2 * reach)))
    return picture, ""


def _joints(part: SplitReport, view: int, frame: int) -> np.ndarray | None:
    """The joints (36, 3) mm of an image, where there are any that can be drawn."""
    if part.annotation is None:
        return None
    xyz = part.annotation.xyz
    if view >= xyz.shape[0] or frame >= xyz.shape[1]:
        return None
    joints = xyz[view, frame]
    return joints if np.isfinite(joints).all() and (joints[:, 2] > 1).all() else None


def _coloured(depth: np.ndarray, middle: float) -> Image.Image:
    """A depth map (H, W) mm in colours, from `middle` - 150 mm to `middle` + 150 mm."""
    share = (middle + _REACH_MM - depth.astype(np.float64)) / (2 * _REACH_MM)
    colours = matplotlib.colormaps["viridis"](np.clip(share, 0, 1), bytes=True)[..., :3]
    lost = np.array(_LOST, dtype=np.uint8)
    return Image.fromarray(np.where(nyu.returned(depth)[..., None], colours, lost))


def _draw(canvas: ImageDraw.ImageDraw, at: np.ndarray) -> None:
    """The skeleton of joints (36, 2), pixels of the canvas; the 14 evaluated joints are larger."""
    starts = range(0, _FINGERS * _JOINTS_OF_A_FINGER, _JOINTS_OF_A_FINGER)
    fingers = [pairwise(range(start, start + _JOINTS_OF_A_FINGER)) for start in starts]
    links = [*([*chain, root] for chain, root in zip(fingers, _ROOTS, strict=True)), _PALM]
    for pairs, colour in zip(links, _COLOURS, strict=True):
        for one, other in pairs:
            canvas.line([*at[one], *at[other]], fill=colour)
    for joint, (x, y) in enumerate(at):
        radius = 2.5 if joint in nyu.EVALUATED else 1.0
        colour = _COLOURS[min(joint // _JOINTS_OF_A_FINGER, _FINGERS)]
        canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour, outline="black")
