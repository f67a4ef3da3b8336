"""`hpf predict`: hands of depth images, folders and captures.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpf_cli import show
from hpf_cli.options import (
    Camera,
    Every,
    Hand,
    Intrinsics,
    Json,
    Quiet,
    Rate,
    Track,
    UnitMm,
    Verbose,
    Views,
    Weights,
    names,
)
from hpf_cli.outputs import check_file, check_folder
from hpf_core.errors import InputError, nearest

if TYPE_CHECKING:
    from hpf_core.evaluation.protocols import TextProtocol
    from hpf_core.inference.rerun_file import RerunFile
    from hpf_core.inference.sources import CameraOptions, FrameSource
    from hpf_core.inference.steadiness import Steadiness
    from hpf_core.inference.streams import PredictedFrame

_INPUTS = typer.Argument(
    metavar="<input>", help="A depth image (PNG, npy), a folder of images, or a capture.", show_default=False
)
_SHOWN_ERRORS = 5  # unreadable frames that are named one by one
_FAR_MM = 2200.0  # hands beyond it have too few pixels
_SHOWN_HANDS = 12  # frames of the table on a terminal


def predict(
    inputs: Annotated[list[Path], _INPUTS],
    camera: Camera = None,
    intrinsics: Intrinsics = None,
    unit_mm: UnitMm = 1.0,
    hand: Hand = "auto",
    weights: Weights = "shipped",
    refine: Annotated[
        list[str] | None, names("--refine", metavar="<refiner>", help="A refiner, such as inverse_kinematics.")
    ] = None,
    every: Every = 1,
    views: Views = False,
    track: Track = True,
    rate: Rate = 30.0,
    joints: Annotated[
        str | None,
        typer.Option(
            metavar="<annotation>", help="Write these joints, such as nyu14. [default: all points]", show_default=False
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            "-p",
            metavar="<protocol>",
            help="With --out FILE.txt: write the joints of a protocol in its order, as `hpf eval` reads them.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="<file>",
            help="Write the predictions: .json, .jsonl, .csv, .npz, .txt, .html or .rrd.",
            show_default=False,
        ),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="<folder>", help="Write a picture of each frame with its hands.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(metavar="<device>", help="Device of the network: cpu, cuda or auto.")] = "cpu",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find hands in depth images: their joints, which side they are, and how confident the result is.

    Points are in mm in the camera's frame: x right, y down, z away. A frame without a hand is listed and is no
    error. In a folder, hands are tracked from frame to frame and smoothed.

    \b
    Example:
        hpf predict depth.png --K 588.03,587.07,320,240
        hpf predict recording/depth --camera rig.yaml --out hands.csv
        hpf predict sr305/231615 --K 476.007,476.007,313.683,242.755 --unit-mm 0.125 --out hands.jsonl --pictures look
    """
    from hpf_core.inference.prediction_files import WRITERS, write_predictions
    from hpf_core.inference.predictor import SIDES, HandPredictor
    from hpf_core.inference.rerun_file import RerunFile, need_rerun
    from hpf_core.inference.sources import open_source
    from hpf_core.inference.steadiness import measure_steadiness

    if hand not in SIDES:
        raise InputError(f"--hand is '{hand}'. {nearest(hand, SIDES)}")
    if out is not None:
        if out.suffix.lower() not in (*WRITERS, ".html", ".rrd"):
            raise InputError(f"--out {out}: predictions are written to {', '.join(WRITERS)}, .html or .rrd.")
        if out.suffix.lower() == ".rrd":
            need_rerun()
        check_file("--out", out)
    ordered = _protocol(protocol, joints, out)
    if pictures is not None:
        check_folder("--pictures", pictures)
    options = camera_options(camera, intrinsics, unit_mm, rate)
    sources = [open_source(place, options, views).every(every) for place in inputs]
    predictor = HandPredictor.load(weights, side=hand, refiners=refine or (), device=device)
    if joints is not None and joints not in predictor.network.hand.annotations:
        raise InputError(f"--joints is '{joints}'. {nearest(joints, predictor.network.hand.annotations)}")
    if ordered is not None:
        ordered.map_of(predictor.network.hand.annotations)  # refuses a protocol whose joints the hand model lacks
    began = time.monotonic()
    shown: list[dict[str, Any]] = []
    nearest_mm: list[float] = []
    kept = shown if out is not None and out.suffix.lower() == ".html" else None
    is_rerun = out is not None and out.suffix.lower() == ".rrd"
    with RerunFile(out, predictor.network.hand) if out is not None and is_rerun else nullcontext() as file:
        look = _onlooker(kept, pictures, predictor, nearest_mm, file)
        recordings = predicted(predictor, sources, track, look)
        frames = [frame for recording in recordings for frame in recording]
        seconds = time.monotonic() - began
        readable = [frame for frame in frames if not frame.error]
        if not readable:
            raise InputError(frames[0].error)
    if nearest_mm and min(nearest_mm) > _FAR_MM and not any(frame.hands for frame in frames):
        show.warning(
            f"nothing is nearer than {min(nearest_mm):,.0f} mm, farther than a hand can be estimated. If the images' "
            "unit isn't 1 mm, give --unit-mm, such as 0.125 or 0.1"
        )
    if out is not None:
        if out.suffix.lower() == ".html":
            from hpf_core.inference.viewer import write_page

            write_page(out, shown, predictor.network.hand, ", ".join(source.name for source in sources))
        elif not is_rerun:
            write_predictions(out, frames, joints, ordered)
        show.note(f"wrote {len(frames):,} frames to {out}")
    steadiness = measure_steadiness(recordings, predictor.network.hand.palm_centre) if track else None
    document = _document(frames, seconds, predictor.network.source, out, steadiness)
    if as_json:
        show.emit_json(document | {"predictions": [frame.document(joints) for frame in frames]})
        return
    _show(frames, document)


