"""Whatever a guest does in a run, the run names it and never claims success; standard output stays the command's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import torch
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core import recipe as recipes
from hpf_core.engine.run import Run
from hpf_core.errors import PluginError, RunError
from hpf_core.hookspecs import hookimpl
from hpf_core.interfaces import Config, PluginSpec, Prior, TermValue
from hpf_core.plugins import PluginHost

Does = Literal["nothing", "exits", "exits when built", "raises", "interrupts", "None", "bare", "negative", "prints"]


class OddConfig(Config):
    does: Does = "nothing"


class Odd(Prior):
    def __init__(self, does: Does) -> None:
        super().__init__()
        self.does = does
        if does == "exits when built":
            sys.exit(0)

    def forward(self, points: torch.Tensor) -> Any:
        values = points.square().mean(dim=(1, 2))
        if self.does == "exits":
            sys.exit(0)
        if self.does == "raises":
            raise ValueError("not these points")
        if self.does == "interrupts":
            raise KeyboardInterrupt
        if self.does == "prints":
            print("a line of a guest")
        results = {"None": None, "bare": values, "negative": TermValue(values, -torch.ones_like(values))}
        return results.get(self.does, TermValue(values, torch.ones_like(values)))


def offering() -> ModuleType:
    made = ModuleType("hpf_odd")
    spec = PluginSpec(
        "prior", "odd", OddConfig, lambda config, build: Odd(config.does), "Odd.", "own work", default_weight=0.001
    )
    made.hpf_priors = hookimpl(lambda: [spec])  # type: ignore[attr-defined]
    return made


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> PluginHost:
    """The host that all commands load: HPF's own plugins and the odd one."""
    host = PluginHost.load(only=[])
    assert [row.status for row in host.add(offering(), "hpf-odd", "1.0")] == ["ok"]
    monkeypatch.setattr(PluginHost, "load", classmethod(lambda cls, **_: host))
    return host


CHANGES = ["stages.fit.steps=1", "evaluate=null", "log.pictures_every=100"]
RAISED: dict[Does, str] = {
    "exits": r"the prior 'odd' of hpf-odd 1\.0 failed: SystemExit: 0 \(.*test_odd_guests\.py, line \d+\)",
    "raises": r"the prior 'odd' of hpf-odd 1\.0 failed: ValueError: not these points",
    "interrupts": r"the prior 'odd' of hpf-odd 1\.0 failed: KeyboardInterrupt",
    "None": "the term 'odd' returned None, not a TermValue",
    "bare": "the term 'odd' returned a tensor of shape",
    "negative": "the term 'odd' returned a weight of -1",
}


@pytest.mark.usefixtures("_no_figures")
@pytest.mark.parametrize("does", RAISED)
def test_a_guest_that_breaks_off_a_run_is_named(does: Does, guests: PluginHost, tiny: Path, tmp_path: Path) -> None:
    sets = [*CHANGES, f"terms.odd.does={does!r}"]
    resolved = recipes.load(tiny, host=guests, with_terms=["odd"], stages=["fit"], sets=sets)
    with pytest.raises(RunError, match=RAISED[does]):
        Run(resolved, tmp_path / "run").execute()
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_one_that_ends_the_program_when_it_is_built(guests: PluginHost, tiny: Path, tmp_path: Path) -> None:
    sets = ["terms.odd.does='exits when built'"]
    resolved = recipes.load(tiny, host=guests, with_terms=["odd"], sets=sets)
    said = r"the prior 'odd' of hpf-odd 1\.0 failed to be built: SystemExit: 0"
    with pytest.raises(PluginError, match=said) as caught:
        Run(resolved, tmp_path / "run").execute()
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_no_figures", "guests")
@pytest.mark.parametrize(("does", "code"), [("exits", 1), ("exits when built", 2), ("prints", 0)])
def test_the_command_says_so(does: Does, code: int, tiny: Path, tmp_path: Path) -> None:
    changes = [word for change in (*CHANGES, f"terms.odd.does={does!r}") for word in ("--set", change)]
    words = ["run", str(tiny), "--with", "odd", "--stages", "fit", "--out", str(tmp_path / "run"), "--json", *changes]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code, done.output
    if code:
        assert "the prior 'odd' of hpf-odd 1.0 failed" in json.loads(done.stdout)["error"]["message"]
    else:
        assert json.loads(done.stdout)["recipe"] == "tiny"
        assert "a line of a guest" in done.stderr


@pytest.mark.usefixtures("_no_figures", "guests")
def test_what_a_guest_prints_in_an_ablation_is_not_in_its_document(tiny: Path, tmp_path: Path) -> None:
    row = tmp_path / "odd.yaml"
    row.write_text("terms: {odd: {does: prints}}\nstages: {fit: {terms: [supervised, odd]}}\n")
    base = tmp_path / "base.yaml"
    base.write_text(tiny.read_text().replace("evaluate: {data: real, split: test}", "evaluate: {data: real, limit: 1}"))
    words = ["ablate", str(base), "--rows", str(row), "--seeds", "1", "--scale", "0.1", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    assert [each["row"] for each in json.loads(done.stdout)["rows"]] == ["odd"]
    assert "a line of a guest" in done.stderr
