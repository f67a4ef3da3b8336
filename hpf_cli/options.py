"""Options that several commands share. A list of names can be repeated or separated by commas, in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hpf_cli import show
from hpf_core.errors import InputError


def split_names(parameter: typer.CallbackParam, values: list[str] | None) -> list[str] | None:
    """The names of an option that is repeated, or has them separated by commas; None if it isn't given.

    Raises:
        InputError: a name is empty.
    """
    if values is None:
        return None
    names = [name.strip() for value in values for name in value.split(",")]
    if "" in names:
        raise InputError(f"{parameter.opts[0]} needs a name")
    return names


def _quiet(asked: bool) -> bool:
    if asked:
        show.set_verbosity("quiet")
    return asked


def _verbose(asked: bool) -> bool:
    if asked:
        show.set_verbosity("verbose")
    return asked


def names(*words: str, metavar: str, help: str, **more: Any) -> Any:
    """An option with a list of names."""
    more.setdefault("show_default", False)
    return typer.Option(*words, metavar=metavar, help=f"{help} Repeat it, or use commas.", callback=split_names, **more)


NoPlugin = Annotated[list[str] | None, names("--no-plugin", metavar="<package>", help="Do not load this package.")]
"""Packages or entry points that `PluginHost.load(blocked=...)` excludes: it does not import them."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output.")]

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", callback=_quiet, help="Print only results, warnings and errors."),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=_verbose, help="Print each logged step, more progress, and tracebacks of errors."
    ),
]

Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="<key=value>",
        help="Change a value, such as terms.m2d.weight=0.5. Repeat it for more.",
        show_default=False,
    ),
]
With = Annotated[
    list[str] | None, names("--with", metavar="<term>", help="Add a term to the stages that fit, at its own weight.")
]
Without = Annotated[list[str] | None, names("--without", metavar="<term>", help="Remove a term from every stage.")]
Stages = Annotated[list[str] | None, names("--stages", metavar="<stage>", help="Use only this stage.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="<number>", help="Use this seed. [default: the recipe's]", show_default=False),
]

Camera = Annotated[
    Path | None,
    typer.Option(
        "--camera",
        metavar="<file>",
        help="The camera: rig.yaml, or of ROS, OpenCV, Kalibr, Open3D.",
        show_default=False,
    ),
]
Intrinsics = Annotated[
    str | None,
    typer.Option("--K", metavar="<fx,fy,cx,cy>", help="The camera: its intrinsics in pixels.", show_default=False),
]
UnitMm = Annotated[float, typer.Option(metavar="<number>", help="Millimetres per unit of the stored depth.")]
Hand = Annotated[str, typer.Option(metavar="<side>", help="Which hand to find: auto, right, left or both.")]
Weights = Annotated[
    str,
    typer.Option(metavar="<weights>", help="The network: shipped, a run's folder, weights, or hf://owner/name@commit."),
]
Every = Annotated[int, typer.Option(min=1, metavar="<number>", help="Use every n-th frame.")]
Track = Annotated[bool, typer.Option("--track/--no-track", help="Track and smooth the hands of a folder.")]
Views = Annotated[bool, typer.Option("--all-views", help="Use all views of a capture together, in the rig's frame.")]
Rate = Annotated[
    float, typer.Option(min=0.1, metavar="<number>", help="Frames per second, if file names contain no time.")
]
Kind = Annotated[
    str | None,
    typer.Option("--kind", "-k", metavar="<kind>", help="Only this kind, such as prior.", show_default=False),
]
