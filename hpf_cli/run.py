"""`hpf run`: a recipe's stages, trained, evaluated and written down. Heavy imports belong inside the function."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpf_cli.options import NoPlugin
from hpf_core.process_group import is_launched

if TYPE_CHECKING:
    from hpf_core.recipe import Resolved


def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. [default: runs/NAME-1, -2, ...]", show_default=False)
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Switch a term off in every stage; can be repeated.", show_default=False)
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with", help="Add a term to every stage that fits it, at its default weight.", show_default=False
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a value: terms.m2d.weight=0.5; can be repeated.", show_default=False),
    ] = None,
    stages: Annotated[str | None, typer.Option(help="Only these stages, with commas.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed than the recipe's.", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder (or the last one).")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show stages, images, memory and hours at the measured rate; train nothing."),
    ] = False,
    no_plugin: NoPlugin = None,
    allow_other_plugins: Annotated[
        bool,
        typer.Option(
            "--allow-other-plugins", help="Run a saved recipe, or resume, with other versions of its plugins."
        ),
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print summary.json to standard output.")] = False,
) -> None:
    """Run a recipe: all of its stages, with a table, figures and summary.json at the end.

    \b
    Example:
        hpf run recipes/quickstart.yaml
        hpf run recipes/quickstart.yaml --without vae --out runs/no-vae
        hpf run recipes/quickstart.yaml --out runs/no-vae --resume
        torchrun --nproc-per-node 2 -m hpf run recipes/quickstart.yaml
    """
    if is_launched():
        # Before torch is imported: each process would tell of its sockets, and DDP of what it needn't have looked for.
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
        stages=None if stages is None else [stages],
        seed=seed,
        host=PluginHost.load(blocked=no_plugin or []),
        allow_other_plugins=allow_other_plugins,
    )
    if resume and not allow_other_plugins:
        begun = out or last_folder(resolved.recipe.name or "run")
        check_resumed(RunFolder(begun).recipe, resolved)
    # Several processes make one run (docs/distributed.md): one of them shows it.
    if show.is_first():
        for change in resolved.changes:
            show.console.print(change, markup=False, style="yellow", soft_wrap=True)
        for note in resolved.notes:
            show.console.print(f"note: {note}", markup=False, style="yellow", soft_wrap=True)
    if dry_run:
        if show.is_first():
            _dry_run(resolved, json_)
        return
    with progress.Live(show.console if show.is_first() else show.NOWHERE) as live:
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
        show.note(f"{made.out}: this run is done already, and there is nothing to resume")
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
    show.note(f"to go on from here: {shlex.join(command)}")


def _dry_run(resolved: Resolved, json_: bool) -> None:
    from hpf_cli import progress, show
    from hpf_core.engine.dry_run import estimate

    with progress.Live(show.console) as live:
        rows = estimate(resolved, live.progress)
    if json_:
        show.emit_json({"stages": [row.document() for row in rows]})
    else:
        progress.print_estimate(rows)
