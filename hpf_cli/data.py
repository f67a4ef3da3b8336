"""`hpf data`: make simulated captures, and check any capture before it is used.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

import typer

from hpf_cli.sample import sample

app = typer.Typer(no_args_is_help=True)
app.command("sample")(sample)


@app.callback()
def data() -> None:
    """Make and check datasets.

    \b
    Example:
        hpf data simulate captures/small --frames 400 --test 100
        hpf data check captures/small
    """
