"""The classes of all commands: placeholders of values and arguments in one style, in all versions of typer."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command whose help shows a value as `<name>`, an optional argument as `[<name>]`, several as `<name>...`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the command's name in the usage line."""
        pieces = ["[options]"]
        for parameter in _arguments(self):
            name = _placeholder(parameter)
            pieces.append(name if parameter.required else f"[{name}]")
        return pieces

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options."""
        arguments = [(_placeholder(parameter), parameter.help or "") for parameter in _arguments(self)]
        options = [
            record
            for parameter in self.get_params(ctx)
            if parameter.param_type_name == "option" and (record := parameter.get_help_record(ctx)) is not None
        ]
        for title, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class Group(TyperGroup):
    """A command with commands of its own."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the group's name in the usage line."""
        return ["[options]", "<command>", "..."]


def _arguments(command: TyperCommand) -> list[Any]:
    return [parameter for parameter in command.params if parameter.param_type_name == "argument"]


def _placeholder(parameter: Any) -> str:
    return str(parameter.metavar) + ("..." if parameter.nargs != 1 else "")
