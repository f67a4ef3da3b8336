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
_LONGEST_PX = 320  # longest side of an image on the page: 2,000 frames then need about 30 MB
_RANGE_MM = 600.0  # depth range from the nearest surface to the darkest grey


def view_frame(frame: PredictedFrame) -> dict[str, Any]:
    """A frame for the page: hands, and the (first) depth image as a small grey PNG."""
    entry: dict[str, Any] = {"name": frame.name, "time": round(frame.time, 4), "error": frame.error, "hands": []}
    for hand in frame.hands:
        entry["hands"].append(
            {
                "side": hand.side,
                "confidence": round(hand.confidence, 3),
                "fit_mm": round(hand.fit_mm, 2),
                "iou": round(hand.iou, 3),
                "centre": hand.centre.round(1).tolist(),
                "points": hand.points.round(1).tolist(),
                "pixels": hand.pixels.round(1).tolist(),
            }
        )
    depth, camera = frame.depth, frame.camera
    if isinstance(camera, Rig):
        camera, depth = camera.cameras[0], None if depth is None else depth[0]
    if isinstance(camera, Camera):
        entry |= {"size": [camera.width, camera.height], "focal": camera.fx}
        if isinstance(depth, np.ndarray):
            entry |= _image(depth, camera)
    return entry


def _image(depth: np.ndarray, camera: Camera) -> dict[str, Any]:
    step = max(1, -(-max(camera.width, camera.height) // _LONGEST_PX))
    small = np.nan_to_num(depth[::step, ::step].astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    known = small > 0
    near = float(np.percentile(small[known], 0.5)) if known.any() else 0.0
    share = ((small - near) / _RANGE_MM).clip(0, 1)
    grey = np.where(known & (share < 1), 255 - share * 254, 0).astype(np.uint8)
    packed = io.BytesIO()
    Image.fromarray(grey).save(packed, "PNG", optimize=False, compress_level=6)
    return {
        "image": base64.b64encode(packed.getvalue()).decode("ascii"),
        "near_mm": round(near, 1),
        "range_mm": _RANGE_MM,
        "camera": [camera.fx / step, camera.fy / step, camera.cx / step, camera.cy / step],
    }


def page(
    frames: Sequence[Mapping[str, Any]],
    links: Iterable[Sequence[int]],
    radii: Sequence[float],
    title: str,
    live: bool = False,
) -> str:
    """The page of frames (`view_frame`).

    Args:
        frames: the frames.
        links: pairs of points that are the ends of a bone.
        radii: (J,) mm of the spheres.
        title: title of the page.
        live: whether frames arrive later, from `events` on the page's own server.
    """
    data = {"frames": list(frames), "links": [list(link) for link in links], "radii": list(radii), "live": live}
    # In a script element, `</` would end it.
    text = json.dumps(data, allow_nan=False).replace("</", "<\\/")
    template = Template(_TEMPLATE.read_text(encoding="utf-8"), autoescape=True)
    return template.render(title=title, data=Markup(text))


def write_page(path: Path, frames: Sequence[Mapping[str, Any]], hand: HandModel, title: str) -> None:
    """Write the page of frames (`view_frame`) to a file.

    Raises:
        RunError: the file isn't writable.
    """
    radii = [round(float(radius), 2) for radius in hand.radii]
    text = page(frames, hand.links, radii, title)
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
        kept = {name: one[name] for name in ("side", "confidence", "fit_mm", "iou", "centre", "pixels")}
        hands.append({**kept, "points": points})
    return {"name": str(entry["frame"]), "time": float(entry["time"]), "error": entry.get("error", ""), "hands": hands}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
