"""`hpf live`: the hands of a stream in the browser.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from hpf_cli import show
from hpf_cli.options import Camera, Hand, Intrinsics, Json, Rate, UnitMm, Weights
from hpf_cli.predict import camera_options
from hpf_core.errors import InputError, nearest

_KINDS = ("replay", "realsense")

if TYPE_CHECKING:
    from hpf_core.inference.live import Arrived
    from hpf_core.inference.predictor import HandPredictor


def live(
    stream: Annotated[
        str,
        typer.Argument(
            metavar="<stream>",
            help="replay:FOLDER plays a folder or a capture at its own speed; realsense[:SERIAL] is a camera.",
            show_default=False,
        ),
    ],
    camera: Camera = None,
    intrinsics: Intrinsics = None,
    unit_mm: UnitMm = 1.0,
    hand: Hand = "auto",
    weights: Weights = "shipped",
    rate: Rate = 30.0,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="<number>", help="Port of the page; 0 for a free one.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Find the hands of a stream and show them in the browser of this machine.

    The page shows the latency. Frames that arrive too fast are dropped, so that the latency stays low. Press Ctrl-C to
    stop. RealSense cameras have their own intrinsics and unit.

    \b
    Example:
        hpf live replay:recording --K 588.03,587.07,320,240
        hpf live realsense
    """
    from hpf_core.inference.live import replayed
    from hpf_core.inference.predictor import SIDES, HandPredictor
    from hpf_core.inference.realsense import RealSense, need_realsense
    from hpf_core.inference.sources import open_source

    kind, _, name = stream.partition(":")
    if kind not in _KINDS or (kind == "replay" and not name):
        raise InputError(f"The stream is '{stream}', but replay:FOLDER, realsense or realsense:SERIAL was expected.")
    if hand not in SIDES:
        raise InputError(f"--hand is '{hand}'. {nearest(hand, SIDES)}")
    if kind == "replay":
        source = open_source(name, camera_options(camera, intrinsics, unit_mm, rate))
        predictor = HandPredictor.load(weights, side=hand)
        _serve(predictor, replayed(source), source.name, port, as_json)
        return
    if camera is not None or intrinsics is not None or unit_mm != 1.0:
        raise InputError("A RealSense camera has its own intrinsics and unit: leave out --camera, --K and --unit-mm.")
    need_realsense()
    predictor = HandPredictor.load(weights, side=hand)
    with RealSense(name, round(rate)) as sensor:
        _serve(predictor, sensor.frames(), sensor.name, port, as_json)


def _serve(predictor: HandPredictor, frames: Iterator[Arrived], title: str, port: int, as_json: bool) -> None:
    """Show a stream until it ends, or until Ctrl-C; then print what was measured."""
    from hpf_core.inference.live import LiveServer

    try:
        server = LiveServer(predictor, frames, title, port)
    except OSError as error:
        raise InputError(f"--port {port} can't be used: {error.strerror or error}.") from error
    show.note(f"open {server.url}")
    with suppress(KeyboardInterrupt):  # the usual end of a stream
        server.run()
    latencies = sorted(server.latencies_ms)
    middle = latencies[len(latencies) // 2] if latencies else 0.0
    document = {
        "frames": len(latencies) + server.dropped,
        "predicted": len(latencies),
        "dropped": server.dropped,
        "median_latency_ms": round(middle, 1),
    }
    if as_json:
        show.emit_json(document)
    else:
        show.result(
            f"{document['predicted']:,} of {document['frames']:,} frames were predicted, {server.dropped:,} dropped; "
            f"median latency {middle:.0f} ms"
        )
