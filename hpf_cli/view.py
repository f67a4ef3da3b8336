"""`hpf view`: a page that shows depth images with their hands, a file of predictions, or a run's evaluation.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hpf_cli import show
from hpf_cli.options import Camera, Every, Hand, Intrinsics, Json, Quiet, Rate, Track, UnitMm, Verbose, Views, Weights
from hpf_cli.outputs import check_file
from hpf_cli.predict import camera_options, predicted
from hpf_core.errors import InputError, nearest


def view(
    place: Annotated[
        Path,
        typer.Argument(
            metavar="<input>",
            help="A depth image, a folder, a capture, predictions (.jsonl), or a run's folder.",
            show_default=False,
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
    views: Views = False,
    after: Annotated[
        str | None,
        typer.Option(
            "--after",
            "-a",
            metavar="<stage>",
            help="Of a run, show the evaluation after this stage. [default: the last]",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write one HTML page that shows depth maps, estimated points and spheres, and the hand's surface in 3D.

    The page needs no server. It plays and steps through the frames, and can sort them by confidence, lowest first. It
    has a light and a dark theme.

    A capture with labels also shows them, with the error of each joint.

    A run's folder shows the frames of its evaluation in all views, with labels and the error of each joint. The frame
    with the largest error comes first.

    \b
    Example:
        hpf view recording --K 588.03,587.07,320,240 --out hands.html
        hpf view hands.jsonl
        hpf view runs/quickstart-1
    """
    from hpf_core.inference.labelled_view import add_labels
    from hpf_core.inference.predictor import SIDES, HandPredictor
    from hpf_core.inference.run_view import is_run
    from hpf_core.inference.sources import open_source
    from hpf_core.inference.viewer import read_predictions, view_frame, write_page

    if hand not in SIDES:
        raise InputError(f"--hand is '{hand}'. {nearest(hand, SIDES)}")
    check_file("--out", out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out is {out}, but an HTML file was expected, such as {out.with_suffix('.html')}")
    shown: list[dict[str, Any]] = []
    joints: tuple[str, ...] = ()
    if after is not None and not is_run(place):
        raise InputError(f"--after chooses an evaluation of a run, but {place} isn't the folder of a run.")
    if is_run(place):
        document = _run(place, out, after, every)
        _say(document, as_json)
        return
    if place.suffix.lower() in (".csv", ".npz", ".txt", ".html"):
        raise InputError(
            f"{place}: predictions are read from JSON lines, as `hpf predict --out FILE.jsonl` writes them."
        )
    if place.suffix.lower() in (".jsonl", ".json"):
        if not place.is_file():
            raise InputError(f"{place} doesn't exist.")
        predictor = HandPredictor.load(weights)
        shown = read_predictions(place, predictor.network.hand)[::every]
    else:
        source = open_source(place, camera_options(camera, intrinsics, unit_mm, rate), views).every(every)
        predictor = HandPredictor.load(weights, side=hand)
        (frames,) = predicted(predictor, [source], track, lambda frame: shown.append(view_frame(frame)))
        if all(frame.error for frame in frames):
            raise InputError(frames[0].error)
        joints = add_labels(shown, frames, source, predictor.network.hand)
    write_page(out, shown, predictor.network.hand, str(place), joints)
    _say({"out": out, "frames": len(shown), "bytes": out.stat().st_size}, as_json)


def _run(run: Path, out: Path, after: str | None, every: int) -> dict[str, Any]:
    """Write the page of a run."""
    from hpf_cli.progress import Live
    from hpf_core.inference.run_view import view_run
    from hpf_core.inference.viewer import write_page

    with Live(show.progress_console()) as live:
        found = view_run(run, after, every, live.progress)
    if found.missing:
        show.warning(
            f"the page has the {len(found.frames)} frames that the run keeps, because the others can't be read: "
            f"{found.missing}"
        )
    write_page(out, found.frames, found.hand, f"{run}, after {found.stage}", found.joints)
    errors = [frame["error_mm"] for frame in found.frames]
    return {
        "out": out,
        "frames": len(found.frames),
        "bytes": out.stat().st_size,
        "stage": found.stage,
        "evaluated_frames": found.total,
        "largest_error_mm": max(errors),
    }


def _say(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show.emit_json(document)
    else:
        frames, size = document["frames"], document["bytes"] / 1e6
        show.result(f"wrote {document['out']} ({frames:,} frames, {size:.1f} MB): open it in a browser")
