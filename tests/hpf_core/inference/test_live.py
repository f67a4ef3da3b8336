"""A stream on a page: frames come at their pace, late ones are dropped, and the newest prediction is sent on."""

from __future__ import annotations

import json
import threading
import urllib.request

import numpy as np
import pytest
from PIL import Image

from hpf_core.bench.scenes import raw_frame
from hpf_core.data.layouts import nyu
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.live import LOOPBACK, LiveServer, replayed
from hpf_core.inference.predictor import HandPredictor
from hpf_core.inference.sources import CameraOptions, open_source


@pytest.fixture(scope="module")
def predictor() -> HandPredictor:
    return HandPredictor(load_network(), "right")


@pytest.fixture(scope="module")
def source(predictor, tmp_path_factory):
    place = tmp_path_factory.mktemp("recording")
    seen = nyu.read_depth(raw_frame(predictor.network.hand, tmp_path_factory.mktemp("frame")).path)
    depth = np.where(nyu.returned(seen), seen, 0).astype(np.uint16)
    for number in range(6):
        Image.fromarray(np.roll(depth, 3 * number, axis=1)).save(place / f"{number:06d}.png")
    return open_source(place, CameraOptions(camera=nyu.CAMERA, rate_hz=10.0))


def test_frames_that_are_over_are_dropped(source):
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    frames = replayed(source, clock=lambda: now[0], sleep=sleep)
    first = next(frames)
    assert (first.dropped, now[0]) == (0, 0.0)
    now[0] = 0.25  # whoever asks took so long: frame 1 is over
    second = next(frames)
    assert second.frame.name.endswith("000002.png")
    assert second.dropped == 1
    assert second.due == pytest.approx(0.2)
    rest = list(frames)
    assert [arrived.frame.name[-10:] for arrived in rest] == ["000003.png", "000004.png", "000005.png"]
    assert now[0] == pytest.approx(0.5)  # it waited for them


def test_the_page_and_the_newest_prediction_are_served(predictor, source):
    server = LiveServer(predictor, replayed(source), "trial")
    assert server.url.startswith(f"http://{LOOPBACK}:")
    running = threading.Thread(target=server.run)
    running.start()
    events = []
    with urllib.request.urlopen(server.url + "events", timeout=60) as stream:
        for line in stream:
            text = line.decode()
            if text.startswith("event: end"):
                break
            if text.startswith("data: {"):
                events.append(json.loads(text[6:]))
                if len(events) == 1:
                    with urllib.request.urlopen(server.url, timeout=60) as page:
                        assert b"EventSource" in page.read()
    running.join(timeout=60)
    assert not running.is_alive()
    assert events
    assert all(event["hands"][0]["side"] == "right" for event in events)
    assert events[-1]["name"].endswith("000005.png")
    assert events[-1]["latency_ms"] > 0
    assert len(server.latencies_ms) + server.dropped == 6
