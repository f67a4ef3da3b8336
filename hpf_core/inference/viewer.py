"""The page of predictions: one file without a server and without network access (`viewer.html`)."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Template
from markupsafe import Markup
from PIL import Image

from hpf_core.data.cameras import Camera, Rig
from hpf_core.errors import DataError
from hpf_core.files.cache import write_atomic
from hpf_core.inference.streams import PredictedFrame
from hpf_core.interfaces import HandModel

_TEMPLATE = Path(__file__).with_suffix(".html")
_LONGEST_PX = 320  # longest side of an image on the page: 2,000 frames then need about 20 MB
_RANGE_MM = 600.0  # depth range from the nearest surface to the darkest grey


def view_frame(frame: PredictedFrame) -> dict[str, Any]:
    """A frame for the page: its hands, and for each view a small grey PNG of the depth image with the hands' pixels."""
    camera = frame.camera
    depths: Sequence[np.ndarray | None] = frame.depth if isinstance(frame.depth, list) else [frame.depth]
    views: list[dict[str, Any]] = []
    if isinstance(camera, Rig):
        depths = depths if len(depths) == len(camera.cameras) else [None] * len(camera.cameras)
        for number, (one, depth) in enumerate(zip(camera.cameras, depths, strict=True)):
            views.append(_view(one, depth, frame, camera.from_rig[number]))
            views[-1]["to_space"] = camera.poses[number].round(6).ravel().tolist()
    elif isinstance(camera, Camera):
        views.append(_view(camera, depths[0], frame, np.eye(4)))
    hands = [
        {
            "side": hand.side,
            "confidence": round(hand.confidence, 3),
            "fit_mm": round(hand.fit_mm, 2),
            "iou": round(hand.iou, 3),
            "centre": hand.centre.round(1).tolist(),
            "points": hand.points.round(1).tolist(),
        }
        for hand in frame.hands
    ]
    return {"name": frame.name, "time": round(frame.time, 4), "error": frame.error, "hands": hands, "views": views}


def _view(camera: Camera, depth: np.ndarray | None, frame: PredictedFrame, from_space: np.ndarray) -> dict[str, Any]:
    """One camera's image for the page; `from_space` (4, 4) maps the hands' frame to the camera's."""
    pixels = []
    for hand in frame.hands:
        inside = hand.points @ from_space[:3, :3].T + from_space[:3, 3]
        pixels.append(camera.project(inside)[:, :2].round(1).tolist())
    found = {"size": [camera.width, camera.height], "focal": camera.fx, "pixels": pixels}
    return found if depth is None else found | _image(depth, camera)


def _image(depth: np.ndarray, camera: Camera) -> dict[str, Any]:
    step = max(1, -(-max(camera.width, camera.height) // _LONGEST_PX))
    small = np.nan_to_num(depth[::step, ::step].astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    known = small > 0
    near = float(np.percentile(small[known], 0.5)) if known.any() else 0.0
    return {
        "image": grey_image(small, known, near, _RANGE_MM),
        "near_mm": round(near, 1),
        "range_mm": _RANGE_MM,
        "camera": [camera.fx / step, camera.fy / step, camera.cx / step, camera.cy / step],
    }


def grey_image(depth: np.ndarray, known: np.ndarray, near_mm: float, range_mm: float) -> str:
    """A grey PNG in base64: 255 at `near_mm` and nearer, 1 at `near_mm + range_mm`, 0 beyond and at unknown pixels.

    Args:
        depth: (H, W) mm.
        known: (H, W) bool, pixels with a surface.
        near_mm: depth of the brightest grey.
        range_mm: range of all greys.
    """
    share = ((depth - near_mm) / range_mm).clip(0, 1)
    grey = np.where(known & (share < 1), 255 - share * 254, 0).astype(np.uint8)
    packed = io.BytesIO()
    Image.fromarray(grey).save(packed, "PNG", optimize=False, compress_level=6)
    return base64.b64encode(packed.getvalue()).decode("ascii")


def page(
    frames: Sequence[Mapping[str, Any]],
    links: Iterable[Sequence[int]],
    radii: Sequence[float],
    title: str,
    live: bool = False,
    joints: Sequence[str] = (),
) -> str:
    """The page of frames (`view_frame`).

    Args:
        frames: the frames.
        links: pairs of points that are the ends of a bone.
        radii: (J,) mm of the spheres.
        title: title of the page.
        live: whether frames arrive later, from `events` on the page's own server.
        joints: names of the joints of the frames' `joint_errors`; empty without labels.
    """
    data = {"frames": list(frames), "links": [list(link) for link in links], "radii": list(radii), "live": live}
    data |= {"joints": list(joints)}
    # In a script element, `</` would end it.
    text = json.dumps(data, allow_nan=False).replace("</", "<\\/")
    template = Template(_TEMPLATE.read_text(encoding="utf-8"), autoescape=True)
    return template.render(title=title, data=Markup(text))


def write_page(
    path: Path, frames: Sequence[Mapping[str, Any]], hand: HandModel, title: str, joints: Sequence[str] = ()
) -> None:
    """Write the page of frames (`view_frame`) to a file; arguments as for `page`.

    Raises:
        RunError: the file isn't writable.
    """
    radii = [round(float(radius), 2) for radius in hand.radii]
    text = page(frames, hand.links, radii, title, joints=joints)
    write_atomic(path, lambda temporary: _write(temporary, text))


def read_predictions(path: Path, hand: HandModel) -> list[dict[str, Any]]:
    """The frames of a JSON lines file from `hpf predict` with all points; they have no images.

    Raises:
        DataError: the file isn't such a file.
    """
    frames = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read: {error}.") from error
    for number, line in enumerate(lines, 1):
        try:
            frames.append(_read_frame(json.loads(line), hand))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}:{number} is no line of `hpf predict --out FILE.jsonl` without --joints ({error})."
            ) from error
    return frames


def _read_frame(entry: Mapping[str, Any], hand: HandModel) -> dict[str, Any]:
    hands = []
    for one in entry["hands"]:
        points = [one["joints"][name] for name in hand.names]
        kept = {name: one[name] for name in ("side", "confidence", "fit_mm", "iou", "centre")}
        hands.append({**kept, "points": points})
    pixels = [one["pixels"] for one in entry["hands"]]
    largest = np.max([np.max(each, axis=0) for each in pixels], axis=0) if pixels else np.zeros(2)
    # The file has no size of the image: that of most depth cameras, or as much as the pixels need.
    size = [max(640, int(largest[0]) + 1), max(480, int(largest[1]) + 1)]
    return {
        "name": str(entry["frame"]),
        "time": float(entry["time"]),
        "error": entry.get("error", ""),
        "hands": hands,
        "views": [{"size": size, "pixels": pixels}],
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
