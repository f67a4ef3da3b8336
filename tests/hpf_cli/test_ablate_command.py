"""`hpf ablate`: exit codes, what it prints, and what it leaves in its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpf_cli.ablate import _elsewhere, _table
from hpf_cli.main import app
from hpf_core.ablation.paper import PublishedRow
from hpf_core.ablation.results import RunResult, VariantResult
from hpf_core.ablation.schedule import Schedule
from hpf_core.ablation.variants import Variant
from hpf_core.engine.run import Run

# Pretraining alone, measured on synthetic samples: no capture is needed.
TINY = """
name: tiny
backbone: {use: hourglass, width: 8, stem: 8, depth: 1}
grid: {size: 32}
data: {synthetic: synthetic}
stages:
  pretrain: {draw: {synthetic: 2}, steps: 200, warmup: 100, terms: [supervised]}
evaluate: {data: synthetic, limit: 4}
log: {every: 100}
runtime: {device: cpu, threads: 1}
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("hpf_core.engine.run.run_figures", lambda *_: None)
    monkeypatch.setattr("hpf_core.report.execute.write_report", lambda *_: None)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "coordinates.yaml").write_text("terms: {supervised: {on: points}}\n")
    (tmp_path / "rows" / "views.yaml").write_text("stages: {pretrain: {draw: {real: 2}, terms: [m2d]}}\n")
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path / "tiny.yaml"


def hpf(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    done = CliRunner().invoke(app, ["ablate", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_rows_run_fail_alone_and_end_in_a_table(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, shown, said = hpf(base, "--seeds", 1, "--scale", 0.01, "--out", out, "--json")
    assert code == 1, "a row that can't be run on the base"
    document = json.loads(shown)
    assert document == json.loads((out / "table.json").read_text())
    rows = {row["row"]: row for row in document["rows"]}
    assert list(rows) == ["full", "coordinates", "views"]
    assert [rows[name]["seeds"] for name in rows] == [1, 1, 0]
    assert rows["full"]["mean_error_mm"] > 0
    assert "has no data.real" in rows["views"]["errors"]["0"]
    assert "views, seed 0: failed" in said
    summary = json.loads((out / "runs" / "full" / "seed-0" / "summary.json").read_text())
    assert (summary["seed"], summary["stages"][0]["steps"]) == (0, 2)

    code, shown, _ = hpf(out)
    assert code == 0
    assert "SHORTENED" in shown
    assert "SIMULATED" in shown
    assert " mm compared with full, per seed (one seed, which has no spread)" in shown
    heading = next(line for line in shown.splitlines() if "mean mm" in line)
    assert heading.split() == ["row", "mean", "mm", "<=", "20", "mm", "seeds"]
    for name in ("full", "coordinates", "views", "0 of 1", "has no data.real", "table.tex", "others.png"):
        assert name in shown
    assert hpf(base, "--table-only", "--out", out)[0] == 0
    code, _, said = hpf(base, "--rows", "full", "--seeds", 1, "--scale", 0.01, "--out", out)
    assert code == 0, "what fails isn't asked for"
    assert "pretraining" not in said, "what is done is skipped"


def test_columns_that_say_nothing_are_not_shown() -> None:
    def row(name: str, control: float | None, paper: float | None) -> VariantResult:
        run = RunResult(0, "fit", 10.0, 0.5, None, control, None, {"data": "nyu", "split": "test"})
        theirs = PublishedRow(name=name, label=name, mean_error_mm=paper, source="W", where="T")
        return VariantResult(Variant(name), (run,), published=None if paper is None else theirs)

    def shown(*rows: VariantResult) -> list[str]:
        return [str(column.header) for column in _table(rows).columns]

    bare = ["row", "mean mm", "<= 20 mm", "seeds"]
    # What the paper reports of the whole method is no figure to hold a row of one's own against.
    assert shown(row("full", None, 12.62), row("with:mine", None, None)) == bare
    assert shown(row("full", 20.0, 12.62), row("with:mine", None, None)) == [*bare, "fitted/control"]
    assert shown(row("full", None, 12.62), row("no_vae", None, 14.17)) == ["row", "mean mm", "paper", *bare[2:]]


def test_a_narrow_terminal_shows_the_control_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"data": "nyu", "split": "test"}
    runs = tuple(RunResult(seed, "fit", 10.0 + seed, 0.5, 30.0, 20.0, None, about) for seed in range(2))
    rows = [VariantResult(Variant("full"), runs), VariantResult(Variant("a_row_of_a_long_name"), runs)]
    other = RunResult(0, "pretrain", 5.0, 0.5, None, None, None, {"data": "synthetic", "split": "unseen"})
    rows.append(VariantResult(Variant("elsewhere"), (other,)))
    for columns, extra in ((80, []), (100, ["after/before"])):
        monkeypatch.setenv("COLUMNS", str(columns))
        made = _table(rows)
        assert [str(column.header) for column in made.columns][4:] == [*extra, "fitted/control"]
        assert str(made.title) == "measured on nyu/test"
    assert _elsewhere(rows) == ["elsewhere: measured on synthetic/unseen"]


def test_a_dry_run_writes_nothing(base: Path, tmp_path: Path) -> None:
    code, shown, _ = hpf(base, "--rows", "full,views", "--seeds", 1, "--out", tmp_path / "out", "--dry-run", "--json")
    assert code == 0
    runs = json.loads(shown)["runs"]
    assert [(run["run"].split()[0], run["state"].partition(":")[0], run["images"]) for run in runs] == [
        ("shared", "to do", 400),
        ("full,", "to do", 0),
        ("views,", "can't run", 0),
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows", "coordinate"], "Did you mean 'coordinates'"),
        (["--scale", "0"], "more than 0 and at most 1"),
        (["--shard", "2"], "expected I/N, such as 1/4"),
        (["--shard", "3/2"], "the first is 1/2, the last 2/2"),
        (["--rows", ","], "--rows needs a name"),
        (["--set", "stages.fit.steps=3"], "Known: pretrain"),
        (["--table-only"], "needs the ablation's folder"),
        (["--table-only", "--out", "."], "is no folder of an ablation"),
    ],
)
def test_wrong_input_is_said_and_nothing_begun(base: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    code, shown, error = hpf(base, *arguments, *([] if "--table-only" in arguments else ["--out", tmp_path / "out"]))
    assert code == 2
    assert shown == ""
    assert said in " ".join(error.split())
    assert not (tmp_path / "out").exists()


def test_ctrl_c_ends_it_and_says_how_to_go_on(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def execute(run: Run) -> None:
        made.append(str(run.resolved.recipe.name))
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "execute", execute)
    code, _, said = hpf(base, "--out", tmp_path / "out")
    assert code == 130
    assert made == ["pretraining"], "the other rows aren't begun"
    assert "to resume: hpf" in said
    assert not list((tmp_path / "out" / "claims").iterdir())


def test_a_shard_makes_its_part(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    monkeypatch.setattr(Schedule, "execute", lambda self: parts.append([str(job) for job in self.jobs]) or {})
    for number in (1, 2):
        options = ("--rows", "full,coordinates", "--seeds", 2, "--out", tmp_path / "out")
        assert hpf(base, *options, "--shard", f"{number}/2")[0] == 0
    assert parts == [["full, seed 0", "full, seed 1"], ["coordinates, seed 0", "coordinates, seed 1"]]
