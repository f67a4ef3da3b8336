"""A recipe so small that a whole run takes seconds; its capture and its prior are made once for all tests."""

import json

import pytest
import torch
from safetensors.torch import load_file

from hpf_core import recipe as recipes
from hpf_core.engine.run import Run
from hpf_core.plugins import PluginHost
from hpf_core.report import run_and_report

TINY = """
name: tiny
backbone: {use: hourglass, width: 8, stem: 8, depth: 1}
grid: {size: 32}
data:
  real: {use: simulated, train: 6, validation: 2, test: 4}
  synthetic: {use: synthetic, cone_deg: 60, roll_deg: 45}
stages:
  pretrain: {draw: {synthetic: 4}, steps: 6, terms: [supervised], lr: 1e-3}
  fit:
    draw: {real: 2, synthetic: 3}
    steps: 8
    terms: [supervised, m2d, d2m, multiview, vae, bone_length, collision]
    lr: 1e-4
  control: {control_of: fit, draw: {synthetic: 3}, terms: [supervised]}
terms:
  vae: {steps: 10, batch: 16, width: 16, latent: 4}
evaluate: {data: real, split: test}
log: {every: 1, pictures_every: 100, checkpoint_every: 3, gradients_every: 4}
"""


STAGES = ("pretrain", "fit", "control")


def rows_of(folder):
    """The rows of a run's metrics.jsonl; every line must be whole."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same_tensors(one, other):
    """Whether two files hold the same tensors, bit for bit."""
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def assert_same_run(one, other):
    """The same weights after every stage, the same rows of metrics but for the rate, the same errors."""
    for stage in STAGES:
        assert same_tensors(one / "stages" / f"{stage}.safetensors", other / "stages" / f"{stage}.safetensors"), stage
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    logs = [[{k: v for k, v in r.items() if k != "images_per_second"} for r in rows_of(f)] for f in (one, other)]
    assert json.dumps(logs[0]) == json.dumps(logs[1]), "the log has neither gaps nor repeats"
    summaries = [json.loads((f / "summary.json").read_text()) for f in (one, other)]
    assert summaries[0]["evaluation"] == summaries[1]["evaluation"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def host():
    return PluginHost.load()


@pytest.fixture(autouse=True)
def _cache(cache, monkeypatch):
    monkeypatch.setenv("HPF_CACHE_DIR", str(cache))
    monkeypatch.delenv("HPF_PLUGINS", raising=False)


@pytest.fixture
def tiny(tmp_path):
    """The recipe's file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def load(tiny, host):
    """The tiny recipe, resolved, with the changes of a command line."""

    def loaded(**changes):
        return recipes.load(tiny, host=host, **changes)

    return loaded


@pytest.fixture(scope="session")
def whole(tmp_path_factory, cache, host):
    """The folder of one uninterrupted run, and its summary."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.yaml").write_text(TINY)
    out = folder / "run"
    return out, run_and_report(Run(recipes.load(folder / "tiny.yaml", host=host), out, cache=cache))


@pytest.fixture
def _no_figures(whole, monkeypatch):
    """For runs whose figures nobody looks at: drawing them takes longer than all the rest. `whole` has them."""
    monkeypatch.setattr("hpf_core.engine.run.run_figures", lambda *_: None)
