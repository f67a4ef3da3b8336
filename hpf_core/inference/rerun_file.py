"""Recordings for the viewer Rerun (`.rrd`), by the package rerun-sdk: depth images, cameras and hands over time.

Everything is in millimetres, in the frame of the camera or of the rig. The layout follows Rerun's examples: a pinhole
and its depth image at the same entity, and hands as points with connected key points.
"""

from __future__ import annotations

import importlib
import io
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from hpf_core.data.cameras import Camera, Rig
from hpf_core.errors import InputError, RunError
from hpf_core.inference.streams import PredictedFrame
from hpf_core.interfaces import HandModel

_EXTRA = "pip install 'hand-pose-fitting[rerun]'"
_SIDES = {"right": (0, (240, 140, 40)), "left": (1, (70, 160, 240))}


def need_rerun() -> Any:
    """The package rerun.

    Raises:
        InputError: it isn't installed.
    """
    try:
        return importlib.import_module("rerun")
    except ImportError as error:
        raise InputError(f"Files .rrd need the package rerun-sdk, which isn't installed: {_EXTRA}.") from error


class RerunFile:
    """Writes frames to a file, one after the other. The file appears at the end, or not at all after an error.

        with RerunFile(Path("hands.rrd"), hand) as file:
            file.add(frame)

    Entities: `/rig/view1/depth` (pinhole and depth image), `/rig/view1` (the camera's pose), `/rig/right` and
    `/rig/left` (points), `/confidence/right` and `/fit_mm/right` (curves), `/problems` (texts). Timelines: `frame` (a
    number) and `time` (seconds).

    Args:
        path: the file.
        hand: the hand model of the frames.

    Raises:
        InputError: the package isn't installed.
        RunError: the file isn't writable.
    """

    def __init__(self, path: Path, hand: HandModel) -> None:
        self._rerun = need_rerun()
        self._path, self._hand = path, hand
        self._radii = [round(float(radius), 3) for radius in hand.radii]
        self._count = 0
        self._cameras: Camera | Rig | None = None

    def __enter__(self) -> RerunFile:
        rr, blueprint = self._rerun, importlib.import_module("rerun.blueprint")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{self._path.stem}-", suffix=".rrd", dir=self._path.parent)
        except OSError as error:
            raise RunError(f"Can't write {self._path}: {error.strerror or error}.") from error
        os.close(handle)
        self._temporary = Path(name)
        self._stream = rr.RecordingStream("hpf")
        shown = blueprint.Horizontal(
            blueprint.Spatial3DView(origin="/rig"),
            blueprint.Vertical(
                blueprint.Spatial2DView(origin="/rig/view1/depth"), blueprint.TimeSeriesView(origin="/confidence")
            ),
        )
        self._stream.save(str(self._temporary), default_blueprint=blueprint.Blueprint(shown))
        self._stream.log("/rig", rr.ViewCoordinates.RDF, static=True)
        self._stream.log("/rig", self._skeleton(), static=True)
        return self

    def _skeleton(self) -> Any:
        """The hand's names and links, in the colours of each side."""
        rr = self._rerun
        points = [rr.AnnotationInfo(id=k, label=name) for k, name in enumerate(self._hand.names)]
        links = [tuple(link) for link in self._hand.links]
        return rr.AnnotationContext(
            [
                rr.ClassDescription(
                    info=rr.AnnotationInfo(id=number, label=side, color=colour),
                    keypoint_annotations=points,
                    keypoint_connections=links,
                )
                for side, (number, colour) in _SIDES.items()
            ]
        )

    def add(self, frame: PredictedFrame) -> None:
        """Write a frame, with its depth images if it has them."""
        rr, stream = self._rerun, self._stream
        stream.set_time("frame", sequence=self._count)
        stream.set_time("time", duration=frame.time)
        self._count += 1
        self._images(frame)
        for side, (number, _) in _SIDES.items():
            hand = next((hand for hand in frame.hands if hand.side == side), None)
            if hand is None:
                stream.log(f"/rig/{side}", rr.Clear(recursive=False))
                continue
            shown = rr.Points3D(
                hand.points, radii=self._radii, class_ids=number, keypoint_ids=np.arange(len(hand.points))
            )
            stream.log(f"/rig/{side}", shown)
            stream.log(f"/confidence/{side}", rr.Scalars(hand.confidence))
            stream.log(f"/fit_mm/{side}", rr.Scalars(hand.fit_mm))
        if frame.error or not frame.hands:
            stream.log("/problems", rr.TextLog(f"{frame.name}: {frame.error or 'no hand'}"))

    def _images(self, frame: PredictedFrame) -> None:
        rr, camera = self._rerun, frame.camera
        if camera is None:
            return
        cameras = camera.cameras if isinstance(camera, Rig) else (camera,)
        poses = camera.poses if isinstance(camera, Rig) else np.eye(4)[None]
        depths = frame.depth if isinstance(frame.depth, list) else [frame.depth]
        changed, self._cameras = camera is not self._cameras, camera
        for number, (one, pose) in enumerate(zip(cameras, poses, strict=True)):
            place = f"/rig/view{number + 1}"
            if changed:
                self._stream.log(place, rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
                pinhole = rr.Pinhole(
                    resolution=[one.width, one.height],
                    focal_length=[one.fx, one.fy],
                    principal_point=[one.cx + 0.5, one.cy + 0.5],  # here, whole numbers are corners of pixels
                    camera_xyz=rr.ViewCoordinates.RDF,
                )
                self._stream.log(f"{place}/depth", pinhole)
            depth = depths[number] if number < len(depths) else None
            if depth is not None:
                image = rr.EncodedDepthImage(blob=_png(depth), media_type="image/png", meter=1.0)
                self._stream.log(f"{place}/depth", image)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stream.flush()
            self._stream.disconnect()
            if kind is None:
                umask = os.umask(0)
                os.umask(umask)
                self._temporary.chmod(0o666 & ~umask)
                self._temporary.replace(self._path)
        except OSError as wrong:
            raise RunError(f"Can't write {self._path}: {wrong.strerror or wrong}.") from wrong
        finally:
            self._temporary.unlink(missing_ok=True)


def _png(depth: np.ndarray) -> bytes:
    """A 16-bit PNG image of a depth image (H, W) mm; pixels without a return are 0."""
    whole = np.nan_to_num(np.asarray(depth, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0).round()
    packed = io.BytesIO()
    Image.fromarray(whole.clip(0, 65535).astype(np.uint16)).save(packed, "PNG", compress_level=3)
    return packed.getvalue()
