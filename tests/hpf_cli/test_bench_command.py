"""`hpf bench` on the command line."""

from __future__ import annotations

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from hpf_cli import show
from hpf_cli.main import app
from hpf_core.bench import Bench, Timing, scenes


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path) -> list[Bench]:
    """A table in no time; the benches that were made."""
    made: list[Bench] = []

    def compare(self: Bench, baseline, ours) -> Timing:
        made.append(self)
        return Timing(8.0, 2.0, (7.0, 10.0), (1.0, 4.0), 4.0, (2.0, 5.0))

    monkeypatch.setattr(Bench, "compare", compare)
    monkeypatch.setattr(scenes, "BATCH", 2)
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path))
    return made


def test_json_has_the_rows_and_what_they_were_measured_on(quick):
    done = CliRunner().invoke(app, ["bench", "--json", "--only", "render_64, distance_64", "--alternations", "3"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert [row["name"] for row in document["rows"]] == ["render_64", "distance_64"]
    row = document["rows"][0]
    assert (row["baseline"], row["ours"], row["unit"], row["ratio"]) == (8.0, 2.0, "ms", 4.0)
    assert row["ratio_spread"] == [2.0, 5.0]
    assert (document["device"], document["threads"], document["alternations"]) == ("cpu", 1, 3)
    assert (document["precision"], document["compiled"]) == ("float32", False)
    assert {"processor", "cores", "torch", "hpf"} <= document.keys()
    assert quick[0].alternations == 3


def test_steps_may_be_compiled_and_in_bf16(quick):
    done = CliRunner().invoke(app, ["bench", "--json", "--only", "render_64", "--precision", "bf16", "--compile"])
    assert done.exit_code == 0, done.output
    assert {"precision": "bf16", "compiled": True}.items() <= json.loads(done.stdout).items()
    runtime = quick[0]._fit.recipe.runtime
    assert (runtime.precision, runtime.compile) == ("bf16", True)


def test_the_table_fits_a_terminal(monkeypatch):
    """Also with steps of seconds and the longest names, nothing cut."""
    monkeypatch.setattr(
        Bench,
        "compare",
        lambda self, *sides: Timing(23891.0, 1142.0, (21256.0, 34019.0), (1117.4, 1150.2), 0.949, (0.888, 0.991)),
    )
    done = CliRunner().invoke(app, ["bench", "--only", "render_64,render_128"])
    assert done.exit_code == 0, done.output
    table, notes = done.stdout.split("\nrender_64:")
    for figure in ("23,891 ", "(21,256-34,019)", "1,142 ", "(1,117-1,150)", "0.949 ", "(0.888-0.991)", "kept, MiB"):
        assert figure in table.replace("\n", " \n")
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= 80
    assert "ratio: baseline / ours" in notes
    assert "device cpu" in notes


def test_a_narrow_terminal_cuts_no_figure(monkeypatch):
    monkeypatch.setattr(show, "_results", Console(width=40))
    done = CliRunner().invoke(app, ["bench", "--only", "render_64"])
    assert done.exit_code == 0, done.output
    assert "…" not in done.stdout
    assert "(7-10)" in done.stdout
    assert "device cpu" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "rendering"], "--only rendering: there is no such row"),
        (["--device", "nothing"], "device 'nothing' can't be used"),
        (["--precision", "float16"], "expected 'float32' or 'bf16', got the text 'float16'"),
    ],
)
def test_wrong_input_is_refused(options, message):
    done = CliRunner().invoke(app, ["bench", *options])
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""
