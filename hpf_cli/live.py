"""`hpf live`: the hands of a stream in the browser.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

from typing import Annotated

import typer

from hpf_cli import show
from hpf_cli.options import Camera, Hand, Intrinsics, Json, Rate, UnitMm, Weights
from hpf_cli.predict import camera_options
from hpf_core.errors import InputError, nearest

_REPLAY = "replay:"


def live(
    stream: Annotated[
        str,
        typer.Argument(
            metavar="<stream>", help="replay:FOLDER plays a folder or a capture at its own speed.", show_default=False
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
    stop.

    \b
    Example:
        hpf live replay:recording --K 588.03,587.07,320,240
    """
    from hpf_core.inference.live import LiveServer, replayed
    from hpf_core.inference.predictor import SIDES, HandPredictor
    from hpf_core.inference.sources import open_source

    if not stream.startswith(_REPLAY):
        raise InputError(f"The stream is '{stream}', but replay:DIR was expected. Cameras: record, then replay.")
    if hand not in SIDES:
        raise InputError(f"--hand is '{hand}'. {nearest(hand, SIDES)}")
    source = open_source(stream.removeprefix(_REPLAY), camera_options(camera, intrinsics, unit_mm, rate))
    predictor = HandPredictor.load(weights, side=hand)
    try:
        server = LiveServer(predictor, replayed(source), source.name, port)
    except OSError as error:
        raise InputError(f"--port {port} can't be used: {error.strerror or error}.") from error
    show.note(f"open {server.url}")
    server.run()
    latencies = sorted(server.latencies_ms)
    middle = latencies[len(latencies) // 2] if latencies else 0.0
    document = {
        "frames": len(source),
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
