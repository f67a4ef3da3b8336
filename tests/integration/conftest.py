"""A recipe so small that a whole run takes seconds; its capture and its prior are made once for all tests."""

import pytest

from hpf_core import recipe as recipes
from hpf_core.plugins import PluginHost

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
