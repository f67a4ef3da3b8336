"""`hpf view`: a page that shows depth images with their hands, or a file of predictions.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hpf_cli import show
from hpf_cli.outputs import check_file
from hpf_cli.predict import camera_options, predicted
from hpf_core.errors import InputError, nearest


def view(
    place: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Depth images, a folder, a capture, or predictions (.jsonl).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page.")] = Path("hands.html"),
    camera: Annotated[Path | None, typer.Option("--camera", metavar="FILE", help="A rig.yaml with the camera.")] = None,
    intrinsics: Annotated[str | None, typer.Option("--K", metavar="FX,FY,CX,CY", help="The camera, in pixels.")] = None,
    unit_mm: Annotated[float, typer.Option(help="Millimetres of one step of the stored depth.")] = 1.0,
    hand: Annotated[str, typer.Option(help="Which hand: auto, right, left, or both.")] = "auto",
    weights: Annotated[str, typer.Option(metavar="WEIGHTS", help="As for `hpf predict`.")] = "shipped",
    every: Annotated[int, typer.Option(min=1, help="Only each so many-th frame.")] = 1,
    track: Annotated[bool, typer.Option("--track/--no-track", help="Follow and smooth hands over a folder.")] = True,
    rate: Annotated[float, typer.Option(min=0.1, help="Frames a second, where names hold no time.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Write one page that shows depth, points and spheres, and the hand with its surface in 3D. No server is needed.

    It plays, steps, sorts the least sure frames first, and has a light and a dark theme.

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
        raise InputError(f"--out {out}: the page is an HTML file; name it {out.with_suffix('.html')}")
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
        frames = predicted(predictor, [source], track, lambda frame: shown.append(view_frame(frame)))
        if all(frame.error for frame in frames):
            raise InputError(frames[0].error)
    write_page(out, shown, predictor.network.hand, str(place))
    size = out.stat().st_size
    if as_json:
        show.emit_json({"out": out, "frames": len(shown), "bytes": size})
    else:
        show.result(f"wrote {out} ({len(shown):,} frames, {size / 1e6:.1f} MB): open it in a browser")
