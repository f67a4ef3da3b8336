"""`hpf ablate`: variants of a recipe, one run per seed, one table. Heavy imports belong inside the functions."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpf_cli import show
from hpf_cli.options import Json, NoPlugin, Quiet, Sets, Verbose, names
from hpf_cli.outputs import check_folder
from hpf_core.errors import InputError, skip_on_failure

if TYPE_CHECKING:
    from rich.table import Table

    from hpf_core.ablation.dry import Forecast
    from hpf_core.ablation.plan import Job, Plan
    from hpf_core.ablation.results import VariantResult
    from hpf_core.plugins import PluginHost

_FAILED = 1


def ablate(
    base: Annotated[
        Path,
        typer.Argument(
            metavar="<recipe>", help="The recipe to vary, or the folder of a finished ablation.", show_default=False
        ),
    ],
    rows: Annotated[
        list[str],
        names(
            "--rows",
            metavar="<row>",
            help="A variant: full (the recipe), a file in the folder rows/ beside the recipe (its name), a path, "
            "without:TERM, with:TERM, or all (full and the whole folder).",
            show_default=True,
        ),
    ] = ["all"],  # noqa: B006  typer makes a new list
    seeds: Annotated[
        int,
        typer.Option(min=1, max=1000, metavar="<number>", help="Runs per variant. The first uses the recipe's seed."),
    ] = 3,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="<folder>",
            help="Folder of the ablation. [default: ablations/NAME]",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        float,
        typer.Option(metavar="<factor>", help="Shorten training, such as 0.01 for a smoke test in minutes."),
    ] = 1.0,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="<i/n>", help="Run only the i-th of n parts. All parts share the folder.", show_default=False
        ),
    ] = None,
    set_: Sets = None,
    table_only: Annotated[
        bool, typer.Option("--table-only", help="Train nothing. Write the table and the figures again.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing. Print the runs, their images and hours.")
    ] = False,
    no_plugin: NoPlugin = None,
    json_: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train variants of a recipe with several seeds, and compare them with each other and the paper in one table.

    Completed runs are skipped: repeat the command to resume. The table shows the reason of each run that failed, and
    the exit code is then 1.

    \b
    Example:
        hpf ablate recipes/paper.yaml --seeds 3 --out ablation
        hpf ablate recipes/quickstart.yaml --rows full,no_vae,without:m2d --scale 0.01
        hpf ablate recipes/paper.yaml --out /shared/ablation --shard 2/4
        hpf ablate ablation
    """
    from hpf_core.ablation import plan as plans
    from hpf_core.plugins import PluginHost

    if not 0 < scale <= 1:
        raise InputError(f"--scale is {scale:g}, but a number of more than 0 and at most 1 was expected")
    if base.is_dir() or table_only:
        _again(base, out, json_)
        return
    host = PluginHost.load(blocked=no_plugin or [])
    plan = _plan(base, rows, seeds, out, scale, set_ or [], host)
    jobs = plans.shard(plan.jobs(), *_shard(shard))
    if dry_run:
        _dry_run(plan, jobs, host, json_)
        return
    check_folder("--out", plan.out)
    _run(plan, jobs, host, json_)


def _plan(
    base: Path, rows: list[str], seeds: int, out: Path | None, scale: float, sets: list[str], host: PluginHost
) -> Plan:
    from hpf_core import recipe as recipes
    from hpf_core.ablation.paper import published_rows
    from hpf_core.ablation.plan import Plan
    from hpf_core.ablation.variants import choose

    whole = recipes.load(base, sets=sets, host=host)
    for note in (*whole.changes, *whole.notes):
        show.note(note, style="yellow")
    chosen = choose(base, rows, published_rows())
    first = whole.recipe.seed
    return Plan(
        base=base.resolve(),
        variants=tuple(chosen),
        seeds=tuple(range(first, first + seeds)),
        sets=tuple(sets),
        scale=scale,
        out=out or Path("ablations") / str(whole.recipe.name),
    )


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if not found:
        raise InputError(f"--shard {text}: expected I/N, such as 1/4")
    return int(found[1]), int(found[2])


def _run(plan: Plan, jobs: Sequence[Job], host: PluginHost, json_: bool) -> None:
    from hpf_cli import progress
    from hpf_core.ablation.schedule import Schedule, Watcher
    from hpf_core.guests import stdout_held

    whole = plan.write()
    show.note(f"{len(jobs)} runs in {plan.out}")

    @contextmanager
    def watch(what: str) -> Iterator[Watcher]:
        show.note(what)
        with progress.Live(show.progress_console()) as live:
            yield Watcher([live], live.progress)

    try:
        with stdout_held():
            outcomes = Schedule(plan, jobs, host, watch, show.note).execute()
    except KeyboardInterrupt:
        show.note(f"to resume: {shlex.join(['hpf', *sys.argv[1:]])}")
        raise
    _show(whole, json_)
    if "failed" in outcomes.values():
        raise typer.Exit(_FAILED)


