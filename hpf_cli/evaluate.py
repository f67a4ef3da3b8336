"""`hpf eval`: predictions of files and runs against labels, and the evaluations that runs recorded.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpf_cli import show
from hpf_cli.options import Json
from hpf_cli.outputs import check_file, check_folder
from hpf_core.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

_PREDICTIONS = typer.Argument(
    metavar="<predictions>",
    help="A text file with one line per frame, or the folder of a run.",
    show_default=False,
)
_LABELS = typer.Option(
    "--labels",
    "-l",
    metavar="<file>",
    help="The annotation: a text file, or the folder of the protocol's dataset, whose split `test` is used.",
    show_default=False,
)
_PROTOCOL = typer.Option(
    "--protocol",
    "-p",
    metavar="<protocol>",
    help="Joints, camera, subjects: nyu, icvl, msra, hands17, hands19, bighand, stb, fpha or handnet.",
)
_OUT = typer.Option(
    "--out", "-o", metavar="<folder>", help="Write figures, tables and data into this folder.", show_default=False
)
_WRITE = typer.Option(
    "--write",
    "-w",
    metavar="<file>",
    help="Write a run's predictions as a text file of the protocol.",
    show_default=False,
)
_AFTER = typer.Option(
    "--after",
    "-a",
    metavar="<stage>",
    help="Use a run's predictions after this stage. [default: the last stage]",
    show_default=False,
)

_WITHIN_MM = (20, 30, 40)  # in the table; 50 is in the JSON


def evaluate(
    predictions: Annotated[list[Path], _PREDICTIONS],
    labels: Annotated[Path | None, _LABELS] = None,
    protocol: Annotated[str, _PROTOCOL] = "nyu",
    out: Annotated[Path | None, _OUT] = None,
    write: Annotated[Path | None, _WRITE] = None,
    after: Annotated[str | None, _AFTER] = None,
    as_json: Json = False,
) -> None:
    """Compare predictions with labels, or print the recorded evaluations of runs.

    Errors are in mm, over all joints and frames. A frame is a success at 20 mm if all of its joints are within 20 mm.
    If the subjects are known, each is reported. With --labels, predictions of runs and files are evaluated together.
    --out draws them in one figure and one table, with published results. Without --labels, it uses the annotation that
    the runs recorded: all stages of one run, or several runs on the same data.

    \b
    Example:
        hpf eval v2v_posenet.txt feedback.txt --labels labels_test.txt --protocol nyu
        hpf eval runs/quickstart-1 --out figures
        hpf eval runs/paper-1 v2v_posenet.txt --labels labels_test.txt --out figures
        hpf eval runs/paper-1 --write ours.txt --after fit
    """
    for path in predictions:
        if not path.exists():
            raise InputError(
                f"{path} doesn't exist. Give files of predictions with --labels FILE, or the "
                "folders of runs, such as runs/quickstart-1."
            )
    runs = [path for path in predictions if path.is_dir()]
    _check_use(predictions, runs, labels, write, after)
    if out is not None:
        check_folder("--out", out)
    if write is not None:
        check_file("--write", write)
        _write_predictions(runs[0], write, after, protocol)
    if labels is not None:
        documents = _against(predictions, labels, protocol, out, after)
    else:
        documents = _of_runs(runs, after) if out is None else _compared(runs, out, after)
    if as_json:
        show.emit_json({"evaluation": documents})
    else:
        show.result(evaluation_table(documents))
        for line in _left_out(documents):
            show.result(line)


def evaluation_table(documents: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each evaluation as `summary.json` lists it; below it one for each of its subjects and refiners."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # Narrow enough for 80 columns.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    table.add_column("mm", overflow="fold", min_width=20)
    for heading in ("frames", "mean", "median", "tips"):
        table.add_column(heading, justify="right", no_wrap=True)
    for threshold in _WITHIN_MM:
        table.add_column(f"<={threshold}", justify="right", no_wrap=True)
    table.add_column("AUC", justify="right", no_wrap=True)
    several = len({document.get("run") for document in documents}) > 1
    for document in documents:
        name = str(document["after"])
        if several and "run" in document:
            name = f"{document['run']}: {name}"
        table.add_row(Text(name), *_cells(document))
        for name, subject in document["subjects"].items():
            table.add_row(Text(f"  {name}", style="dim"), *_cells(subject))
        for number, step in enumerate(document.get("refiners", ())):
            name = f"+ {step['name']}" if number else "network alone"
            table.add_row(Text(name, style="dim"), *_cells({**step, "frames": document["frames"]}))
    table.caption = (
        "<=20: % of frames with all joints within 20 mm. tips: mean of the fingertips.\n"
        "AUC: area under the curve of these shares, 0 to 80 mm, in %."
    )
    table.caption_justify = "left"
    return table


def _left_out(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each split with frames that are left out, because they have a missing or damaged image."""
    lines = []
    for document in documents:
        if count := document.get("left_out", 0):
            where = f"; listed in {document['left_out_list']}" if "left_out_list" in document else ""
            what = f"{document['data']}/{document['split']}"
            frames = "1 frame" if count == 1 else f"{count:,} frames"
            lines.append(f"{what}: {frames} left out because of missing or damaged images{where}")
    return list(dict.fromkeys(lines))


