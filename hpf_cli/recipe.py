"""`hpf recipe`: check recipes, show one with every default filled in, print the schema for editors.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpf_cli import show
from hpf_cli.commands import Command, Group
from hpf_cli.options import Json, NoPlugin, Seed, Sets, Stages, With, Without
from hpf_core.errors import InputError

if TYPE_CHECKING:
    from hpf_core.recipe import Problem, Resolved

app = typer.Typer(cls=Group, no_args_is_help=True)


@app.callback()
def recipe() -> None:
    """Check recipes, and show a recipe with all of its values.

    \b
    Example:
        hpf recipe check recipes/*.yaml
        hpf recipe show recipes/quickstart.yaml --without vae
    """


@app.command(cls=Command, short_help="Check recipes without running them.")
def check(
    files: Annotated[list[Path], typer.Argument(metavar="<recipe>", help="A recipe.", show_default=False)],
    no_plugin: NoPlugin = None,
    as_json: Json = False,
) -> None:
    """Check every value of recipes without running them. The exit code is 2 if a recipe is wrong.

    \b
    Example:
        hpf recipe check recipes/*.yaml
        hpf recipe check mine.yaml --json
    """
    from hpf_core.plugins import PluginHost
    from hpf_core.recipe import InvalidRecipe, load

    host = PluginHost.load(blocked=no_plugin or [])
    documents: list[dict[str, Any]] = []
    for path in files:
        try:
            resolved = load(path, host=host)
        except InvalidRecipe as error:
            documents.append(_document(path, error.problems, []))
            if not as_json:
                show.error(str(error))
        else:
            documents.append(_document(path, (), resolved.notes))
            if not as_json:
                for note in resolved.notes:
                    show.warning(f"{path}: {note}")
                show.result(f"{path}: {_in_short(resolved)}")
    if as_json:
        show.emit_json({"recipes": documents})
    wrong = sum(not document["ok"] for document in documents)
    if wrong and not as_json and len(files) > 1:
        show.note(f"{wrong} of {len(files)} recipes are wrong.")
    if wrong:
        raise typer.Exit(InputError.exit_code)


@app.command("show", cls=Command, short_help="Show a recipe with every value filled in.")
def show_recipe(
    file: Annotated[Path, typer.Argument(metavar="<recipe>", help="The recipe.", show_default=False)],
    sets: Sets = None,
    with_terms: With = None,
    without_terms: Without = None,
    stages: Stages = None,
    seed: Seed = None,
    no_plugin: NoPlugin = None,
    as_json: Json = False,
) -> None:
    """Show a recipe with the recipes that it extends, all changes and all defaults. The output is a valid recipe.

    \b
    Example:
        hpf recipe show recipes/quickstart.yaml --without vae --set terms.m2d.weight=0.5
        hpf recipe show recipes/paper.yaml > mine.yaml
    """
    from hpf_core.plugins import PluginHost
    from hpf_core.recipe import load

    resolved = load(
        file,
        sets=sets or (),
        with_terms=with_terms or (),
        without_terms=without_terms or (),
        stages=stages or None,
        seed=seed,
        host=PluginHost.load(blocked=no_plugin or []),
    )
    for change in resolved.changes:
        show.note(change)
    for note in resolved.notes:
        show.warning(note)
    if as_json:
        show.emit_json(resolved.document())
    else:
        typer.echo(resolved.to_yaml(), nl=False)  # without rich, so that the output is a valid file


@app.command(cls=Command, short_help="Print the JSON schema of recipes.")
def schema(no_plugin: NoPlugin = None) -> None:
    """Print the JSON schema of recipes, with the options of every installed plugin, for editors.

    \b
    Example:
        hpf recipe schema > recipe.schema.json

    Put `# yaml-language-server: $schema=recipe.schema.json` into the first line of a recipe.
    """
    from hpf_core.plugins import PluginHost
    from hpf_core.plugins.schema import recipe_schema

    typer.echo(json.dumps(recipe_schema(PluginHost.load(blocked=no_plugin or [])), indent=2))


def _document(path: Path, problems: tuple[Problem, ...], notes: Any) -> dict[str, Any]:
    return {
        "file": path,
        "ok": not problems,
        "problems": [
            {
                "where": problem.where,
                "file": problem.at.source.name if problem.at is not None else None,
                "line": problem.at.line if problem.at is not None else None,
                "column": problem.at.column if problem.at is not None else None,
                "path": problem.path,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in problems
        ],
        "notes": list(notes),
    }


def _in_short(resolved: Resolved) -> str:
    """`valid: pretrain (156250 steps), fit (218000 steps)`."""
    return "valid: " + ", ".join(f"{stage.name} ({stage.steps:,} steps)" for stage in resolved.stages)
