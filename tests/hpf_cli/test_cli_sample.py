"""`hpf data sample`: a sheet, a figure and a statistic, or a message and nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from hpf_cli.main import app

RECIPE = """
grid: {size: 32}
data: {synthetic: {use: synthetic, cone_deg: 0, roll_deg: 0}}
stages: {pretrain: {draw: {synthetic: 2}, steps: 1, terms: [supervised]}}
"""


@pytest.fixture
def hpf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    monkeypatch.delenv("HPF_PLUGINS", raising=False)
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["data", "sample", *words])


def test_sheet_figure_and_table(hpf: Callable[..., Any], tmp_path: Path) -> None:
    done = hpf("--count", "9", "--stats", "100", "--out", "new/s.png")
    assert done.exit_code == 0, done.output
    assert "what 100 samples cover" in done.stdout
    assert "of 32" in done.stdout
    assert "wrote new/s.png and new/s-coverage.png" in done.stderr
    for name in ("s.png", "s-coverage.png"):
        with Image.open(tmp_path / "new" / name) as image:
            assert image.format == "PNG"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["s-coverage.png", "s.png"]


def test_the_same_seed_the_same_bytes_and_a_recipe_counts(hpf: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE, encoding="utf-8")
    first, again = (hpf("r.yaml", "--count", "4", "--stats", "64", "--json", "--out", f"{name}.png") for name in "ab")
    assert first.exit_code == 0, first.output
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    one, two = json.loads(first.stdout), json.loads(again.stdout)
    assert one["coverage"] == two["coverage"]
    assert one["figure"] == "a-coverage.png"
    # Of a cone of 0 degrees the camera sees the palm alone.
    assert sum(one["coverage"]["views"]["cells"][0]) == pytest.approx(1, abs=1e-3)
    other = json.loads(hpf("r.yaml", "--count", "4", "--stats", "64", "--json", "--seed", "1").stdout)
    assert other["coverage"] != one["coverage"]


def test_no_statistic_where_none_is_asked_for(hpf: Callable[..., Any], tmp_path: Path) -> None:
    done = hpf("--count", "1", "--stats", "0", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"recipe": None, "seed": 0, "count": 1, "sheet": "samples.png"}
    assert [path.name for path in tmp_path.glob("*.png")] == ["samples.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "0"], "--count"),
        (["--stats", "5"], "the statistics need 16 samples or more"),
        (["--out", "sheet.jpg"], "expected a PNG file, such as sheet.png"),
        (["--out", "folder.png"], "is a folder"),
        (["--out", "file/s.png"], "is a file, not a folder"),
        (["missing.yaml"], "missing.yaml"),
        (["no_synthetic.yaml"], "the recipe has no data.synthetic to draw from"),
    ],
)
def test_bad_input_is_said_and_writes_nothing(
    hpf: Callable[..., Any], tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    real = "data: {real: simulated}\nstages: {fit: {draw: {real: 2}, steps: 1, terms: [m2d]}}\n"
    (tmp_path / "no_synthetic.yaml").write_text(real, encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    done = hpf(*words)
    assert done.exit_code == 2, done.output
    assert message in done.stderr.replace("\n", " ")
    assert sorted(tmp_path.rglob("*")) == before
