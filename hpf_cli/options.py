"""Options that several commands have, said once."""

from __future__ import annotations

from typing import Annotated

import typer

NoPlugin = Annotated[
    list[str] | None,
    typer.Option(
        "--no-plugin", metavar="PACKAGE", help="Don't load this plugin package; repeatable.", show_default=False
    ),
]
"""Packages or entry points that `PluginHost.load(blocked=...)` leaves out: they aren't even imported."""
