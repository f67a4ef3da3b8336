"""`hpf report`: the page of a run, made again from its folder. Heavy imports belong inside the function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpf_cli import show
from hpf_cli.options import Json
from hpf_cli.outputs import check_folder


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="<run>", help="The folder of a run, complete or not.", show_default=False)
    ],
    json_: Json = False,
) -> None:
    """Write report.html again into the folder of each run.

    Every run writes its report when it ends. Use this command for interrupted runs and for runs of an older HPF.

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
