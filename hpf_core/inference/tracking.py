"""Hands over time: the last estimate gives the next crop, the side stays fixed, and points are smoothed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hpf_core.data.cameras import Camera, Rig
from hpf_core.inference.hands import Hand
from hpf_core.inference.one_euro import OneEuro, OneEuroOptions
from hpf_core.inference.predictor import HandPredictor
from hpf_core.inference.search import Place

_AGREEING = 5  # consecutive frames with the same side, after which the other side isn't tried
_SAME_HAND_MM = 150.0  # a palm moves less between frames
_STEADY_MM = 15.0  # a crop stays where it is until the palm is expected farther from its centre
_FORGET_S = 0.5  # a hand lost for longer is searched like a new one


@dataclass
class _Track:
    """A tracked hand.

    Attributes:
        hand: the last estimate, unsmoothed.
        time: time of the last estimate, seconds.
        start: (3,) mm, centre of the crop in which it was found; for a rig, the place at which it was searched.
        agreed: number of consecutive frames with the same side.
        velocity: (3,) mm/s, velocity of the palm.
        smooth: its filter, or None.
    """

    hand: Hand
    time: float
    smooth: OneEuro | None
    start: np.ndarray
    agreed: int = 1
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))


class HandTracker:
    """Finds hands in successive depth images.

    If the last image had a hand, the tracker crops the next image there first. It searches the entire image only if
    that crop shows no hand. A hand's side is fixed after five frames with the same side, until the hand is lost.

    Args:
        predictor: finds the hands.
        smoothing: the one-euro filter's parameters; None for unsmoothed points.
    """

    def __init__(self, predictor: HandPredictor, smoothing: OneEuroOptions | None = OneEuroOptions()) -> None:  # noqa: B008
        self.predictor, self.smoothing = predictor, smoothing
        self._tracks: list[_Track] = []

    def update(self, depth: np.ndarray | Sequence[np.ndarray], camera: Camera | Rig, time: float) -> list[Hand]:
        """The hands of the next image, or of the next moment in several cameras.

        Args:
            depth: (H, W) mm, as for `HandPredictor`; with a rig, one image for each of its cameras.
            camera: camera of the image, or rig of the images: the same rig in each call.
            time: seconds, later than the last image's time.
        """
        tracks = [track for track in self._tracks if 0 < time - track.time <= _FORGET_S]
        starts = [Place(self._start(track, time), track.hand.upside_down) for track in tracks]
        held = [track.hand.side for track in tracks if track.agreed >= _AGREEING]
        only = held[0] if len(held) == 1 and self.predictor.side != "both" else None
        hands = self.predictor(depth, camera, starts=starts, only=only)
        if not hands and only is not None:
            hands = self.predictor(depth, camera)
        self._tracks, smoothed = [], []
        for hand in hands:
            track = self._followed(hand, tracks, time, isinstance(camera, Rig))
            self._tracks.append(track)
            smoothed.append(self._smoothed(hand, track, camera, time))
        return smoothed

    def reset(self) -> None:
        """Drop all hands: the next image belongs to another recording."""
        self._tracks = []

    def _start(self, track: _Track, time: float) -> np.ndarray:
        """(3,) mm, centre of the next crop: the palm's expected place, or the last crop's centre if that is near.

        Another crop of the same hand gives points that differ by some mm. So the crop of a resting hand stays the same.
        """
        expected = track.hand.centre + self._ahead(track, time)
        return track.start if np.linalg.norm(expected - track.start) < _STEADY_MM else expected

    def _ahead(self, track: _Track, time: float) -> np.ndarray:
        """(3,) mm, expected motion of the palm since its last estimate at constant velocity."""
        way = track.velocity * (time - track.time)
        length = float(np.linalg.norm(way))
        return way * min(1.0, _SAME_HAND_MM / 3 / max(length, 1e-9))

    def _followed(self, hand: Hand, tracks: list[_Track], time: float, is_rig: bool) -> _Track:
        # A rig's hand has one crop for each view. Its palm was at the place of the search, or became the next one.
        start = hand.centre if is_rig else hand.crop.to_camera[:3, 3]
        for track in tracks:
            way = hand.centre - track.hand.centre
            if hand.side == track.hand.side and np.linalg.norm(way) < _SAME_HAND_MM:
                passed = time - track.time
                if is_rig and np.linalg.norm(hand.centre - track.start) < _STEADY_MM:
                    start = track.start
                return _Track(hand, time, track.smooth, start, track.agreed + 1, way / passed)
        return _Track(hand, time, None if self.smoothing is None else OneEuro(self.smoothing), start)

    def _smoothed(self, hand: Hand, track: _Track, camera: Camera | Rig, time: float) -> Hand:
        if track.smooth is None:
            return hand
        points = track.smooth(hand.points, time)
        palm = points[self.predictor.network.hand.palm_centre].copy()
        pixels = hand.pixels_at(points, camera)
        return dataclasses.replace(hand, points=points, pixels=pixels, centre=palm, unsmoothed=hand.points)