def _protocol(name: str | None, joints: str | None, out: Path | None) -> TextProtocol | None:
    if name is None:
        return None
    from hpf_core.evaluation.protocols import text_protocol

    if joints is not None:
        raise InputError("--protocol and --joints both choose the joints: leave one of them out.")
    if out is None or out.suffix.lower() != ".txt":
        raise InputError("--protocol orders the joints of a text file: give --out FILE.txt.")
    return text_protocol(name)


def camera_options(camera: Path | None, intrinsics: str | None, unit_mm: float, rate: float) -> CameraOptions:
    from hpf_core.inference.sources import CameraOptions

    if camera is not None and intrinsics is not None:
        raise InputError("--camera and --K both give the camera: leave one of them out.")
    if not 0 < unit_mm < 1e6:
        raise InputError(
            f"--unit-mm is {unit_mm:g}, but a positive number was expected, such as 1, 0.1 or 1000 (metres)."
        )
    if intrinsics is not None:
        return CameraOptions(intrinsics=_numbers(intrinsics), unit_mm=unit_mm, rate_hz=rate)
    if camera is None:
        return CameraOptions(unit_mm=unit_mm, rate_hz=rate)
    from hpf_core.data.camera_file import read_camera

    found = read_camera(camera)
    return CameraOptions(camera=found.camera, unit_mm=unit_mm * found.unit_mm, rate_hz=rate)


def _numbers(text: str) -> tuple[float, float, float, float]:
    try:
        fx, fy, cx, cy = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--K is '{text}', but four numbers were expected: fx,fy,cx,cy in pixels.") from None
    return fx, fy, cx, cy


def predicted(
    predictor: Any, sources: list[FrameSource], track: bool, look: Callable[[PredictedFrame], None]
) -> list[list[PredictedFrame]]:
    """The frames of each source; depth images are let go of as soon as `look` has seen them."""
    import dataclasses

    from hpf_cli.progress import Live
    from hpf_core.inference.streams import predict_source

    total = sum(len(source) for source in sources)
    recordings: list[list[PredictedFrame]] = []
    done, began = 0, time.monotonic()
    with Live(show.progress_console()) as live:
        for source in sources:
            recordings.append([])
            for frame in predict_source(predictor, source, track and source.is_sequence and len(source) > 1):
                look(frame)
                recordings[-1].append(dataclasses.replace(frame, depth=None))
                done += 1
                rate = done / max(time.monotonic() - began, 1e-6)
                live.progress(done, total, "predicting", f"{rate:.0f} frames/s")
    return recordings


def _onlooker(
    shown: list[dict[str, Any]] | None,
    folder: Path | None,
    predictor: Any,
    nearest_mm: list[float],
    file: RerunFile | None,
) -> Callable[[PredictedFrame], None]:
    """A function that uses each frame while its depth image is in memory: for files, pictures, and a measurement."""
    numbers = iter(range(10**9))

    def look(frame: PredictedFrame) -> None:
        if not isinstance(frame.depth, list) and frame.depth is not None and (frame.depth > 0).any():
            nearest_mm.append(float(frame.depth[frame.depth > 0].min()))
        if file is not None:
            file.add(frame)
        if shown is not None:
            from hpf_core.inference.viewer import view_frame

            shown.append(view_frame(frame))
        if folder is not None and frame.depth is not None:
            from hpf_core.inference.pictures import write_picture

            write_picture(folder / f"{next(numbers):06d}.png", frame, predictor.network.hand.links)

    return look


def _document(
    frames: list[PredictedFrame], seconds: float, source: str, out: Path | None, steadiness: Steadiness | None
) -> dict[str, Any]:
    readable = [frame for frame in frames if not frame.error]
    return {
        "frames": len(frames),
        "with_hands": sum(bool(frame.hands) for frame in readable),
        "without_hands": [frame.name for frame in readable if not frame.hands],
        "unreadable": [{"frame": frame.name, "error": frame.error} for frame in frames if frame.error],
        "seconds": round(seconds, 3),
        "frames_per_second": round(len(frames) / max(seconds, 1e-6), 2),
        "weights": source,
        "tracked": steadiness is not None,
        "steadiness": None if steadiness is None else steadiness.document(),
        "out": out,
    }


def _show(frames: list[PredictedFrame], document: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("frame", overflow="fold")
    for heading in ("hand", "palm x, y, z mm", "sure", "fit mm", "overlap"):
        table.add_column(heading, justify="right", no_wrap=True)
    for frame in frames[:_SHOWN_HANDS]:
        for hand in frame.hands:
            x, y, z = hand.centre
            place = f"{x:.0f}, {y:.0f}, {z:.0f}"
            table.add_row(
                Text(frame.name), hand.side, place, f"{hand.confidence:.2f}", f"{hand.fit_mm:.1f}", f"{hand.iou:.2f}"
            )
        if not frame.hands:
            table.add_row(Text(frame.name), "no image" if frame.error else "none", "", "", "", "")
    show.result(table)
    if len(frames) > _SHOWN_HANDS:
        show.result(f"and {len(frames) - _SHOWN_HANDS:,} more frames; --out FILE writes all of them")
    for entry in document["unreadable"][:_SHOWN_ERRORS]:
        show.warning(entry["error"])
    counts = f"{document['with_hands']:,} of {document['frames']:,} frames hold a hand"
    if document["unreadable"]:
        counts += f"; {len(document['unreadable']):,} couldn't be read"
    show.result(f"{counts} ({document['frames_per_second']:g} frames/s)")
