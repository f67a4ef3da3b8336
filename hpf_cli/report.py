"""`hpf report`: the page of a run, made again from its folder. Heavy imports belong inside the function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpf_cli import show
from hpf_cli.outputs import check_folder


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, finished or not.")],
    json_: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Make report.html again in the folder of each run, of what there is.

    Every run that ends makes its own; this is for runs that were killed, or made by an older HPF.

    \b
    Example:
        hpf report runs/quickstart-1
    """
    from hpf_core.report import write_report

    for run in runs:
        if run.is_dir():
            check_folder("the report's folder", run)
    written = [write_report(run) for run in runs]
    if json_:
        show.emit_json({"reports": [{"run": str(run), "report": str(p)} for run, p in zip(runs, written, strict=True)]})
    else:
        for path in written:
            show.result(str(path))
