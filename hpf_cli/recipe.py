"""`hpf recipe`: check recipes, show one with every default filled in, print the schema for editors.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpf_cli import show
from hpf_cli.options import NoPlugin
from hpf_core.errors import InputError

if TYPE_CHECKING:
    from hpf_core.recipe import Problem, Resolved

app = typer.Typer(no_args_is_help=True)

_JSON = typer.Option("--json", help="One JSON document on standard output.")
_SET = typer.Option("--set", metavar="PATH=VALUE", help="Change a value, e.g. terms.m2d.weight=0.5; repeatable.")
_WITH = typer.Option("--with", metavar="TERM", help="Add a term to every stage that fits; repeatable.")
_WITHOUT = typer.Option("--without", metavar="TERM", help="Switch a term off; repeatable.")
_STAGES = typer.Option("--stages", metavar="STAGE", help="Keep only these stages, separated by commas; repeatable.")


@app.callback()
def recipe() -> None:
    """Check recipes and see what they come to.

    \b
    Example:
        hpf recipe check recipes/*.yaml
        hpf recipe show recipes/quickstart.yaml --without vae
    """


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recipes.", show_default=False)],
    no_plugin: NoPlugin = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Check recipes, every value of them, without starting anything. Exits with 2 if one is wrong.

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


@app.command("show")
def show_recipe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recipe.", show_default=False)],
    sets: Annotated[list[str] | None, _SET] = None,
    with_terms: Annotated[list[str] | None, _WITH] = None,
    without_terms: Annotated[list[str] | None, _WITHOUT] = None,
    stages: Annotated[list[str] | None, _STAGES] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Another seed.", show_default=False)] = None,
    no_plugin: NoPlugin = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Show a recipe with all that it extends, all changes and every default: a recipe that can be run itself.

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
        typer.echo(resolved.to_yaml(), nl=False)  # to the letter, so that it can be written to a file


@app.command()
def schema(no_plugin: NoPlugin = None) -> None:
    """Print the JSON schema of recipes, with the options of every installed plugin, for editors.

    \b
    Example:
        hpf recipe schema > recipe.schema.json

    Then begin a recipe with `# yaml-language-server: $schema=recipe.schema.json`.
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
