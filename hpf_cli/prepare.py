"""`hpf data prepare`: make the cache of a capture ahead of time. Heavy imports belong inside the functions."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpf_cli.options import Json, NoPlugin, Quiet, Verbose, names
from hpf_cli.outputs import check_folder
from hpf_core.errors import InputError, PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from hpf_core.data.captures import Capture, PreparedSplit
    from hpf_core.interfaces import PluginSpec
    from hpf_core.plugins.host import Registered

_SIZES = (64, 96, 128)
_NAMED = 20  # frames that are left out of a split; the list in the cache has all


def prepare(
    dataset: Annotated[
        str,
        typer.Argument(metavar="<dataset>", help="Its name: capture, or one of `hpf data list`.", show_default=False),
    ],
    root: Annotated[
        Path,
        typer.Argument(metavar="<folder>", help="Its folder: with train and test, or a rig.yaml.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="<folder>", help="Folder of the cache. [default: $HPF_CACHE_DIR]", show_default=False
        ),
    ] = None,
    size: Annotated[int, typer.Option(metavar="<pixels>", help="Side of a crop: 64, 96 or 128 pixels.")] = 64,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="<number>", help="Processes. [default: one per core]", show_default=False),
    ] = None,
    centre: Annotated[
        str | None,
        typer.Option(
            metavar="<method>",
            help="How to centre crops: annotated, mass or refined. [default: the dataset's]",
            show_default=False,
        ),
    ] = None,
    views: Annotated[
        list[str] | None,
        names(
            "--views",
            metavar="<camera>",
            help="Use this camera: a number, or a name in rig.yaml. [default: 1,2,3; all]",
        ),
    ] = None,
    turned: Annotated[
        bool | None,
        typer.Option(
            "--turned/--straight",
            help="Ray-aligned or axis-aligned crops. [default: the dataset's]",
            show_default=False,
        ),
    ] = None,
    no_plugin: NoPlugin = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Prepare a dataset: find its cameras, crop all images, and store the crops in the cache.

    After an interruption, repeat the command to resume. If the cache is complete, the command reads all of it and
    regenerates damaged parts. Frames with missing or damaged images are left out and listed. `hpf run` with the same
    crops then starts at once. Without this command, `hpf run` prepares the dataset itself.

    \b
    Example:
        hpf data prepare nyu $HPF_NYU_ROOT
        hpf data prepare nyu captures/small --out /scratch/hpf --size 128
        hpf data prepare capture my-capture
    """
    from hpf_cli import show
    from hpf_core.files.cache import cache_folder
    from hpf_core.plugins import PluginHost

    if size not in _SIZES:
        raise InputError(f"--size is {size}, but 64, 96 or 128 was expected.")
    cache = (out or cache_folder()).absolute()
    check_folder("--out" if out else "the cache's folder", cache)
    options = {"root": str(root), "views": views, "centre": centre, "turned": turned}
    found = PluginHost.load(blocked=no_plugin or []).get("dataset", dataset)
    public = found.spec.public
    if public and public.terms:
        show.note(f"{found.spec.name}: licence {public.licence}. {public.terms}")
    given = {name: value for name, value in options.items() if value is not None}
    capture = _capture(found, given, size, cache, no_plugin or [])
    seconds = _prepare(capture, jobs)
    prepared = capture.prepared()
    if as_json:
        show.emit_json(_document(capture, prepared, cache, size, seconds))
        return
    show.result(_table(capture, prepared))
    for split in prepared:
        for line in _left_out(split):
            show.note(f"{split.split}: {line}")
    show.note(f"{cache}: ready after {seconds:.1f} s; all bytes were read back and compared")
    show.note(f"run on it: {_how_to_run(capture, found.spec, cache if out else None)}")


def _prepare(capture: Capture, jobs: int | None) -> float:
    """Prepare the capture with its progress on standard error. Returns the seconds that it took."""
    from hpf_cli import show
    from hpf_cli.progress import Live

    began = time.monotonic()
    try:
        with Live(show.progress_console()) as live:
            capture.prepare(live.progress, jobs, check=True)
    except KeyboardInterrupt:
        for folder in capture.unfinished():
            show.note(f"the complete part is kept in {folder}: repeat the command to resume")
        raise
    return time.monotonic() - began


