"""Jitter at rest and lag in motion, on hands whose noise and delay are known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from hpf_core.inference.hands import Hand
from hpf_core.inference.steadiness import measure_steadiness
from hpf_core.inference.streams import PredictedFrame

RATE, POINTS = 30.0, 6


def hand(smooth: np.ndarray, raw: np.ndarray | None = None, side: str = "right") -> Hand:
    crop: Any = None
    return Hand(
        side=side, names=tuple("abcdef"), points=smooth, pixels=smooth[:, :2], spread_mm=np.zeros(POINTS), fit_mm=1.0,
        iou=1.0, confidence=1.0, centre=smooth[0].copy(), crop=crop, upside_down=False, annotations={}, unsmoothed=raw,
    )  # fmt: skip


def recording(smooth: np.ndarray, raw: np.ndarray | None = None, side: str = "right") -> list[PredictedFrame]:
    """Frames of points (F, J, 3) mm."""
    hands = [hand(smooth[k], None if raw is None else raw[k], side) for k in range(len(smooth))]
    return [PredictedFrame(str(k), k / RATE, [one], None, None) for k, one in enumerate(hands)]


def moving(speed: float, delay_s: float, frames: int = 60) -> np.ndarray:
    """(F, J, 3) mm, points along x, `delay_s` behind."""
    time = np.arange(frames) / RATE - delay_s
    return speed * time[:, None, None] * np.array([1.0, 0, 0]) + np.arange(POINTS)[:, None]


def test_jitter_of_a_resting_hand_is_its_change_from_frame_to_frame():
    noise = np.random.default_rng(0).normal(0, 1.0, (600, POINTS, 3))
    found = measure_steadiness([recording(0.25 * noise, noise)], palm=0)
    # The distance of two points with a deviation of 1 mm along each axis: sqrt(2) times the mean of a chi distribution.
    expected = np.sqrt(2) * np.sqrt(8 / np.pi)
    assert found.unsmoothed_jitter_mm == pytest.approx(expected, rel=0.03)
    assert found.jitter_mm == pytest.approx(0.25 * expected, rel=0.03)
    assert found.rest_frames > 550
    assert (found.motion_frames, found.lag_ms) == (0, None)


@pytest.mark.parametrize("speed", [200.0, 900.0])
def test_lag_is_the_delay_of_a_moving_hand(speed):
    raw = moving(speed, 0.0) + np.random.default_rng(0).normal(0, 0.5, (60, POINTS, 3))
    found = measure_steadiness([recording(moving(speed, 0.020), raw)], palm=0)
    assert found.lag_ms == pytest.approx(20.0, abs=1.0)
    assert found.motion_frames > 40
    assert (found.rest_frames, found.jitter_mm) == (0, None)


def test_hands_of_other_sides_recordings_and_times_are_not_joined():
    still = np.zeros((20, POINTS, 3))
    frames = recording(still, still) + recording(still + 100.0, still + 100.0, side="left")
    frames = [PredictedFrame(f.name, k / RATE, f.hands, None, None) for k, f in enumerate(frames)]
    assert measure_steadiness([frames], palm=0).jitter_mm == 0
    apart = recording(still, still)
    late = [PredictedFrame(f.name, f.time + 10, [hand(f.hands[0].points + 60)], None, None) for f in apart]
    found = measure_steadiness([apart + late, apart], palm=0)
    assert found.jitter_mm == 0  # the jump between them is no motion of a frame
    lost = [PredictedFrame(f.name, f.time, [], None, None) for f in apart]
    nothing = measure_steadiness([lost, apart[:4], []], palm=0)
    assert json.loads(json.dumps(nothing.document())) == {
        "rest_frames": 0, "motion_frames": 0, "jitter_mm": None, "unsmoothed_jitter_mm": None, "lag_ms": None,
    }  # fmt: skip
