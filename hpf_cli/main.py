"""`hpf`: the command line. It parses, calls the core and shows; each command lives in a module of its own.

Those modules are imported here, also for `hpf --help`, which answers at once: what they need beyond typer, rich and
`hpf_core.errors` is imported inside their functions.
"""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import hpf_core
from hpf_cli import data, failures, plugins, recipe, show
from hpf_cli.ablate import ablate
from hpf_cli.bench import bench
from hpf_cli.doctor import doctor
from hpf_cli.evaluate import evaluate
from hpf_cli.export import export
from hpf_cli.live import live
from hpf_cli.predict import predict
from hpf_cli.report import report
from hpf_cli.run import run
from hpf_cli.view import view
from hpf_core.errors import HPFError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""


class Commands(TyperGroup):
    """Turns what a command raises into a message and an exit code: 1 the run failed, 2 the input was wrong."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Keep the command line: whether it asks for `--json` decides how an error is shown."""
        self._words = tuple(args)
        show.begin()
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; `HPFError` ends it with its own exit code, Ctrl-C with 130. Other exceptions pass."""
        try:
            with show.plain_warnings():
                return super().invoke(ctx)
        except HPFError as error:
            raise self._failed(error) from error
        except BrokenPipeError as error:  # whoever read it, such as `head`, has enough
            raise typer.Exit(HPFError.exit_code) from error
        except OSError as error:
            raise self._failed(failures.of_system(error)) from error
        except KeyboardInterrupt as error:
            show.note("interrupted")
            raise typer.Exit(INTERRUPTED) from error
        except Exception as error:
            if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # typer's words about wrong options
                failures.say(error.format_message(), error.exit_code, self._words, shown=True)
            raise

    def _failed(self, error: HPFError) -> typer.Exit:
        failures.say(str(error), error.exit_code, self._words)
        return typer.Exit(error.exit_code)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help: rich's would take the brackets of an example for markup.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        show.result(f"hpf {hpf_core.__version__}")
        raise typer.Exit


@app.callback()
def hpf(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """3D hand pose from depth maps, trained by fitting: no labels needed.

    \b
    Example:
        hpf run recipes/quickstart.yaml
        hpf plugins show m2d

    Exit codes: 0 done, 1 the run failed, 2 the input was wrong, 130 interrupted.
    """


app.command("run", short_help="Run a recipe: train, evaluate, write it all down.")(run)
app.command("eval")(evaluate)
app.command("predict", short_help="Find the hands in depth images, folders and captures.")(predict)
app.command("view", short_help="Make a page that shows predictions.")(view)
app.command("live", short_help="Show the hands of a stream in the browser.")(live)
app.command("export", short_help="Write a trained network as ONNX, or as a folder of weights.")(export)
app.command("ablate", short_help="Run a recipe's rows, several seeds each; one table and the paper's figures.")(ablate)
app.command("report", short_help="Make the report of a run again.")(report)
app.command("bench", short_help="Measure this machine: the table of speeds.")(bench)
app.command("doctor", short_help="Show what this machine has, and check HPF on its devices.")(doctor)
app.add_typer(data.app, name="data")
app.add_typer(recipe.app, name="recipe")
app.add_typer(plugins.app, name="plugins")


def main() -> None:
    """The console script. An exception that gets here is a bug, and says so below its traceback."""
    try:
        try:
            app()
        finally:
            failures.leave_output()
    except Exception:
        traceback.print_exc()
        show.error("This is a bug in HPF or in one of its plugins. Please report it with the traceback above.")
        sys.exit(1)


if __name__ == "__main__":
    main()
