"""`hpf eval`: published or own predictions against labels, and the evaluations that a run recorded.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpf_cli import show
from hpf_core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from hpf_core.evaluation.protocols import TextProtocol
    from hpf_core.evaluation.result import Evaluation

_PREDICTIONS = typer.Argument(
    metavar="PREDICTIONS...",
    help="Text files, a line for each frame; or folders of runs.",
    show_default=False,
)
_LABELS = typer.Option("--labels", "-l", metavar="FILE", help="The annotation, in the same text format.")
_PROTOCOL = typer.Option("--protocol", "-p", metavar="NAME", help="Whose joints, camera and subjects: nyu, icvl.")
_OUT = typer.Option("--out", "-o", metavar="DIR", help="Write figures, frames.csv and evaluation.json there.")
_JSON = typer.Option("--json", help="One JSON document on standard output.")


def evaluate(
    predictions: Annotated[list[Path], _PREDICTIONS],
    labels: Annotated[Path | None, _LABELS] = None,
    protocol: Annotated[str, _PROTOCOL] = "nyu",
    out: Annotated[Path | None, _OUT] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Measure predictions against labels, or show what runs measured.

    Errors are in mm, over all joints and frames; a frame counts as a success at 20 mm when all of its joints are within
    20 mm. Where the labels are the protocol's whole test set, its subjects are reported separately.

    \b
    Example:
        hpf eval v2v_posenet.txt feedback.txt --labels labels_test.txt --protocol nyu
        hpf eval runs/quickstart-1 --json
    """
    for path in predictions:
        if not path.exists():
            raise InputError(
                f"{path} doesn't exist. Give files of predictions with --labels FILE, or the "
                "folders of runs, such as runs/quickstart-1."
            )
    runs = [path for path in predictions if path.is_dir()]
    if runs:
        if len(runs) < len(predictions) or labels is not None or out is not None:
            raise InputError(
                f"{runs[0]} is a folder, so the evaluations that it records are shown: "
                "it can't be mixed with prediction files, --labels or --out."
            )
        documents = _of_runs(runs)
    elif labels is None:
        raise InputError("Prediction files are measured against labels: add --labels FILE.")
    else:
        documents = _of_files(predictions, labels, protocol, out)
    if as_json:
        show.emit_json({"evaluation": documents})
    else:
        show.result(evaluation_table(documents))


def evaluation_table(documents: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each evaluation as `summary.json` lists it, and below it one for each of its subjects."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # Narrow enough for 80 columns.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    table.add_column("mm", overflow="fold", min_width=18)
    for heading in ("frames", "mean", "median", "tips"):
        table.add_column(heading, justify="right", no_wrap=True)
    for threshold in (20, 30, 40, 50):
        table.add_column(f"<={threshold}", justify="right", no_wrap=True)
    runs = {document.get("run") for document in documents}
    for document in documents:
        name = str(document["after"]) if len(runs) == 1 else f"{document['run']}: {document['after']}"
        table.add_row(Text(name), *_cells(document))
        for name, subject in document["subjects"].items():
            table.add_row(Text(f"  {name}", style="dim"), *_cells(subject))
    table.caption = "<=20: % of frames with all joints within 20 mm. tips: mean of the fingertips."
    table.caption_justify = "left"
    return table


def _cells(figures: Mapping[str, Any]) -> list[str]:
    tips = figures["fingertip_error_mm"]
    return [
        f"{figures['frames']:,}",
        f"{figures['mean_error_mm']:.3f}",
        f"{figures['median_error_mm']:.3f}",
        "-" if tips is None else f"{tips:.3f}",
        *(f"{100 * figures['success'][str(threshold)]:.1f}" for threshold in (20, 30, 40, 50)),
    ]


def _of_runs(runs: Sequence[Path]) -> list[dict[str, Any]]:
    """What some runs recorded, each with its folder as `run`."""
    from hpf_core.evaluation.result import summary_evaluations

    documents = [{**document, "run": str(run)} for run in runs for document in summary_evaluations(run)]
    if not documents:
        raise InputError(f"{runs[0]} was not evaluated: its recipe has `evaluate: null`.")
    return documents


def _of_files(paths: Sequence[Path], labels_path: Path, protocol_name: str, out: Path | None) -> list[dict[str, Any]]:
    from hpf_core.evaluation.labels import read_pair, read_uvd
    from hpf_core.evaluation.metrics import measure
    from hpf_core.evaluation.protocols import text_protocol
    from hpf_core.evaluation.result import Evaluation, distinct_names

    protocol = text_protocol(protocol_name)
    names = distinct_names(paths)
    labels = read_uvd(labels_path, protocol)
    subject = protocol.subject_of(len(labels))
    # All files are read before any is measured, so that a wrong one is known at once.
    read = [read_pair(path, labels, labels_path, protocol) for path in paths]
    if subject is None:
        show.note(
            f"{labels_path} has {len(labels):,} of the {protocol.frames:,} frames of {protocol.title}: "
            "subjects can't be told apart, and the figures can't be compared with published ones."
        )
    truth = protocol.to_xyz(labels)
    evaluations = [
        Evaluation(
            after=name,
            data=protocol.name,
            split="test",
            centre="unknown",
            measured=measure(
                protocol.to_xyz(uvd),
                truth,
                joint_names=protocol.joints,
                fingertips=protocol.fingertips,
                subject=subject,
                subject_names=protocol.subject_names,
            ),
        )
        for name, uvd in zip(names, read, strict=True)
    ]
    documents = [evaluation.document() for evaluation in evaluations]
    if out is not None:
        _write(out, evaluations, protocol, subject, documents)
    return documents


def _write(
    out: Path,
    evaluations: Sequence[Evaluation],
    protocol: TextProtocol,
    subject: np.ndarray | None,
    documents: Sequence[Mapping[str, Any]],
) -> None:
    """Figures, a table of frames and the JSON document in the folder `out`."""
    import json

    from hpf_core.cache import write_atomic
    from hpf_core.evaluation.figures import per_joint_bars, success_curves
    from hpf_core.evaluation.metrics import CURVE_MM
    from hpf_core.evaluation.result import write_frames_csv

    measured = {evaluation.after: evaluation.measured for evaluation in evaluations}
    frames = evaluations[0].measured.frames
    curves = {name: each.curve_max for name, each in measured.items()}
    success_curves(out / "success_curve.png", curves, CURVE_MM, f"{protocol.title}: {frames:,} frames")
    per_joint_bars(out / "per_joint.png", {name: each.per_joint for name, each in measured.items()}, protocol.joints)
    write_frames_csv(out / "frames.csv", measured, subject, protocol.subject_names)
    text = json.dumps({"evaluation": documents}, indent=2, allow_nan=False) + "\n"
    write_atomic(out / "evaluation.json", lambda path: _write_text(path, text))
    show.note(f"wrote success_curve.png, per_joint.png, frames.csv and evaluation.json to {out}")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
