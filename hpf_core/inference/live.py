"""Hands of a stream on a web page: one thread predicts the newest frame, a server on the loopback interface sends it.

Frames are dropped, never queued: a slow network or browser gets the newest frame next. The page receives frames as
server-sent events from the standard library's server.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hpf_core.data.cameras import Camera
from hpf_core.errors import DataError
from hpf_core.inference.predictor import HandPredictor
from hpf_core.inference.sources import DepthFrame, FrameSource
from hpf_core.inference.streams import PredictedFrame
from hpf_core.inference.tracking import HandTracker
from hpf_core.inference.viewer import page, view_frame

LOOPBACK = "127.0.0.1"
_WAIT_S = 0.5  # interval at which a connection checks for the end of the stream


@dataclass(frozen=True)
class Arrived:
    """A frame of a stream.

    Attributes:
        frame: the frame.
        due: time of arrival, by `time.monotonic`.
        dropped: number of frames dropped so far.
    """

    frame: DepthFrame
    due: float
    dropped: int


def replayed(
    source: FrameSource, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Arrived]:
    """The frames of a source at their own rate; frames that end before they are requested are dropped."""
    times, began, first, place, dropped = source.times, clock(), None, 0, 0
    while place < len(source):
        first = times[place] if first is None else first
        passed = clock() - began
        newest = place
        while newest + 1 < len(source) and times[newest + 1] - first <= passed:
            newest += 1
        dropped += newest - place
        due = began + times[newest] - first
        if due > clock():
            sleep(due - clock())
        yield Arrived(source[newest], due, dropped)
        place = newest + 1


class LiveServer:
    """Serves the page and the newest prediction on the loopback interface.

    Args:
        predictor: finds the hands.
        frames: the stream.
        title: title of the page.
        port: port to listen on; 0 for any free port.
    """

    def __init__(self, predictor: HandPredictor, frames: Iterator[Arrived], title: str, port: int = 0) -> None:
        self._predictor, self._frames = predictor, frames
        self._changed = threading.Condition()
        self._newest: tuple[int, str] = (0, "")
        self._ended = False
        self.latencies_ms: list[float] = []
        self.dropped = 0
        hand = predictor.network.hand
        text = page([], hand.links, [float(radius) for radius in hand.radii], title, live=True)
        self._server = ThreadingHTTPServer((LOOPBACK, port), _handler(self, text.encode("utf-8")))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """URL of the page."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}/"

    def run(self) -> None:
        """Predict until the end of the stream, and serve meanwhile."""
        serving = threading.Thread(target=self._server.serve_forever, daemon=True)
        serving.start()
        try:
            self._predict()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            time.sleep(_WAIT_S)  # connections receive the end
            self._server.shutdown()
            self._server.server_close()

    def _predict(self) -> None:
        tracker = HandTracker(self._predictor)
        for arrived in self._frames:
            shown = self._predicted(tracker, arrived.frame)
            latency = 1000 * (time.monotonic() - arrived.due)
            self.latencies_ms.append(latency)
            self.dropped = arrived.dropped
            entry = view_frame(shown) | {"latency_ms": round(latency, 1), "dropped": arrived.dropped}
            with self._changed:
                self._newest = (self._newest[0] + 1, json.dumps(entry, allow_nan=False))
                self._changed.notify_all()

    def _predicted(self, tracker: HandTracker, frame: DepthFrame) -> PredictedFrame:
        depth, camera, error = frame.depth, frame.camera, frame.error
        hands = []
        if isinstance(camera, Camera) and depth is not None and not isinstance(depth, list):
            try:
                hands = tracker.update(depth, camera, frame.time)
            except DataError as wrong:
                depth, error = None, str(wrong)
        return PredictedFrame(frame.name, frame.time, hands, depth, camera, error)

    def events(self) -> Iterator[str | None]:
        """The newest prediction whenever there is a new one; None after a time without one."""
        seen = 0
        while True:
            with self._changed:
                if not self._ended and self._newest[0] == seen:
                    self._changed.wait(_WAIT_S)
                number, text = self._newest
                ended = self._ended
            if number != seen:
                seen = number
                yield text
            elif ended:
                return
            else:
                yield None


def _handler(live: LiveServer, text: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                self._send("text/html; charset=utf-8", text)
            elif self.path == "/events":
                self._stream()
            else:
                self.send_error(404)

        def _send(self, kind: str, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            try:
                for event in live.events():
                    self.wfile.write(f"data: {event}\n\n".encode() if event else b": still here\n\n")
                    self.wfile.flush()
                self.wfile.write(b"event: end\ndata: {}\n\n")
            except (BrokenPipeError, ConnectionResetError):
                return  # the user closed the page

        def log_message(self, format: str, *args: Any) -> None:
            """Do nothing: the terminal is for the stream's figures."""

    return Handler
