"""Hands over time: they are followed, their side is held, and what smooths them does what it says."""

from __future__ import annotations

import numpy as np
import pytest

from hpf_core.bench.scenes import raw_frame
from hpf_core.data.cameras import Rig
from hpf_core.data.layouts import nyu
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.one_euro import OneEuro, OneEuroOptions
from hpf_core.inference.predictor import HandPredictor
from hpf_core.inference.tracking import HandTracker

RATE = 30.0


def test_the_filter_removes_noise_at_rest():
    noise = np.random.default_rng(0).normal(0, 3, (120, 5, 3))
    smooth = OneEuro()
    out = np.array([smooth(points, k / RATE) for k, points in enumerate(noise)])
    assert out[30:].std() < 0.5 * noise[30:].std()


def test_the_filter_follows_what_moves():
    place = np.linspace(0, 600, 60)[:, None, None] * np.ones((1, 5, 3))  # 300 mm/s along each axis
    smooth = OneEuro()
    out = np.array([smooth(points, k / RATE) for k, points in enumerate(place)])
    lag = (place[-1] - out[-1]).mean() / (place[-1] - place[-2]).mean() / RATE
    assert 0 <= lag < 0.03
    slow = OneEuro(OneEuroOptions(beta=0.0))
    late = np.array([slow(points, k / RATE) for k, points in enumerate(place)])
    assert (place[-1] - late[-1]).mean() > 5 * (place[-1] - out[-1]).mean()


def test_the_filter_begins_anew_when_time_does():
    smooth = OneEuro()
    smooth(np.zeros((2, 3)), 1.0)
    assert np.array_equal(smooth(np.full((2, 3), 50.0), 1.0), np.full((2, 3), 50.0))
    smooth.reset()
    assert np.array_equal(smooth(np.full((2, 3), 9.0), 2.0), np.full((2, 3), 9.0))


@pytest.fixture(scope="module")
def predictor() -> HandPredictor:
    return HandPredictor(load_network("shipped"))


@pytest.fixture(scope="module")
def depth(predictor, tmp_path_factory) -> np.ndarray:
    seen = nyu.read_depth(raw_frame(predictor.network.hand, tmp_path_factory.mktemp("frame")).path)
    return np.where(nyu.returned(seen), seen, 0).astype(np.uint16)


def test_a_moving_hand_is_followed_with_less_work(predictor, depth, monkeypatch):
    tracker = HandTracker(predictor, None)
    shown = []
    estimate = predictor.network.network

    def counted(maps):
        shown[-1] += len(maps)
        return estimate(maps)

    object.__setattr__(predictor.network, "network", counted)
    try:
        places = []
        for k in range(9):
            shown.append(0)
            moved = np.roll(depth, 6 * k, axis=1)
            (hand,) = tracker.update(moved, nyu.CAMERA, k / RATE)
            places.append(hand.centre)
    finally:
        object.__setattr__(predictor.network, "network", estimate)
    assert {hand.side} == {"right"}
    steps = np.diff(np.array(places), axis=0)
    # 6 pixels at 0.85 m are 8.7 mm.
    assert np.abs(steps[:, 0] - 8.7).max() < 9
    assert shown[-1] == 1  # the side is held, and no other place is tried


def test_a_lost_hand_is_searched_again(predictor, depth):
    tracker = HandTracker(predictor)
    for k in range(6):
        tracker.update(depth, nyu.CAMERA, k / RATE)
    assert tracker.update(np.full_like(depth, 1500), nyu.CAMERA, 6 / RATE) == []
    # The left hand of the mirror image: the right one isn't held for ever.
    (hand,) = tracker.update(np.ascontiguousarray(depth[:, ::-1]), nyu.CAMERA.mirrored(), 7 / RATE)
    assert hand.side == "left"
    tracker.reset()
    (hand,) = tracker.update(depth, nyu.CAMERA, 8 / RATE)
    assert hand.side == "right"


def test_hands_of_a_rig_are_tracked(predictor, depth):
    """Two cameras with the same image: the second one stands 10 mm to the right, and so does its hand."""
    pose = np.eye(4)
    pose[:3, 3] = [10.0, 0, 0]
    rig = Rig((nyu.CAMERA, nyu.CAMERA), np.stack([np.eye(4), pose]))
    tracker, shown = HandTracker(predictor), []
    estimate = predictor.network.network

    def counted(maps):
        shown[-1] += len(maps)
        return estimate(maps)

    object.__setattr__(predictor.network, "network", counted)
    try:
        hands = []
        for k in range(9):
            shown.append(0)
            (hand,) = tracker.update([depth, depth], rig, k / RATE)
            hands.append(hand)
    finally:
        object.__setattr__(predictor.network, "network", estimate)
    (alone,) = predictor([depth, depth], rig)
    assert np.linalg.norm(hands[-1].points - alone.points, axis=1).mean() < 8
    assert np.allclose(hands[-1].pixels, nyu.CAMERA.project(hands[-1].points)[:, :2])
    assert hands[-1].unsmoothed is not None
    assert np.array_equal(hands[-1].unsmoothed, hands[-2].unsmoothed)  # the crops stay where they are
    assert (shown[0], shown[-1]) == (4, 2)  # both sides in both views; then only the side that is held
