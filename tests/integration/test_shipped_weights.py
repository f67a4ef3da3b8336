"""The initial weights that HPF ships are what their card says."""

import re
from pathlib import Path

import pytest
import torch

from hpf_core import recipe as recipes
from hpf_core.inference import unseen
from hpf_core.inference.build import build_parts, load_init, shipped_weights
from hpf_core.runs import checkpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def quickstart(host):
    return recipes.load(ROOT / "recipes" / "quickstart.yaml", host=host)


def card():
    return (ROOT / "hpf_plugins" / "weights" / "hourglass48" / "README.md").read_text(encoding="utf-8")


def test_they_are_small_and_say_what_they_are(quickstart):
    path = shipped_weights(quickstart)
    assert path.stat().st_size <= 5_000_000
    about = checkpoint.read(path).about
    assert about["recipe"] == "initial"
    assert about["hand"] == "spheres41"
    assert f"{about['step']:,} of 32 images" in card()


@pytest.mark.parametrize("name", ["quickstart", "initial"])
def test_the_recipes_that_use_and_make_them_agree(host, name):
    """In the network, and in the views and crops of the synthetic samples."""
    recipe = recipes.load(ROOT / "recipes" / f"{name}.yaml", host=host, sets=["init=shipped"])
    assert shipped_weights(recipe).parent.name == "hourglass48"
    start = recipes.load(ROOT / "recipes" / "quickstart.yaml", host=host)
    assert recipe.synthetic.config == start.synthetic.config


def test_their_error_on_unseen_samples(host, tmp_path):
    recipe = recipes.load(ROOT / "recipes" / "initial.yaml", host=host, sets=["init=shipped"])
    parts = build_parts(recipe, tmp_path)
    random = unseen.evaluate(parts, torch.device("cpu"), 256).measured.mean
    load_init(recipe, parts)
    found = unseen.evaluate(parts, torch.device("cpu"), 256).measured.mean
    said = float(re.search(r"\*\*([\d.]+) mm\*\* mean", card())[1])
    assert said <= 15
    assert found == pytest.approx(said, abs=1.5)  # of 256 samples instead of 10,000
    assert random > 3 * found
