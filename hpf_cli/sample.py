"""`hpf data sample`: synthetic samples and their statistics. Heavy imports belong inside the functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hpf_cli.options import Json, NoPlugin, Quiet, Verbose
from hpf_cli.outputs import check_picture
from hpf_core.errors import InputError


def sample(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="<recipe>", help="A recipe with data.synthetic. [default: default options]", show_default=False
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=1024, metavar="<number>", help="Samples on the sheet.")] = 64,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="<number>", help="Seed of the samples.")] = 0,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="<file>", help="The sheet, a PNG file. OUT-coverage.png goes beside it."),
    ] = Path("samples.png"),
    stats: Annotated[
        int, typer.Option(min=0, max=100_000, metavar="<number>", help="Samples of the statistics; 0 for none.")
    ] = 2000,
    no_plugin: NoPlugin = None,
    json_: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw synthetic samples as the network gets them, and print statistics of their poses and views.

    The sheet shows the depth maps, with the points of the hand in every second column. OUT-coverage.png shows the
    statistics. The table is a summary of them, and --json prints all.

    \b
    Example:
        hpf data sample
        hpf data sample recipes/quickstart.yaml --count 16 --out quickstart.png
        hpf data sample --stats 10000 --json > coverage.json
    """
    import torch

    from hpf_cli import progress, show
    from hpf_core.figures.contact_sheet import contact_sheet
    from hpf_core.figures.coverage import coverage_figure
    from hpf_core.figures.drawing import to_pixels
    from hpf_core.figures.style import write_figure
    from hpf_core.inference.samples import source
    from hpf_core.plugins import PluginHost
    from hpf_core.recipe import load
    from hpf_core.simulation.coverage import LEAST, coverage

    check_picture("--out", out)
    if 0 < stats < LEAST:
        raise InputError(f"--stats is {stats}, but the statistics need {LEAST} samples or more, or 0 for none")
    host = PluginHost.load(blocked=no_plugin or [])
    made = source(host, None if recipe is None else load(recipe, host=host))
    with progress.Live(show.progress_console()) as live:
        batches = made.draw(max(count, stats), seed, progress=live.progress)
    depth = torch.cat([batch.depth for batch in batches])[:count].numpy()
    points = torch.cat([batch.points for batch in batches])[:count].numpy()
    pixels = to_pixels(points, made.grid.size, made.grid.cube_mm)
    size, cube = made.grid.size, f"{made.grid.cube_mm:g} mm"
    about = f"simulated data, seed {seed}; cut out of crops of {size} x {size} pixels ({cube})"
    document: dict[str, Any] = {"recipe": recipe, "seed": seed, "count": count, "sheet": out}
    if stats:
        pose, shape = (torch.cat([getattr(batch, name) for batch in batches])[:stats] for name in ("pose", "shape"))
        document["coverage"] = coverage(made.hand, pose, shape, seed)
        document["figure"] = write_figure(
            out.with_name(f"{out.stem}-coverage.png"),
            coverage_figure(document["coverage"], f"simulated data, seed {seed}"),
        )
    title = f"{count:,} synthetic samples"
    sheet = contact_sheet(depth, pixels, links=made.hand.links, far_mm=made.grid.far_mm, title=title, about=about)
    write_figure(out, sheet)
    if json_:
        show.emit_json(document)
        return
    if stats:
        show.result(_table(document["coverage"]))
    show.note(f"wrote {out}" + (f" and {document['figure']}" if stats else ""))


def _table(found: Mapping[str, Any]) -> Any:
    from rich.table import Table

    from hpf_core.simulation.coverage import PINCH_MM, VOXEL_MM

    sets, views, depths = found["sets"], found["views"], found["depth_mm"]
    rare, common = min(sets, key=sets.__getitem__), max(sets, key=sets.__getitem__)
    rows = [
        ("sets of extended fingers that occur", f"{sum(v > 0 for v in sets.values())} of {len(sets)}"),
        ("  rarest, commonest", f"{rare} {sets[rare]:.2%}, {common} {sets[common]:.1%}"),
        (f"pinches within {PINCH_MM:g} mm", _each(found["pinches"])),
        (
            f"reachable voxels of {VOXEL_MM:g} mm visited",
            _each({name: row["covered"] for name, row in found["workspace"].items()}),
        ),
        ("cells of the sphere of views hit", f"{views['occupied']:.0%}"),
        ("  fullest, emptiest", f"{views['most']:.2f}, {views['least']:.2f} times the mean"),
        ("deepest contact in a pose", ", ".join(f"{at}: {mm:.1f} mm" for at, mm in depths.items())),
    ]
    table = Table(
        title=f"what {found['samples']:,} samples cover",
        title_justify="left",
        show_header=False,
        box=None,
        pad_edge=False,
    )
    table.add_column(style="bold")
    table.add_column()
    for row in rows:
        table.add_row(*row)
    return table


def _each(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items()) or "none"
