"""`hpf rig`: the cameras of a capture. Heavy imports belong inside the functions: `hpf --help` imports this module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpf_cli import show
from hpf_cli.commands import Command, Group
from hpf_cli.options import Json, Quiet, Verbose, Weights
from hpf_cli.outputs import check_file
from hpf_core.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from hpf_core.data.hand_calibration.calibrate import HandCalibration

app = typer.Typer(cls=Group, no_args_is_help=True)


@app.callback()
def rig() -> None:
    """Calibrate the cameras of a capture.

    \b
    Example:
        hpf rig calibrate my-capture
    """


@app.command(cls=Command, short_help="Find the cameras' poses from seen hands.")
def calibrate(
    capture: Annotated[
        Path, typer.Argument(metavar="<capture>", help="The capture's folder, with rig.yaml.", show_default=False)
    ],
    split: Annotated[
        str | None,
        typer.Option(
            metavar="<split>", help="Use frames of this split. [default: the capture's first]", show_default=False
        ),
    ] = None,
    frames: Annotated[int, typer.Option(min=30, metavar="<number>", help="Use up to this many frames.")] = 300,
    weights: Weights = "shipped",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the result; write nothing.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find the cameras' poses from the hands that they see, without labels, and write them into rig.yaml.

    A network estimates the hand in each image. Its points align the cameras roughly, then the surfaces of the hand
    align them exactly. rig.yaml keeps its comments, and rig.yaml.before is the old file. The exit code is 2 if a camera
    doesn't agree with the others; then nothing is written.

    \b
    Example:
        hpf rig calibrate my-capture --dry-run
        hpf rig calibrate my-capture
    """
    from hpf_cli.progress import Live
    from hpf_core.data.layouts.capture import CaptureLayout
    from hpf_core.data.rig_poses import save_poses
    from hpf_core.inference.hand_network import load_network
    from hpf_core.inference.rig_calibration import calibrate_rig

    layout = CaptureLayout(capture)
    names = layout.rig.names
    if len(names) == 1:
        raise InputError(f"{layout.file.path} has one camera, '{names[0]}': it needs no calibration.")
    if layout.rig.hand == "both":
        raise InputError(f"{layout.file.path}: hand is both. Calibrate with a recording of one hand, left or right.")
    if split is not None and split not in layout.splits():
        raise InputError(f"--split {split}: the capture has {', '.join(layout.splits())}.")
    if not dry_run:
        check_file("rig.yaml", layout.file.path)
    with Live(show.progress_console()) as live:
        found = calibrate_rig(
            layout,
            range(len(names)),
            split=split,
            frames=frames,
            network=load_network(weights),
            progress=live.progress,
        )
    bad = [view.name for view in found.views if not view.fits]
    kept = None if bad or dry_run else save_poses(layout.file, found.to_rig)
    if as_json:
        show.emit_json(_document(found, layout.file.path, kept))
    else:
        show.result(_table(found))
        _say_lags(found)
        if kept is not None:
            show.result(f"wrote to_rig of {len(names)} cameras into {layout.file.path}; the old file is {kept.name}")
            show.result(f"next: hpf data check {capture}")
    if bad:
        raise InputError(
            f"these cameras don't agree with the others: {', '.join(bad)}. {layout.file.path} is unchanged. Record a "
            "hand that turns slowly where the cameras' images overlap, and check their intrinsics and time stamps."
        )


def _table(found: HandCalibration) -> Table:
    from rich.table import Table

    table = Table(title=f"poses of the cameras, from hands in {found.frames} frames")
    for head in ("camera", "rotation, deg", "x, y, z, mm", "points, mm", "surface, mm", "frames", "agrees"):
        table.add_column(head, justify="left" if head == "camera" else "right")
    for view in found.views:
        table.add_row(
            view.name,
            f"{view.rotation_deg:.2f}",
            ", ".join(f"{value:.1f}" for value in view.shift_mm),
            f"{view.points_mm:.1f}",
            f"{view.before_mm:.2f} -> {view.after_mm:.2f}",
            f"{view.frames} of {view.seen}",
            "yes" if view.fits else "no",
        )
    return table


def _say_lags(found: HandCalibration) -> None:
    first = found.views[0].name
    for view in found.views[1:]:
        if view.lag_frames is None:
            show.note(f"'{view.name}': the hand moves too little to find a time lag")
        elif view.lag_frames:
            show.warning(
                f"'{view.name}' shows a moment {view.lag_frames:+.1f} frames later than '{first}': match the frames "
                "of the cameras by their time stamps"
            )


def _document(found: HandCalibration, path: Path, kept: Path | None) -> dict[str, Any]:
    return {
        "rig": str(path),
        "written": kept is not None,
        "before": None if kept is None else str(kept),
        "frames": found.frames,
        "cameras": [
            {
                "name": view.name,
                "to_rig": found.to_rig[number].tolist(),
                "rotation_deg": view.rotation_deg,
                "moved_deg": view.moved_deg,
                "moved_mm": view.moved_mm,
                "points_mm": view.points_mm,
                "surface_before_mm": view.before_mm,
                "surface_after_mm": view.after_mm,
                "frames": view.frames,
                "seen": view.seen,
                "lag_frames": view.lag_frames,
                "agrees": view.fits,
            }
            for number, view in enumerate(found.views)
        ],
    }
