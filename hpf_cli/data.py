"""`hpf data`: simulate, check and prepare captures, and draw synthetic samples.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpf_cli import show
from hpf_cli.commands import Command, Group
from hpf_cli.datasets import list_datasets
from hpf_cli.hands import build_hand
from hpf_cli.options import Json, NoPlugin, Quiet, Verbose
from hpf_cli.outputs import check_picture
from hpf_cli.prepare import prepare
from hpf_cli.sample import sample
from hpf_core.errors import InputError, nearest, skip_on_failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.table import Table

    from hpf_core.data.checks.capture import CaptureReport, SplitReport
    from hpf_core.data.checks.findings import Finding
    from hpf_core.interfaces import PublicData
    from hpf_core.simulation.simulate import CaptureConfig

app = typer.Typer(cls=Group, no_args_is_help=True)
app.command("sample", cls=Command, short_help="Draw synthetic samples.")(sample)
app.command("list", cls=Command, short_help="List the public datasets that HPF reads.")(list_datasets)
app.command("prepare", cls=Command, short_help="Crop a capture and cache the crops.")(prepare)

_SHEET = typer.Option(
    "--sheet", metavar="<file>", help="The contact sheet, a PNG file. [default: NAME-sheet.png]", show_default=False
)
_OPTION_OF = {"train": "--frames", "spread_deg": "--spread"}


@app.callback()
def data() -> None:
    """Simulate, check and prepare datasets.

    \b
    Example:
        hpf data simulate captures/small --frames 400 --test 100
        hpf data check captures/small
        hpf data prepare nyu captures/small
    """


@app.command(cls=Command, short_help="Simulate a capture with several cameras.")
def simulate(
    out: Annotated[
        Path, typer.Argument(metavar="<folder>", help="Folder of the capture: new or empty.", show_default=False)
    ],
    frames: Annotated[int, typer.Option(metavar="<number>", help="Frames of the split train.")] = 400,
    test: Annotated[
        int, typer.Option(metavar="<number>", help="Frames of the split test, half of them of a new subject.")
    ] = 100,
    validation: Annotated[
        int | None,
        typer.Option(
            metavar="<number>",
            help="Frames of the split validation. [default: a tenth of --frames]",
            show_default=False,
        ),
    ] = None,
    views: Annotated[int, typer.Option(metavar="<number>", help="Cameras, 1 to 9. The first one is evaluated.")] = 3,
    spread: Annotated[
        float, typer.Option(metavar="<degrees>", help="Angle between the middle and the outermost cameras.")
    ] = 30.0,
    layout: Annotated[
        str, typer.Option(metavar="<layout>", help="nyu, the layout of NYU, or capture, HPF's own with a rig.yaml.")
    ] = "nyu",
    seed: Annotated[int, typer.Option(metavar="<number>", help="Determines every byte of the capture.")] = 0,
    scene: Annotated[
        str,
        typer.Option(
            metavar="<scene>", help="plain, table, second_person, two_hands, object, or empty (without a hand)."
        ),
    ] = "plain",
    hand: Annotated[
        str | None,
        typer.Option(
            metavar="<name>", help="Hand model of the subjects. [default: the recipes' default]", show_default=False
        ),
    ] = None,
    no_plugin: NoPlugin = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Simulate a capture with several cameras, in the layout of NYU or in HPF's own with a rig.yaml.

    New subjects, whose shape no synthetic sample has, move a hand in front of calibrated depth cameras. After an
    interruption, repeat the command to resume. An image takes about 0.17 MB.

    \b
    Example:
        hpf data simulate captures/small --frames 400 --test 100
        HPF_NYU_ROOT=captures/small hpf run recipes/paper.yaml --dry-run
        hpf data simulate my-capture --layout capture --views 2 --spread 45
    """
    from hpf_cli.progress import Live
    from hpf_core.simulation.simulate import simulate as make
    from hpf_core.simulation.unfinished import how_to_go_on, partial_folder

    config = _config(
        train=frames,
        test=test,
        validation=_tenth(frames) if validation is None else validation,
        views=views,
        seed=seed,
        scene=scene,
        spread_deg=spread,
    )
    if layout not in ("nyu", "capture"):
        raise InputError(f"--layout is {layout!r}. {nearest(layout, ('nyu', 'capture'))}")
    model = build_hand(hand, no_plugin or [])
    began = time.monotonic()
    try:
        with Live(show.progress_console()) as live:
            made = make(out, model, config, live.progress, layout)  # type: ignore[arg-type]
    except KeyboardInterrupt:
        if partial_folder(out).is_dir():
            show.note(how_to_go_on(out))
        raise
    if not made:
        show.note(f"{out}: this capture is already complete")
    document = _made_document(out, config, made, time.monotonic() - began)
    if as_json:
        show.emit_json(document)
    else:
        counts = ", ".join(f"{name} {count:,}" for name, count in document["frames"].items())
        show.result(f"{out}: {counts} frames x {views} view{'' if views == 1 else 's'}, seed {seed}")
        show.result(f"look at it: hpf data check {shlex.quote(str(out))}")