def _cells(figures: Mapping[str, Any]) -> list[str]:
    tips, area = figures["fingertip_error_mm"], figures.get("auc")  # runs of an older HPF have no area
    return [
        f"{figures['frames']:,}",
        f"{figures['mean_error_mm']:.3f}",
        f"{figures['median_error_mm']:.2f}",
        "-" if tips is None else f"{tips:.2f}",
        *(f"{100 * figures['success'][str(threshold)]:.1f}" for threshold in _WITHIN_MM),
        "-" if area is None else f"{100 * area['max']:.1f}",
    ]


def _check_use(
    predictions: Sequence[Path],
    runs: Sequence[Path],
    labels: Path | None,
    write: Path | None,
    after: str | None,
) -> None:
    """Raises InputError if the options contradict each other."""
    if labels is None and len(runs) < len(predictions):
        raise InputError("Prediction files are measured against labels: add --labels FILE.")
    if write is not None and (len(runs) != 1 or len(predictions) != 1):
        raise InputError("--write writes what one run predicted: give the folder of that run alone.")
    if after is not None and not runs:
        raise InputError("--after names a stage of a run, but only files are given.")


def _of_runs(runs: Sequence[Path], after: str | None) -> list[dict[str, Any]]:
    """The recorded evaluations of runs, each with its folder as `run`; with `after`, only of that stage."""
    from hpf_core.runs.documents import read_summary
    from hpf_core.runs.predictions import read_run

    if after is not None:
        return [_of_run(read_run(run, after).document, run) for run in runs]
    documents = [_of_run(document, run) for run in runs for document in read_summary(run)["evaluation"]]
    if not documents:
        raise InputError(f"{runs[0]} was not evaluated: its recipe has `evaluate: null`.")
    return documents


def _of_run(document: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """An evaluation with its run's folder, which contains the list of frames that are left out."""
    listed = document.get("left_out_list")
    return {**document, "run": str(run)} | ({"left_out_list": str(run / listed)} if listed else {})


def _write_predictions(run: Path, path: Path, after: str | None, protocol_name: str) -> None:
    """A run's predictions in the community's format."""
    from hpf_core.evaluation.labels import write_uvd
    from hpf_core.evaluation.protocols import text_protocol
    from hpf_core.runs.predictions import in_order, read_run

    protocol = text_protocol(protocol_name)
    found = in_order(read_run(run, after), protocol)
    write_uvd(path, protocol.to_uvd(found.joints), protocol)
    show.note(
        f"wrote {len(found.joints):,} frames x {len(protocol.joints)} joints ({protocol.columns_name}) to {path}: what "
        f"{run} predicted after {found.document['after']}"
    )


def _against(
    paths: Sequence[Path], labels_path: Path, protocol_name: str, out: Path | None, after: str | None
) -> list[dict[str, Any]]:
    """Files and runs, measured against labels."""
    from hpf_core.comparison.compare import compare, write_comparison
    from hpf_core.evaluation.protocols import text_protocol

    protocol = text_protocol(protocol_name)
    found = compare(paths, labels_path, protocol, after)
    if count := len(found.unlabelled):
        some = ", ".join(map(str, found.unlabelled[:5])) + (", ..." if count > 5 else "")
        frames = "1 frame has" if count == 1 else f"{count:,} frames have"
        show.warning(f"{labels_path}: {frames} no labels. The figures leave out: {some}")
    if not protocol.frames:
        show.note(
            f"{protocol.title} has no public test labels here: the figures can't be compared with published ones."
        )
    elif len(found.labels.xyz) != protocol.frames:
        whose = "" if found.labels.subject is not None else "the subjects are unknown, and "
        show.note(
            f"{labels_path} has {len(found.labels.xyz):,} of the {protocol.frames:,} frames of {protocol.title}: "
            f"{whose}the figures can't be compared with published ones."
        )
    for document in found.documents:
        if reading := document.get("better_reading"):
            show.warning(f"{document['after']}: {reading}. The figures are those of the file as it is")
    if out is not None:
        _say_written(write_comparison(out, found), out)
    return found.documents


def _compared(runs: Sequence[Path], out: Path, after: str | None) -> list[dict[str, Any]]:
    """Runs, or the stages of one run, measured against the annotation that they keep."""
    from hpf_core.comparison.compare import write_comparison
    from hpf_core.comparison.runs import compare_runs

    found = compare_runs(runs, after)
    _say_written(write_comparison(out, found), out)
    return [_of_run(document, Path(document["run"])) for document in found.documents]


def _say_written(names: Sequence[str], out: Path) -> None:
    show.note(f"wrote {', '.join(names[:-1])} and {names[-1]} to {out}")