def _how_to_run(capture: Capture, spec: PluginSpec, cache: Path | None) -> str:
    """The command that fits a network to the capture; `cache` if it isn't the default one."""
    moved = f"HPF_CACHE_DIR={shlex.quote(str(cache))} " if cache else ""
    root = shlex.quote(str(capture.source.root))
    if capture.source.layout.name == "capture":
        return f"{moved}hpf run recipes/capture.yaml --set data.real.root={root}"
    if spec.public and spec.public.layout:
        return moved + spec.public.command(spec.name, capture.source.root)
    return f"{moved}HPF_NYU_ROOT={root} hpf run recipes/paper.yaml"


def _left_out(split: PreparedSplit) -> Iterator[str]:
    """Lines about the unusable frames of a split."""
    for reason in split.left_out[:_NAMED]:
        yield f"left out: {reason}"
    if len(split.left_out) > _NAMED:
        yield f"left out: {len(split.left_out) - _NAMED:,} more frames"
    if split.palm_off_mm is not None:
        yield f"the centres of the crops are {split.palm_off_mm:.0f} mm (median) from the annotated palms"
    if split.left_out:
        meta = split.folder / "meta.json"
        yield f"listed in {meta}; after you repair the images, remove that folder and prepare again"


def _capture(found: Registered, options: dict[str, Any], size: int, cache: Path, blocked: Sequence[str]) -> Capture:
    """The dataset as a recipe would build it.

    Raises:
        PluginError: the dataset isn't a capture on disk.
        InputError: an option is wrong.
    """
    from pydantic import ValidationError

    from hpf_cli.hands import build_hand
    from hpf_core.data.captures import Capture
    from hpf_core.grid import Grid
    from hpf_core.inference.rig_calibration import ShippedCalibrator
    from hpf_core.interfaces import Build
    from hpf_core.plugins.building import build_plugin

    lacking = sorted(set(options) - set(found.spec.config.model_fields))
    if lacking:
        raise PluginError(
            f"The dataset '{found.spec.name}' has no option `{lacking[0]}`: it does not read a folder of images, so "
            "there is nothing to prepare."
        )
    try:
        config = found.spec.config(**{**found.preset, **options})
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        raise InputError(f"--{first['loc'][0] if first['loc'] else found.spec.name}: {said}.") from error
    build = Build(Grid(size), 0, cache, build_hand(blocked=blocked), calibrator=ShippedCalibrator())
    made: Any = build_plugin(found.spec, config, build)
    if not isinstance(made, Capture):
        raise PluginError(f"The dataset '{found.spec.name}' makes its own cache; `hpf run` prepares it.")
    return made


def _table(capture: Capture, prepared: list[PreparedSplit]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("split")
    for name in ("frames", "left out", "MB", "camera", "no hand", "residual mm", "frames off"):
        table.add_column(name, justify="right")
    for split in prepared:
        calibration = split.calibration
        measured = None if calibration.method == "file" else calibration.residual_mm
        for k, view in enumerate(calibration.views):
            first = k == 0
            table.add_row(
                split.split if first else "",
                f"{split.frames:,}" if first else "",
                f"{len(split.left_out):,}" if first else "",
                f"{split.bytes / 1e6:,.0f}" if first else "",
                capture.source.layout.rig.names[view],
                f"{split.empty[k]:,}",
                "" if first or measured is None else f"{calibration.residual_mm[k]:.2f}",
                "" if first or measured is None else f"{len(calibration.off[k]):,} ({calibration.outliers[k]:.1%})",
            )
    return table


def _document(
    capture: Capture, prepared: list[PreparedSplit], cache: Path, size: int, seconds: float
) -> dict[str, Any]:
    return {
        "dataset": capture.source.name,
        "root": capture.source.root,
        "simulated": capture.simulated,
        "cache": cache,
        "size": size,
        "seconds": round(seconds, 1),
        "splits": {
            split.split: {
                "folder": split.folder,
                "frames": split.frames,
                "left_out": split.left_out,
                "bytes": split.bytes,
                "calibration": split.calibration.method,
                "palm_off_mm": split.palm_off_mm,
                "views": [
                    {
                        "view": view + 1,
                        "camera": capture.source.layout.rig.names[view],
                        "without_hand": split.empty[k],
                        "to_rig": split.calibration.to_rig[k].tolist(),
                        "residual_mm": _number(split.calibration.residual_mm[k]),
                        "off": [frame + 1 for frame in split.calibration.off[k]],
                        "off_share": _number(split.calibration.outliers[k]),
                    }
                    for k, view in enumerate(split.calibration.views)
                ],
            }
            for split in prepared
        },
    }


def _number(value: float) -> float | None:
    """The number, or None for NaN."""
    return None if value != value else float(value)
