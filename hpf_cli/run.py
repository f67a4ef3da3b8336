"""`hpf run`: train and evaluate the stages of a recipe. Heavy imports belong inside the function."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpf_cli.options import Json, NoPlugin, Quiet, Seed, Sets, Stages, Verbose, With, Without
from hpf_core.process_group import is_launched

if TYPE_CHECKING:
    from hpf_core.recipe import Resolved


def run(
    recipe: Annotated[Path, typer.Argument(metavar="<recipe>", help="The recipe, a YAML file.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="<folder>", help="Folder of the run. [default: runs/NAME-1]", show_default=False
        ),
    ] = None,
    without: Without = None,
    with_: With = None,
    set_: Sets = None,
    stages: Stages = None,
    seed: Seed = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="<device>", help="auto, cpu, cuda or one GPU (cuda:1). [default: the recipe's]", show_default=False
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run in --out, or else the last run of this recipe.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Do not train. Print stages, images, and estimates of hours and memory."),
    ] = False,
    no_plugin: NoPlugin = None,
    allow_other_plugins: Annotated[
        bool,
        typer.Option(
            "--allow-other-plugins", help="Accept other plugin versions than those of the saved recipe or run."
        ),
    ] = False,
    json_: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train all stages of a recipe, evaluate, and write tables, figures and summary.json.

    \b
    Example:
        hpf run recipes/quickstart.yaml
        hpf run recipes/quickstart.yaml --without vae --out runs/no-vae
        hpf run recipes/quickstart.yaml --out runs/no-vae --resume
        torchrun --nproc-per-node 2 -m hpf run recipes/quickstart.yaml
    """
    if is_launched():
        # Before torch is imported: otherwise each process prints messages about its sockets and DDP.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

    from hpf_cli import progress, show
    from hpf_core import recipe as recipes
    from hpf_core.engine.run import Run
    from hpf_core.errors import InputError, SaidElsewhere
    from hpf_core.guests import stdout_held
    from hpf_core.plugins import PluginHost
    from hpf_core.report import run_and_report
    from hpf_core.runs.folder import RunFolder, last_folder
    from hpf_core.runs.packages import check_resumed

    if device is not None and not device.strip():
        raise InputError("--device is empty: expected auto, cpu, cuda or one GPU such as cuda:1")
    sets = [*(set_ or []), *([f"runtime.device={device}"] if device else [])]
    resolved = recipes.load(
        recipe,
        sets=sets,
        with_terms=with_ or [],
        without_terms=without or [],
        stages=stages,
        seed=seed,
        host=PluginHost.load(blocked=no_plugin or []),
        allow_other_plugins=allow_other_plugins,
    )
    if resume and not allow_other_plugins:
        previous = out or last_folder(resolved.recipe.name or "run")
        check_resumed(RunFolder(previous).recipe, resolved)
    for change in resolved.changes:
        show.note(change, style="yellow")
    for note in resolved.notes:
        show.note(f"note: {note}", style="yellow")
    if dry_run:
        if show.is_first():
            _dry_run(resolved, json_)
        return
    with progress.Live(show.progress_console()) as live:
        made = Run(resolved, out, resume=resume, observers=[live], progress=live.progress)
        try:
            with stdout_held():
                summary = run_and_report(made)
        except KeyboardInterrupt:
            _say_how_to_resume(made.out, no_plugin or [])
            raise
        except SaidElsewhere as error:
            raise typer.Exit(error.exit_code) from error
    if not show.is_first():
        return
    assert made.out is not None
    if made.was_done:
        show.note(f"{made.out}: this run is already complete")
    if json_:
        show.emit_json(summary)
    else:
        progress.print_summary(made.out, summary)


def _say_how_to_resume(folder: Path | None, no_plugin: list[str]) -> None:
    from hpf_cli import show
    from hpf_core.runs.folder import RunFolder

    if folder is None or not RunFolder(folder).recipe.is_file():
        return
    command = ["hpf", "run", str(RunFolder(folder).recipe), "--out", str(folder), "--resume"]
    for package in no_plugin:
        command += ["--no-plugin", package]
    show.note(f"to resume: {shlex.join(command)}")


def _dry_run(resolved: Resolved, json_: bool) -> None:
    from hpf_cli import progress, show
    from hpf_core.engine.dry_run import estimate

    with progress.Live(show.progress_console()) as live:
        rows = estimate(resolved, live.progress)
    if json_:
        show.emit_json({"stages": [row.document() for row in rows]})
    else:
        progress.print_estimate(rows)
