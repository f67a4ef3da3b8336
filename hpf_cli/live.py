"""`hpf live`: the hands of a stream in the browser.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpf_cli import show
from hpf_cli.predict import camera_options
from hpf_core.errors import InputError, nearest

_REPLAY = "replay:"


def live(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="replay:DIR, a folder or capture at its own pace.")],
    camera: Annotated[Path | None, typer.Option("--camera", metavar="FILE", help="A rig.yaml with the camera.")] = None,
    intrinsics: Annotated[str | None, typer.Option("--K", metavar="FX,FY,CX,CY", help="The camera, in pixels.")] = None,
    unit_mm: Annotated[float, typer.Option(help="Millimetres of one step of the stored depth.")] = 1.0,
    hand: Annotated[str, typer.Option(help="Which hand: auto, right, left, or both.")] = "auto",
    weights: Annotated[str, typer.Option(metavar="WEIGHTS", help="As for `hpf predict`.")] = "shipped",
    rate: Annotated[float, typer.Option(min=0.1, help="Frames a second, where names hold no time.")] = 30.0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0 takes a free one.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Find the hands of a stream as it comes, and show them on a page of this machine alone.

    Frames that come too fast are dropped, never queued; the page shows the latency. Ctrl-C ends it.

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
