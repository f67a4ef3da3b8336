"""Predictions of a source, frame by frame, for commands and viewers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpf_core.data.cameras import Camera, Rig
from hpf_core.errors import DataError
from hpf_core.inference.hands import Hand
from hpf_core.inference.predictor import HandPredictor
from hpf_core.inference.sources import DepthFrame, FrameSource
from hpf_core.inference.tracking import HandTracker

_BATCH = 16  # images whose crops share a batch of the network, if images are independent


@dataclass(frozen=True, eq=False)
class PredictedFrame:
    """The hands of a frame.

    Attributes:
        name: name of the frame.
        time: seconds.
        hands: the hands, the most confident first.
        depth: (H, W) mm, or one image for each view; None if unreadable.
        camera: camera of the image, or the rig.
        error: reason of an unreadable frame, or an empty text.
    """

    name: str
    time: float
    hands: list[Hand]
    depth: np.ndarray | list[np.ndarray] | None = field(repr=False)
    camera: Camera | Rig | None = field(repr=False)
    error: str = ""

    def document(self, annotation: str | None = None) -> dict[str, Any]:
        """The document of a JSON line."""
        entry: dict[str, Any] = {"frame": self.name, "time": round(self.time, 6)}
        if self.error:
            entry["error"] = self.error
        return entry | {"hands": [hand.document(annotation, self.camera) for hand in self.hands]}

    def save(self, path: Path | str, annotation: str | None = None) -> None:
        """Append the frame to a file of JSON lines."""
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.document(annotation), allow_nan=False) + "\n")


def predict_source(predictor: HandPredictor, source: FrameSource, track: bool) -> Iterator[PredictedFrame]:
    """The hands of a source's frames, in order.

    Args:
        predictor: finds the hands.
        source: the frames.
        track: whether the frames are consecutive in time: hands are then tracked and smoothed.
    """
    if track:
        yield from _tracked(predictor, source)
        return
    waiting: list[DepthFrame] = []
    for frame in source:
        waiting.append(frame)
        if len(waiting) == _BATCH:
            yield from _batch(predictor, waiting)
            waiting = []
    yield from _batch(predictor, waiting)


def _tracked(predictor: HandPredictor, source: FrameSource) -> Iterator[PredictedFrame]:
    tracker = HandTracker(predictor)
    rig: Rig | None = None
    for frame in source:
        if isinstance(frame.camera, Rig) and frame.camera is not rig:
            tracker.reset()  # a moment without all views may have another camera's frame
            rig = frame.camera
        if frame.camera is not None and frame.depth is not None:
            try:
                yield _predicted(frame, tracker.update(frame.depth, frame.camera, frame.time))
            except DataError as error:
                yield _refused(frame, error)
        else:
            yield from _batch(predictor, [frame])


def _batch(predictor: HandPredictor, frames: list[DepthFrame]) -> Iterator[PredictedFrame]:
    single = [frame for frame in frames if isinstance(frame.depth, np.ndarray) and isinstance(frame.camera, Camera)]
    found: dict[int, list[Hand]] = {}
    errors: dict[int, DataError] = {}
    try:
        depths = [frame.depth for frame in single if isinstance(frame.depth, np.ndarray)]
        cameras = [frame.camera for frame in single if isinstance(frame.camera, Camera)]
        together = predictor.batch(depths, cameras)
        found = {id(frame): hands for frame, hands in zip(single, together, strict=True)}
    except DataError:
        for frame in single:  # one of them is wrong: determine which
            _alone(predictor, frame, found, errors)
    for frame in frames:
        if frame.camera is not None and id(frame) not in found and id(frame) not in errors:
            _alone(predictor, frame, found, errors)
        if id(frame) in errors:
            yield _refused(frame, errors[id(frame)])
        else:
            yield _predicted(frame, found.get(id(frame), []))


def _alone(
    predictor: HandPredictor, frame: DepthFrame, found: dict[int, list[Hand]], errors: dict[int, DataError]
) -> None:
    assert frame.depth is not None
    assert frame.camera is not None
    try:
        found[id(frame)] = predictor(frame.depth, frame.camera)
    except DataError as error:
        errors[id(frame)] = error


def _predicted(frame: DepthFrame, hands: list[Hand]) -> PredictedFrame:
    return PredictedFrame(frame.name, frame.time, hands, frame.depth, frame.camera, frame.error)


def _refused(frame: DepthFrame, error: DataError) -> PredictedFrame:
    return PredictedFrame(frame.name, frame.time, [], None, None, f"{frame.name}: {error}")
