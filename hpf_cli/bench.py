"""`hpf bench`: the table of speeds. Heavy imports belong inside the functions: `hpf --help` imports this module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpf_cli.options import NoPlugin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from hpf_core.bench import Row

_HERE = Path(__file__).parent


def bench(
    only: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="These rows alone. [default: all]", show_default=False)
    ] = None,
    alternations: Annotated[int, typer.Option(min=1, max=1000, help="How often each side is timed, in turn.")] = 10,
    device: Annotated[str, typer.Option(help="Where tensors are: cpu, cuda, cuda:1, auto.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads for tensors on the CPU.")] = 1,
    precision: Annotated[
        str, typer.Option(metavar="float32|bf16", help="Of the network in the rows that train.")
    ] = "float32",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile what the rows that train repeat; minutes at first.")
    ] = False,
    no_plugin: NoPlugin = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Measure this machine: what HPF does against the plain way of doing it, in one process, in turn.

    Each row gives medians and, in brackets, first and third quartile. `kept` is what the plain way and HPF's keep in
    memory for the backward pass. What the rows need (a small simulated capture, a prior) is made once and cached.

    \b
    Example:
        hpf bench
        hpf bench --only render_64,render_128 --alternations 30
        hpf bench --device cuda --compile --precision bf16 --json > bench.json
    """
    import torch

    from hpf_cli import progress, show
    from hpf_core.bench import Bench
    from hpf_core.bench.machine import machine
    from hpf_core.plugins import PluginHost
    from hpf_core.recipe import load

    names = [] if only is None else [name.strip() for name in only.split(",") if name.strip()]
    torch.set_num_threads(threads)
    host = PluginHost.load(blocked=no_plugin or [])
    runtime = [f"runtime.precision={precision}", f"runtime.compile={str(compiled).lower()}"]
    fit = load(_HERE / "bench_fit.yaml", sets=runtime, host=host)
    predict = load(_HERE / "bench_predict.yaml", host=host)
    with progress.Live(show.console) as live:
        made = Bench(fit, predict, device, alternations, live.progress)
        rows = made.rows(names)
    about = machine(made.device) | {"precision": precision, "compiled": compiled, "alternations": alternations}
    if as_json:
        show.emit_json(about | {"rows": [row.document() for row in rows]})
        return
    show.result(_table(rows))
    for row in rows:
        show.result(f"{row.name}: {row.what}; ratio: {row.ratio_is}")
    show.result("measured on: " + ", ".join(f"{name} {value}" for name, value in about.items()))


def _table(rows: Sequence[Row]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("baseline", "ours", "", "ratio", "kept, MiB"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for row in rows:
        kept = "" if row.kept_mib is None else " ".join(_number(mib) for mib in row.kept_mib)
        figures = (row.baseline, row.ours, row.ratio), (row.baseline_spread, row.ours_spread, row.ratio_spread)
        cells = [f"{_number(v)}\n({_number(low)}-{_number(high)})" for v, (low, high) in zip(*figures, strict=True)]
        table.add_row(row.name, *cells[:2], row.unit, cells[2], kept)
    for column in table.columns:  # a figure that is cut is none, in a file or a narrow terminal
        column.min_width = max(
            len(line) for cell in (column.header, *column.cells) for line in str(cell).splitlines() or [""]
        )
    return table


def _number(value: float) -> str:
    """Three figures."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
