"""`hpf bench`: the table of speeds. Heavy imports belong inside the functions: `hpf --help` imports this module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpf_cli.options import Json, NoPlugin, Quiet, Verbose, names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from hpf_core.bench import Row

_HERE = Path(__file__).parent


def bench(
    only: Annotated[
        list[str] | None, names("--only", metavar="<row>", help="Measure only this row. [default: all]")
    ] = None,
    alternations: Annotated[
        int, typer.Option(min=1, max=1000, metavar="<number>", help="Measurements of each side, in turn.")
    ] = 10,
    device: Annotated[
        str, typer.Option(metavar="<device>", help="Device of the tensors: cpu, cuda, cuda:1 or auto.")
    ] = "cpu",
    threads: Annotated[int, typer.Option(min=1, max=256, metavar="<number>", help="CPU threads of PyTorch.")] = 1,
    precision: Annotated[
        str, typer.Option(metavar="<precision>", help="float32 or bf16, for the network in rows that train.")
    ] = "float32",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the rows that train; this takes minutes at first.")
    ] = False,
    no_plugin: NoPlugin = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure the speed of HPF on this machine, in turn with a baseline for each row.

    Each row has medians and, in brackets, the first and third quartile. `kept` is the memory that the baseline and HPF
    keep for the backward pass. The inputs (a small simulated capture, a prior) are made once and cached.

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

    torch.set_num_threads(threads)
    host = PluginHost.load(blocked=no_plugin or [])
    runtime = [f"runtime.precision={precision}", f"runtime.compile={str(compiled).lower()}"]
    fit = load(_HERE / "bench_fit.yaml", sets=runtime, host=host)
    predict = load(_HERE / "bench_predict.yaml", host=host)
    with progress.Live(show.progress_console()) as live:
        made = Bench(fit, predict, device, alternations, live.progress)
        rows = made.rows(only or [])
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
