"""`hpf doctor`: describe this machine, and check HPF on its devices. Heavy imports belong inside the function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpf_cli.options import Json, NoPlugin, Quiet, Verbose

if TYPE_CHECKING:
    from rich.table import Table

    from hpf_core.doctor import Check

_HERE = Path(__file__).parent


def doctor(
    device: Annotated[
        str, typer.Option(metavar="<device>", help="Devices to check: all, cpu, cuda, cuda:1 or auto.")
    ] = "all",
    tolerance: Annotated[
        float, typer.Option(min=0.001, max=1000, metavar="<factor>", help="Multiply all tolerances by this factor.")
    ] = 1.0,
    compiled: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="Check torch.compile, too. [default: on GPUs only, because a CPU needs minutes]",
            show_default=False,
        ),
    ] = None,
    no_plugin: NoPlugin = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Describe this machine, and check that HPF computes correct values on each of its devices.

    Renderer, distances, terms, a training step and prediction are compared with a float64 reference on the CPU. This
    takes about half a minute per device without --compile. The exit code is 1 if a value is wrong.

    \b
    Example:
        hpf doctor
        hpf doctor --device cuda --json > doctor.json
    """
    from hpf_cli import progress, show
    from hpf_core.doctor import choose_devices, describe, examine
    from hpf_core.doctor.examine import advice
    from hpf_core.plugins import PluginHost
    from hpf_core.recipe import load

    devices = choose_devices(device)
    host = PluginHost.load(blocked=no_plugin or [])
    fit, predict = (load(_HERE / f"{name}.yaml", host=host) for name in ("doctor_fit", "bench_predict"))
    with progress.Live(show.progress_console()) as live:
        found = examine(fit, predict, devices, tolerance, compiled, live.progress)
    about, todo = describe(host), advice(found)
    right = not todo
    if as_json:
        document = about | {"right": right, "checks": [check.document() for check in found], "what_to_do": todo}
        show.emit_json(document)
    else:
        _show_machine(about)
        show.result(_table(found))
        for line in [*(f"note: {note}" for note in about["notes"]), *todo]:
            show.result(line)
        show.result(_verdict(found))
    if not right:
        raise typer.Exit(1)


def _verdict(found: list[Check]) -> str:
    counts = {
        status: sum(check.status == status for check in found) for status in ("right", "wrong", "failed", "skipped")
    }
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    devices = ", ".join(dict.fromkeys(check.device for check in found))
    return f"{devices}: {said}"


def _show_machine(about: dict[str, Any]) -> None:
    from hpf_cli import show

    for name, value in about["versions"].items():
        if name in ("hpf", "python", "torch"):
            show.result(f"{name}: {value or 'not installed'}")
    gib = "unknown" if about["memory_bytes"] is None else f"{about['memory_bytes'] / 2**30:.1f} GiB"
    show.result(f"system: {about['system']}")
    show.result(f"processor: {about['processor']}, {about['cores']} cores, {about['threads']} threads, memory {gib}")
    compiler = about["compiler"]
    kernels = ", ".join(f"{name} {'not compiled' if why else 'OK'}" for name, why in compiler["kernels"].items())
    show.result(f"compiler: {compiler['version'] or compiler['command'] or 'none'} ({kernels})")
    for gpu in about["gpus"]:
        memory = f"{gpu['free_bytes'] / 2**30:.1f} of {gpu['memory_bytes'] / 2**30:.1f} GiB free"
        show.result(f"{gpu['device']}: {gpu['name']}, {memory}, capability {gpu['capability']}")
    if not about["gpus"]:
        show.result("GPU: none that PyTorch can use")
    if about["driver"]:
        show.result(f"NVIDIA driver: {about['driver']}; PyTorch's CUDA: {about['cuda_of_torch'] or 'none'}")
    for name, folder in about["folders"].items():
        free = "" if folder["free_bytes"] is None else f", {folder['free_bytes'] / 1e9:.1f} GB free"
        show.result(f"{name} folder: {folder['path']}{free}")


def _table(found: list[Check]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for heading in ("device", "check", "mode", "", "difference", "tolerance"):
        table.add_column(heading, justify="right" if heading in ("difference", "tolerance") else "left", no_wrap=True)
    for check in found:
        unit = {"mm": " mm", "share": "", "relative": ""}[check.unit]
        cells = ["" if v is None else f"{v:.2g}{unit}" for v in (check.difference, check.tolerance)]
        table.add_row(check.device, check.what, check.mode, check.status, *cells)
        if check.detail:
            table.add_row("", f"  {check.detail.splitlines()[0][:60]}")
    for column in table.columns:  # no figure is cut, in a file or a narrow terminal
        column.min_width = max(len(str(cell)) for cell in (column.header, *column.cells))
    return table
