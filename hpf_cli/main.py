"""`hpf`: the command line. It parses options, calls the core and prints. Each command has its own module.

`hpf --help` imports all of these modules and must be fast. So everything except typer, rich and `hpf_core.errors` is
imported inside functions.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer

import hpf_core
from hpf_cli import data, failures, plugins, recipe, rig, show
from hpf_cli.ablate import ablate
from hpf_cli.bench import bench
from hpf_cli.commands import Command, Group
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


class Commands(Group):
    """Turns exceptions of commands into a message and an exit code: 1 for a failed run, 2 for wrong input."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Keep the command line, because `--json` changes how an error is printed."""
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
        except BrokenPipeError as error:  # the reader, such as `head`, has ended
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
    pretty_exceptions_enable=False,
    # Plain help, because rich interprets brackets in examples as markup.
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
    """3D hand pose from depth maps, trained by fitting, without labels.

    \b
    Example:
        hpf run recipes/quickstart.yaml
        hpf plugins show m2d

    Exit codes: 0 success, 1 failed run, 2 wrong input, 130 interrupted.
    """


for _name, _command, _summary in (
    ("run", run, "Train and evaluate a recipe."),
    ("eval", evaluate, "Compare predictions with labels."),
    ("predict", predict, "Find hands in depth images."),
    ("view", view, "Write a page that shows predictions."),
    ("live", live, "Show the hands of a stream in the browser."),
    ("export", export, "Write a trained network as ONNX or a folder."),
    ("ablate", ablate, "Train variants of a recipe and compare them."),
    ("report", report, "Write the report of a run again."),
    ("bench", bench, "Measure the speed of HPF on this machine."),
    ("doctor", doctor, "Describe this machine, and check HPF on it."),
):
    app.command(_name, cls=Command, short_help=_summary)(_command)
app.add_typer(data.app, name="data", short_help="Simulate, check and prepare datasets.")
app.add_typer(rig.app, name="rig", short_help="Calibrate the cameras of a capture.")
app.add_typer(recipe.app, name="recipe", short_help="Check and show recipes.")
app.add_typer(plugins.app, name="plugins", short_help="List, show, write and test plugins.")


def main() -> None:
    """The console script. An exception that arrives here is a bug, and a message below its traceback says so."""
    # Threads of GNU OpenMP wait for each other by spinning, 300,000 times by default. If another program uses a core,
    # this makes a step up to 38 times slower, and 10,000 times make it 4 times slower (docs/performance.md).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
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
