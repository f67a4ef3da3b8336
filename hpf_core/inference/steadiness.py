"""How steady tracked hands are: jitter at rest, and the lag of smoothing in motion, from predictions alone.

Smoothing reduces jitter and adds lag. So both are reported together. No label is needed: jitter is the points' motion
while the hand rests, and lag compares smoothed points with the unsmoothed points of the same frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hpf_core.inference.hands import Hand
from hpf_core.inference.streams import PredictedFrame

_WINDOW_S = 0.5  # over this time, a palm's velocity is a straight line's: noise of single frames averages out
_FEWEST = 5  # frames in a window
_REST_MM_S = 30.0  # a slower palm rests
_MOTION_MM_S = 150.0  # a faster palm moves
_GAP_S = 0.25  # a longer time between two frames divides a recording
_SAME_HAND_MM = 150.0  # a palm moves less between two frames


@dataclass(frozen=True)
class Steadiness:
    """Steadiness of the tracked hands of a recording.

    Attributes:
        rest_frames, motion_frames: frames in which a hand rests (its palm is slower than 30 mm/s) or moves (it is
            faster than 150 mm/s).
        jitter_mm: mean distance of a point from its place in the frame before, at rest; None without such frames.
        unsmoothed_jitter_mm: the same without smoothing.
        lag_ms: mean delay of smoothed points in motion, by least squares; None without such frames.
    """

    rest_frames: int
    motion_frames: int
    jitter_mm: float | None
    unsmoothed_jitter_mm: float | None
    lag_ms: float | None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class _Track:
    """One hand in n consecutive frames: `time` (n) s, `smooth` and `raw` (n, J, 3) mm, `palm` (n, 3) mm, unsmoothed."""

    time: np.ndarray
    smooth: np.ndarray
    raw: np.ndarray
    palm: np.ndarray


def measure_steadiness(recordings: Sequence[Sequence[PredictedFrame]], palm: int) -> Steadiness:
    """Measure jitter and lag of tracked hands.

    Args:
        recordings: the frames of each source, in order.
        palm: index of the palm's centre among the points.
    """
    moves, raw_moves, ahead, along, rest, motion = [], [], 0.0, 0.0, 0, 0
    for track in (track for frames in recordings for track in _tracks(frames, palm)):
        velocity = _velocity(track)
        speed = np.linalg.norm(velocity, axis=-1)
        # A frame's change is at rest if the hand rests in this frame and in the one before.
        resting = (speed < _REST_MM_S)[1:] & (speed < _REST_MM_S)[:-1]
        rest += int(resting.sum())
        moves.append(_steps(track.smooth)[resting])
        raw_moves.append(_steps(track.raw)[resting])
        moving = speed > _MOTION_MM_S
        motion += int(moving.sum())
        # smoothed(t) = raw(t - lag): to first order, raw - smoothed = lag * velocity.
        behind = (track.raw - track.smooth).mean(axis=1)[moving]
        ahead += float((behind * velocity[moving]).sum())
        along += float((velocity[moving] ** 2).sum())
    return Steadiness(
        rest_frames=rest,
        motion_frames=motion,
        jitter_mm=float(np.concatenate(moves).mean()) if rest else None,
        unsmoothed_jitter_mm=float(np.concatenate(raw_moves).mean()) if rest else None,
        lag_ms=1000 * ahead / along if motion else None,
    )


def _steps(points: np.ndarray) -> np.ndarray:
    """(n - 1,) mm, mean motion of points (n, J, 3) from frame to frame."""
    return np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(axis=1)


def _velocity(track: _Track) -> np.ndarray:
    """(n, 3) mm/s, slope of a straight line through the palm's places in a window around each frame.

    It is NaN where the window has too few frames, or doesn't extend to both sides of the frame.
    """
    found = np.full((len(track.time), 3), np.nan)
    for number, time in enumerate(track.time):
        inside = np.abs(track.time - time) <= _WINDOW_S / 2 + 1e-6
        if inside.sum() < _FEWEST or number in (0, len(track.time) - 1):
            continue
        since = track.time[inside] - track.time[inside].mean()
        found[number] = since @ track.palm[inside] / (since @ since)
    return found


def _tracks(frames: Sequence[PredictedFrame], palm: int) -> Iterator[_Track]:
    """The longest stretches of consecutive frames with the same hand, the most confident one of its side."""
    for side in ("right", "left"):
        stretch: list[tuple[float, Hand]] = []
        for frame in frames:
            hand = next((hand for hand in frame.hands if hand.side == side), None)
            if hand is None or (stretch and not _continues(stretch[-1], (frame.time, hand))):
                yield from _track(stretch, palm)
                stretch = []
            if hand is not None:
                stretch.append((frame.time, hand))
        yield from _track(stretch, palm)


def _continues(last: tuple[float, Hand], now: tuple[float, Hand]) -> bool:
    way = float(np.linalg.norm(now[1].centre - last[1].centre))
    return 0 < now[0] - last[0] < _GAP_S and way < _SAME_HAND_MM


def _track(stretch: Sequence[tuple[float, Hand]], palm: int) -> Iterator[_Track]:
    if len(stretch) >= _FEWEST:
        raw = np.array([hand.points if hand.unsmoothed is None else hand.unsmoothed for _, hand in stretch])
        smooth = np.array([hand.points for _, hand in stretch])
        yield _Track(np.array([time for time, _ in stretch]), smooth, raw, raw[:, palm])
