"""`hpf view`: a page that shows depth images with their hands, or a file of predictions.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hpf_cli import show
from hpf_cli.options import Camera, Every, Hand, Intrinsics, Json, Quiet, Rate, Track, UnitMm, Verbose, Weights
from hpf_cli.outputs import check_file
from hpf_cli.predict import camera_options, predicted
from hpf_core.errors import InputError, nearest


def view(
    place: Annotated[
        Path,
        typer.Argument(
            metavar="<input>", help="A depth image, a folder, a capture, or predictions (.jsonl).", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="<file>", help="The page.")] = Path("hands.html"),
    camera: Camera = None,
    intrinsics: Intrinsics = None,
    unit_mm: UnitMm = 1.0,
    hand: Hand = "auto",
    weights: Weights = "shipped",
    every: Every = 1,
    track: Track = True,
    rate: Rate = 30.0,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write one HTML page that shows depth maps, estimated points and spheres, and the hand's surface in 3D.

    The page needs no server. It plays and steps through the frames, and can sort them by confidence, lowest first. It
    has a light and a dark theme.

    \b
    Example:
        hpf view recording --K 588.03,587.07,320,240 --out hands.html
        hpf view hands.jsonl
    """
    from hpf_core.inference.predictor import SIDES, HandPredictor
    from hpf_core.inference.sources import open_source
    from hpf_core.inference.viewer import read_predictions, view_frame, write_page

    if hand not in SIDES:
        raise InputError(f"--hand is '{hand}'. {nearest(hand, SIDES)}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out is {out}, but an HTML file was expected, such as {out.with_suffix('.html')}")
    check_file("--out", out)
    shown: list[dict[str, Any]] = []
    if place.suffix.lower() in (".jsonl", ".json"):
        if not place.is_file():
            raise InputError(f"{place} doesn't exist.")
        predictor = HandPredictor.load(weights)
        shown = read_predictions(place, predictor.network.hand)
    else:
        source = open_source(place, camera_options(camera, intrinsics, unit_mm, rate)).every(every)
        predictor = HandPredictor.load(weights, side=hand)
        (frames,) = predicted(predictor, [source], track, lambda frame: shown.append(view_frame(frame)))
        if all(frame.error for frame in frames):
            raise InputError(frames[0].error)
    write_page(out, shown, predictor.network.hand, str(place))
    size = out.stat().st_size
    if as_json:
        show.emit_json({"out": out, "frames": len(shown), "bytes": size})
    else:
        show.result(f"wrote {out} ({len(shown):,} frames, {size / 1e6:.1f} MB): open it in a browser")
