"""`hpf plugins`: what is installed, what is wrong with it, and what each plugin can be told.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpf_cli import show
from hpf_core.errors import InputError, PluginError, nearest

if TYPE_CHECKING:
    from rich.table import Table

    from hpf_core.interfaces import Kind
    from hpf_core.plugins import Option, PluginRow, Registered

app = typer.Typer(no_args_is_help=True)

_KIND = typer.Option("--kind", "-k", metavar="KIND", help="Only this kind: hand, renderer, backbone, data_term, ...")
_JSON = typer.Option("--json", help="One JSON document on standard output.")


@app.callback()
def plugins() -> None:
    """See the installed plugins and their options.

    \b
    Example:
        hpf plugins list
        hpf plugins show m2d
    """


@app.command("list")
def list_plugins(
    kind: Annotated[str | None, _KIND] = None,
    as_json: Annotated[bool, _JSON] = False,
    strict: Annotated[bool, typer.Option("--strict-plugins", help="Exit with 2 if any plugin is broken.")] = False,
) -> None:
    """List every plugin: whole, broken (with the reason) or blocked.

    With --kind, packages that are broken or blocked as a whole are listed too: nobody knows what they offer.

    \b
    Example:
        hpf plugins list --kind prior
        HPF_PLUGINS= hpf plugins list --json
    """
    from hpf_core.plugins import PluginHost

    host = PluginHost.load()
    wanted = None if kind is None else _kind(kind)
    rows = [row for row in host.rows() if wanted is None or row.kind in (None, wanted)]
    if as_json:
        show.emit_json({"plugins": [_row_document(row) for row in rows]})
    elif rows:
        show.result(_row_table(rows))
    else:
        show.note(f"No {(wanted or 'plugin').replace('_', ' ')} is installed. docs/plugins.md says how to write one.")
    if strict and host.problems():
        raise PluginError("Not every plugin is whole (see above), and --strict-plugins asks for that.")


@app.command("show")
def show_plugin(
    name: Annotated[str, typer.Argument(help="A plugin's name or alias, as recipes write it.")],
    kind: Annotated[str | None, _KIND] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Show a plugin: its options with types, defaults and meaning, and whose it is.

    \b
    Example:
        hpf plugins show bone_length
        hpf plugins show multiview --json
    """
    from hpf_core.interfaces import KINDS
    from hpf_core.plugins import PluginHost, describe_options

    found = PluginHost.load().get(KINDS if kind is None else _kind(kind), name)
    options = describe_options(found.spec.config)
    if as_json:
        show.emit_json(_document(found, options))
    else:
        _show(found, options)


def _kind(word: str) -> Kind:
    """The kind that a word means; `-` and the plural are understood."""
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

    table = _table("kind", "name", "package", "what it is")
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


def _show(found: Registered, options: list[Option]) -> None:
    spec = found.spec
    show.result(f"{spec.name}: {spec.summary}\n")
    facts = {
        "kind": spec.kind.replace("_", " "),
        "package": f"{found.package} {found.version} (entry point {found.entry_point!r})",
        "source": spec.source,
        "interface": ".".join(map(str, spec.interface)),
        "needs": ", ".join(sorted(spec.needs)),
        "provides": ", ".join(sorted(spec.provides)),
        "weight": f"{spec.default_weight:g} where a recipe gives none" if _is_term(found) else "",
        "aliases": "; ".join(f"{alias} = {_value(preset)}" for alias, preset in spec.aliases.items()),
    }
    for what, text in facts.items():
        if text:
            show.result(f"  {what:<10}{text}")
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
