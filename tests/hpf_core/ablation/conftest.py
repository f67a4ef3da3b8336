"""A recipe so small that a row runs in a second, with rows beside it; its capture is made once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpf_core.ablation.plan import Plan
from hpf_core.ablation.variants import choose
from hpf_core.plugins import PluginHost

TINY = """
name: tiny
backbone: {use: hourglass, width: 8, stem: 8, depth: 1}
grid: {size: 32}
data:
  real: {use: simulated, train: 4, validation: 1, test: 3}
  synthetic: {use: synthetic, cone_deg: 60, roll_deg: 45}
stages:
  pretrain: {draw: {synthetic: 3}, steps: 6, terms: [supervised], lr: 1e-3}
  fit: {draw: {real: 2, synthetic: 2}, steps: 6, terms: [supervised, m2d, bone_length], lr: 1e-4}
  control: {control_of: fit, draw: {synthetic: 2}, terms: [supervised]}
evaluate: {data: real, split: test}
log: {every: 1, pictures_every: 1000, checkpoint_every: 2, gradients_every: 100}
runtime: {device: cpu, threads: 1}
"""
ROWS = {
    "no_m2d": "extends: ../elsewhere.yaml\nstages: {control: off}\nterms: {m2d: off}\n",
    "synth_noise": "stages: {fit: off, control: off}\n",
    "misspelt": "terms: {m2d: {wieght: 2}}\n",
    "no_split": "evaluate: {split: nowhere}\n",
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _quick(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own cache; and no one looks at the runs' own figures and reports, which take longer than the runs."""
    monkeypatch.setenv("HPF_CACHE_DIR", str(cache))
    monkeypatch.delenv("HPF_PLUGINS", raising=False)
    monkeypatch.setattr("hpf_core.engine.run.run_figures", lambda *_: None)
    monkeypatch.setattr("hpf_core.report.execute.write_report", lambda *_: None)


@pytest.fixture(scope="session")
def host() -> PluginHost:
    return PluginHost.load()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The recipe's file, with the rows beside it."""
    folder = tmp_path / "recipes"
    (folder / "rows").mkdir(parents=True)
    for name, text in ROWS.items():
        (folder / "rows" / f"{name}.yaml").write_text(text)
    (folder / "tiny.yaml").write_text(TINY)
    return folder / "tiny.yaml"


@pytest.fixture
def planned(base: Path, tmp_path: Path) -> Callable[..., Plan]:
    """A plan of these rows, written down."""

    def made(*rows: str, seeds: int = 1, scale: float = 1.0, out: str = "out", sets: tuple[str, ...] = ()) -> Plan:
        return Plan(base, choose(base, rows), tuple(range(seeds)), sets, scale, tmp_path / out).write()

    return made