def _again(base: Path, out: Path | None, json_: bool) -> None:
    from hpf_core.ablation.plan import read

    folder = base if base.is_dir() else out
    if folder is None:
        raise InputError("--table-only needs the ablation's folder: hpf ablate DIR, or --out DIR")
    plan = read(folder)
    check_folder("the ablation's folder", plan.out)
    _show(plan, json_)


def _show(plan: Plan, json_: bool) -> None:
    """Make the table of all complete runs, its files and figures, and print it."""
    from hpf_core.ablation import table
    from hpf_core.ablation.paper import published_rows
    from hpf_core.ablation.results import collect

    results = collect(plan, published_rows())
    written = table.write(plan, results)
    with skip_on_failure("figures"):
        from hpf_core.ablation import figures

        written += figures.draw(plan, results)
    if json_:
        show.emit_json(table.document(plan, results))
        return
    show.result(_table(results))
    for line in (
        *_elsewhere(results),
        *table.differences(results),
        *table.caption(plan, results),
        *table.notes(results),
    ):
        show.result(line)
    show.result(f"in {plan.out}: {', '.join(str(path.relative_to(plan.out)) for path in written)}")


def _table(results: Sequence[VariantResult]) -> Table:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hpf_core.ablation.table import HEADINGS, cells
    from hpf_core.ablation.variants import FULL

    rows = [cells(result) for result in results]
    # So that the table fits into 80 columns, equal values are printed once and empty columns are left out. The paper's
    # result of the whole method alone is no comparison.
    others = (result.published for result in results if result.variant.name != FULL)
    theirs = any(paper and paper.mean_error_mm is not None for paper in others)
    shown = [k for k, name in enumerate(HEADINGS) if any(row[k] for row in rows) and (theirs or name != "paper")]
    shown = [k for k in shown if HEADINGS[k] != "measured on"]
    wide = sum(max(len(row[k]) for row in (HEADINGS, *rows)) + 1 for k in shown)
    if wide > Console().width:  # the control tells more
        shown = [k for k in shown if HEADINGS[k] != "after/before"]
    where = _where(results)
    title = Text(f"measured on {where}") if where else None
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True
    )
    for k in shown:
        table.add_column(HEADINGS[k], justify="right" if k else "left", no_wrap=bool(k), overflow="fold")
    for result, row in zip(results, rows, strict=True):
        table.add_row(*(Text(row[k], style="dim" if not result.runs else "") for k in shown))
    return table


def _where(results: Sequence[VariantResult]) -> str:
    """The data on which most rows were evaluated; empty if none was."""
    found = [result.measured_on for result in results if result.runs]
    return max(dict.fromkeys(found), key=found.count, default="")


def _elsewhere(results: Sequence[VariantResult]) -> list[str]:
    """A line for each row that was measured on something else than most."""
    where = _where(results)
    return [f"{r.label}: measured on {r.measured_on}" for r in results if r.runs and r.measured_on != where]


def _dry_run(plan: Plan, jobs: Sequence[Job], host: PluginHost, json_: bool) -> None:
    from hpf_cli import progress
    from hpf_core.ablation.dry import forecast

    with progress.Live(show.progress_console()) as live:
        found = forecast(plan, jobs, host, live.progress)
    hours = sum(each.hours for each in found)
    if json_:
        show.emit_json({"runs": [each.document() for each in found], "hours": round(hours, 3), "scale": plan.scale})
        return
    show.result(_forecast_table(found))
    refused = {each.state: each.name.partition(",")[0] for each in found if each.state.startswith("can't")}
    for reason, row in refused.items():
        show.result(f"{row} {reason}")
    show.result(
        f"{hours:,.2f} hours in total, estimated from a few steps on this machine (with artificial frames of 3 views "
        "instead of real ones), without caches, pictures and evaluation."
    )


def _forecast_table(found: Sequence[Forecast]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="dry run: no training", title_justify="left")
    for name, side in (("run", "left"), ("state", "left"), ("stages", "left"), ("images", "right"), ("hours", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for each in found:
        state = each.state.partition(":")[0]
        table.add_row(Text(each.name), state, Text(", ".join(each.stages)), f"{each.images:,}", f"{each.hours:,.2f}")
    return table