@app.command(cls=Command, short_help="Check a capture and draw a contact sheet.")
def check(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="<folder>",
            help="A capture with a rig.yaml, in NYU's layout, or a public dataset.",
            show_default=False,
        ),
    ],
    sheet: Annotated[Path | None, _SHEET] = None,
    frames: Annotated[
        int, typer.Option(min=1, metavar="<number>", help="Frames of each split whose images are decoded.")
    ] = 100,
    everything: Annotated[bool, typer.Option("--all", help="Decode every image.")] = False,
    layout_name: Annotated[
        str | None,
        typer.Option(
            "--layout",
            metavar="<layout>",
            help="capture, or a name of hpf data list. [default: found from the files]",
            show_default=False,
        ),
    ] = None,
    no_plugin: NoPlugin = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check a capture, real or simulated: with a rig.yaml, in NYU's layout, or a public dataset.

    With a rig.yaml or in a public dataset of several cameras, HPF checks images, unit and byte order, and how well the
    surfaces of the cameras agree. In the layout of NYU, it checks every file and the whole annotation, and draws a
    contact sheet. The exit code is 2 if data are damaged.

    \b
    Example:
        hpf data check captures/small
        hpf data check $HPF_NYU_ROOT --all --sheet nyu.png
        hpf data check my-capture
    """
    from hpf_cli.progress import Live
    from hpf_core.data.checks.capture import check_capture
    from hpf_core.data.checks.rig import check_rig_capture
    from hpf_core.plugins import PluginHost
    from hpf_core.plugins.public import find_layout, public_datasets

    host = PluginHost.load(blocked=no_plugin or [])
    layout = find_layout(folder, host, layout_name)
    target = sheet or Path(f"{folder.absolute().name}-sheet.png")
    check_picture("--sheet", target)
    with Live(show.progress_console()) as live:
        sample, drawn = None if everything else frames, 0
        if layout is not None:
            report = check_rig_capture(layout, sample, live.progress)
        else:
            report = check_capture(folder, sample, live.progress)
            with skip_on_failure("contact sheet"):
                from hpf_core.figures.capture_sheet import capture_sheet

                drawn = capture_sheet(report, target)
    if as_json:
        show.emit_json(_report_document(report, target if drawn else None))
    else:
        show.result(_report_table(report))
        for split, one in _findings(report):
            if one.status == "failed":  # again in one line, because users cannot copy names that a table wraps
                show.error(f"{split + ': ' if split else ''}{one.check}: {one.message}")
        show.result(f"{folder}: {_VERDICTS[report.status]}")
        if drawn:
            show.note(f"look at {drawn} frame{'' if drawn == 1 else 's'} with their joints: {target}")
        if report.status != "failed" and (how := _how_to_run(report, public_datasets(host))):
            show.note(f"run on it: {how}")
    if report.status == "failed":
        raise typer.Exit(InputError.exit_code)


# ------------------------------------------------------------------------------------------------------------ simulate


def _tenth(frames: int) -> int:
    return max(1, round(frames / 10))


def _config(**options: float | str) -> CaptureConfig:
    """The capture's options. An error names the option as on the command line."""
    from pydantic import ValidationError

    from hpf_core.simulation.simulate import CaptureConfig

    try:
        return CaptureConfig(**options)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        said = first["msg"].replace("Input should be", "it should be")
        raise InputError(f"{_OPTION_OF.get(name, f'--{name}')} is {first['input']}, but {said}.") from error


def _made_document(out: Path, config: CaptureConfig, made: bool, seconds: float) -> dict[str, Any]:
    from hpf_core.simulation.people import SUBJECT_NAMES
    from hpf_core.simulation.simulate import segments_of

    plan = segments_of(config)
    return {
        "folder": out,
        "made": made,
        "seconds": round(seconds, 1),
        "frames": {split: sum(part.frames for part in parts) for split, parts in plan.items()},
        "views": config.views,
        "seed": config.seed,
        "subjects": {
            split: {SUBJECT_NAMES[part.subject]: part.frames for part in parts} for split, parts in plan.items()
        },
    }


# --------------------------------------------------------------------------------------------------------------- check

_VERDICTS = {
    "ok": "passed every check",
    "warning": "can be used; see the warnings",
    "failed": "damaged; see the failed checks",
}
_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def _findings(report: CaptureReport) -> Iterator[tuple[str, Finding]]:
    yield from (("", one) for one in report.findings)
    yield from ((part.name, one) for part in report.splits for one in part.findings)


def _how_to_run(report: CaptureReport, public: Mapping[str, PublicData]) -> str:
    """The command that trains on a capture; empty if it has no training frames."""
    train = next((part for part in report.splits if part.name == "train"), None)
    if train is None:
        return ""
    if (known := public.get(report.layout)) and known.layout:
        return known.command(report.layout, report.root)
    if report.layout != "nyu":
        return f"hpf run recipes/{report.layout}.yaml --set data.real.root={shlex.quote(str(report.root))}"
    views = [view + 1 for view in train.views]
    listed = shlex.quote(f"data.real.views={views}".replace(" ", ""))
    other = "" if views == [1, 2, 3] else f" --set {listed}"  # the recipe has NYU's three
    return f"HPF_NYU_ROOT={shlex.quote(str(report.root))} hpf run recipes/paper.yaml{other}"


def _report_table(report: CaptureReport) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("split", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    before = ""
    for split, one in _findings(report):
        table.add_row(
            Text("" if split == before else split),
            Text(one.check),
            Text(one.status, _STYLES[one.status]),
            Text(one.message),
        )
        before = split
    return table


def _report_document(report: CaptureReport, sheet: Path | None) -> dict[str, Any]:
    def split(part: SplitReport) -> dict[str, Any]:
        return {
            "frames": part.frames,
            "views": [view + 1 for view in part.views],
            "decoded_frames": len(part.sampled),
            "subjects": list(part.subjects),
        }

    return {
        "folder": report.root,
        "status": report.status,
        "simulated": report.simulated,
        "splits": {part.name: split(part) for part in report.splits},
        "checks": [
            {
                "split": name or None,
                "check": one.check,
                "status": one.status,
                "message": one.message,
                "files": one.files,
            }
            for name, one in _findings(report)
        ],
        "sheet": sheet,
    }
