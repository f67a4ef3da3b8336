"""`hpf plugins`: list and show plugins, write a new one, and test plugins against their contract.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpf_cli import show
from hpf_cli.commands import Command, Group
from hpf_cli.options import Json, Kind, NoPlugin
from hpf_core.errors import HPFError, InputError, PluginError, nearest

if TYPE_CHECKING:
    from rich.table import Table

    from hpf_core import interfaces
    from hpf_core.plugins import Option, PluginRow, Registered
    from hpf_core.testing import ClauseResult

app = typer.Typer(cls=Group, no_args_is_help=True)


@app.callback()
def plugins() -> None:
    """Show the installed plugins and their options, write a new plugin, and test plugins against their contract.

    Loading a plugin runs its code. HPF imports all installed plugin packages, or only those in HPF_PLUGINS.

    \b
    Example:
        hpf plugins list
        hpf plugins show m2d
        hpf plugins new prior my_prior
        hpf plugins check hpf-my-prior
    """


@app.command("list", cls=Command, short_help="List the plugins.")
def list_plugins(
    kind: Kind = None,
    no_plugin: NoPlugin = None,
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict-plugins", help="Exit with 2 if any plugin is broken.")] = False,
) -> None:
    """List every plugin: OK, broken (with the reason) or blocked.

    With --kind, the list still contains packages that are broken or blocked as a whole: their kinds are unknown.

    \b
    Example:
        hpf plugins list --kind prior
        HPF_PLUGINS= hpf plugins list --json
    """
    from hpf_core.plugins import PluginHost

    host = PluginHost.load(blocked=no_plugin or [])
    wanted = None if kind is None else _kind(kind)
    rows = [row for row in host.rows() if wanted is None or row.kind in (None, wanted)]
    if as_json:
        show.emit_json({"plugins": [_row_document(row) for row in rows]})
    elif rows:
        show.result(_row_table(rows))
    else:
        show.note(f"No {(wanted or 'plugin').replace('_', ' ')} is installed. docs/plugins.md says how to write one.")
    if strict and host.problems():
        raise PluginError("A plugin is broken (see above), and --strict-plugins allows none.")


@app.command("show", cls=Command, short_help="Show a plugin and its options.")
def show_plugin(
    name: Annotated[
        str, typer.Argument(metavar="<name>", help="Name or alias of the plugin in recipes.", show_default=False)
    ],
    kind: Kind = None,
    no_plugin: NoPlugin = None,
    as_json: Json = False,
) -> None:
    """Show a plugin: its package, and its options with types, defaults and descriptions.

    \b
    Example:
        hpf plugins show bone_length
        hpf plugins show multiview --json
    """
    from hpf_core.interfaces import KINDS
    from hpf_core.plugins import PluginHost, describe_options

    found = PluginHost.load(blocked=no_plugin or []).get(KINDS if kind is None else _kind(kind), name)
    options = describe_options(found.spec.config)
    if as_json:
        show.emit_json(_document(found, options))
    else:
        _show(found, options)


@app.command("new", cls=Command, short_help="Write a package with a new plugin.")
def new_plugin(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="<kind>",
            help="hand, renderer, backbone, data_term, prior, dataset, transform, refiner or observer.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str, typer.Argument(metavar="<name>", help="Its name in recipes, such as my_prior.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="<folder>", help="Where to make the folder of the package.")
    ] = Path(),
    as_json: Json = False,
) -> None:
    """Write a small package with a working plugin of a kind, as a starting point for your own.

    It has a pyproject.toml with the entry point, one module with typed options, a test that runs the contract, and a
    README. For a prior or a data term, it also has a recipe that compares training with and without it.

    \b
    Example:
        hpf plugins new prior my_prior
        pip install -e ./hpf-my-prior
    """
    from hpf_core.plugins import PluginHost
    from hpf_core.plugins.scaffold import new_package

    made = new_package(_kind(kind), name, out, PluginHost.load())
    folder = made[0].parent
    if as_json:
        show.emit_json({"folder": folder, "files": list(made)})
        return
    for path in made:
        show.result(str(path))
    place = folder if folder.is_absolute() else f"./{folder}"
    show.note(f"\nNext: pip install -e {place} && hpf plugins check {folder.name}")


@app.command("check", cls=Command, short_help="Test plugins against their contract.")
def check_plugins(
    packages: Annotated[
        list[str],
        typer.Argument(metavar="<package>", help="A package, or the name of one plugin.", show_default=False),
    ],
    kind: Kind = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="<key=value>",
            help="Set an option of the plugin, as in a recipe. Repeat it for more.",
            show_default=False,
        ),
    ] = None,
    hand: Annotated[
        str | None, typer.Option(metavar="<name>", help="Test it with this hand model.", show_default=False)
    ] = None,
    renderer: Annotated[
        str | None, typer.Option(metavar="<name>", help="Test it with this renderer.", show_default=False)
    ] = None,
    no_plugin: NoPlugin = None,
    as_json: Json = False,
) -> None:
    """Test plugins against the contract of their kind. The exit code is 1 if a plugin breaks a clause.

    All plugins of a package are built, run on small simulated data, and compiled. Each takes some seconds.

    \b
    Example:
        hpf plugins check hpf-my-prior
        hpf plugins check vae --set steps=10 --json
    """
    from hpf_core.guests import stdout_held
    from hpf_core.plugins import PluginHost
    from hpf_core.plugins.chosen import chosen, options_of

    host = PluginHost.load(blocked=no_plugin or [])
    found = chosen(host, packages, None if kind is None else _kind(kind))
    from hpf_core.testing import check

    if set_ and len(found) > 1:
        names = ", ".join(offer.spec.name for offer in found)
        raise InputError(f"--set needs one plugin, but there are {len(found)}: {names}. Give the name of one of them.")
    options = options_of(found[0], set_ or [])
    built_with: dict[str, Any] = {
        "hand": None if hand is None else host.get("hand", hand).spec,
        "renderer": None if renderer is None else host.get("renderer", renderer).spec,
    }
    documents, broken = [], 0
    for offer in found:
        if show.console.is_terminal:
            show.note(f"checking the {offer.spec.kind.replace('_', ' ')} {offer.spec.name} ...")
        with stdout_held():
            findings = list(check(offer.spec, options, **built_with))
        documents.append(_check_document(offer, findings))
        wrong = sum(finding.status == "broken" for finding in findings)
        broken += wrong > 0
        if not as_json:
            said = f"{wrong} of {len(findings)} clauses broken" if wrong else f"keeps its {len(findings)} clauses"
            show.result(
                f"{offer.spec.kind.replace('_', ' ')} {offer.spec.name} ({offer.package} {offer.version}): {said}"
            )
            show.result(_finding_table(findings))
    if as_json:
        show.emit_json({"plugins": documents})
    if broken:
        raise typer.Exit(HPFError.exit_code)


def _kind(word: str) -> interfaces.Kind:
    """The kind with this name; `-` and the plural are accepted."""
    from hpf_core.interfaces import KINDS

    wanted = word.lower().replace("-", "_")
    for kind in KINDS:
        if wanted in (kind, f"{kind}s"):
            return kind
    raise InputError(f"There is no kind of plugin {word!r}. {nearest(wanted, KINDS)}")


# ----------------------------------------------------------------------------------------------------------- documents


def _row_document(row: PluginRow) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "name": row.name,
        "package": row.package,
        "version": row.version,
        "entry_point": row.entry_point,
        "status": row.status,
        "reason": row.reason,
        "summary": row.summary,
        "source": row.source,
        "aliases": row.aliases,
    }


def _document(found: Registered, options: list[Option]) -> dict[str, Any]:
    spec = found.spec
    return {
        "kind": spec.kind,
        "name": spec.name,
        "package": found.package,
        "version": found.version,
        "entry_point": found.entry_point,
        "summary": spec.summary,
        "source": spec.source,
        "interface": list(spec.interface),
        "deprecated": spec.deprecated,
        "aliases": spec.aliases,
        "preset": found.preset,
        "needs": spec.needs,
        "provides": spec.provides,
        "default_weight": spec.default_weight if _is_term(found) else None,
        "options": [
            {
                "name": option.name,
                "type": option.type,
                "required": option.required,
                "default": option.default,
                "meaning": option.meaning,
            }
            for option in options
        ],
    }


def _check_document(offer: Registered, findings: list[ClauseResult]) -> dict[str, Any]:
    return {
        "kind": offer.spec.kind,
        "name": offer.spec.name,
        "package": offer.package,
        "version": offer.version,
        "ok": all(finding.status != "broken" for finding in findings),
        "clauses": [{"name": f.clause.name, "says": f.clause.says, "status": f.status, "why": f.why} for f in findings],
    }


def _is_term(found: Registered) -> bool:
    return found.spec.kind in ("data_term", "prior")


# -------------------------------------------------------------------------------------------------------------- tables


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns[:-1]:
        table.add_column(column, overflow="fold")
    table.add_column(columns[-1], overflow="fold", ratio=1)
    return table


def _row_table(rows: list[PluginRow]) -> Table:
    from rich.text import Text

    table = _table("kind", "name", "package", "description")
    for row in rows:
        state = {"ok": "", "broken": "broken: ", "blocked": "blocked: "}[row.status]
        also = f"Also: {', '.join(row.aliases)}" if row.aliases else ""
        table.add_row(
            Text((row.kind or "?").replace("_", " ")),
            Text(row.name),
            Text(f"{row.package} {row.version}"),
            Text("\n").join(
                text
                for text in (
                    Text.assemble((state, "bold red" if row.status == "broken" else "bold yellow"), row.reason),
                    Text(row.summary),
                    Text(also, style="dim"),
                )
                if text.plain
            ),
        )
    return table


def _finding_table(findings: list[ClauseResult]) -> Table:
    from rich.text import Text

    table = _table("", "clause", "requirement")
    marks = {"holds": ("ok", "green"), "broken": ("broken", "bold red"), "not applicable": ("-", "dim")}
    for finding in findings:
        why = Text(finding.why, style="red" if finding.status == "broken" else "dim")
        said = [Text(finding.clause.says), *([why] if finding.why else [])]
        table.add_row(Text(*marks[finding.status]), Text(finding.clause.name), Text("\n").join(said))
    return table


def _show(found: Registered, options: list[Option]) -> None:
    from hpf_core.plugins.checks import interface_words

    spec = found.spec
    show.result(f"{spec.name}: {spec.summary}\n")
    facts = {
        "kind": spec.kind.replace("_", " "),
        "package": f"{found.package} {found.version} (entry point {found.entry_point!r})",
        "source": spec.source,
        "interface": interface_words(spec.interface),
        "deprecated": spec.deprecated,
        "needs": ", ".join(sorted(spec.needs)),
        "provides": ", ".join(sorted(spec.provides)),
        "weight": f"{spec.default_weight:g} by default" if _is_term(found) else "",
        "aliases": "; ".join(f"{alias} = {_value(preset)}" for alias, preset in spec.aliases.items()),
    }
    for what, text in facts.items():
        if text:
            show.result(f"  {what:<11}{text}")
    if not options:
        show.result("\nIt has no options.")
        return
    from rich.text import Text

    table = _table("option", "type", "default", "meaning")
    for option in options:
        default = "(required)" if option.required else _value(option.default)
        table.add_row(Text(option.name), Text(option.type), Text(default), Text(option.meaning))
    show.result(table)


def _value(value: Any) -> str:
    """A value as a recipe would write it on one line."""
    if isinstance(value, str):
        return value
    if hasattr(value, "items"):
        return "{" + ", ".join(f"{key}: {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value)
