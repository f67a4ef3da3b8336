"""Weights as a folder for model hubs: written, and loaded again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

import hpf_cli
from hpf_core.errors import DataError, InputError
from hpf_core.inference.build import build_parts, load_init
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.weights_folder import write_weights_folder
from hpf_core.plugins import PluginHost
from hpf_core.recipe import load
from hpf_core.runs import checkpoint
from hpf_core.runs.weights import weights_file, weights_name


def load_recipe(folder, line):
    """A recipe of the shipped network that begins with what the line says."""
    text = Path(hpf_cli.__file__).with_name("bench_predict.yaml").read_text()
    (folder / "recipe.yaml").write_text(text.replace("init: shipped", line))
    return load(folder / "recipe.yaml", host=PluginHost.load())


def test_a_folder_of_weights_is_the_network_that_it_was_written_from(tmp_path):
    network = load_network("shipped")
    assert write_weights_folder(network, tmp_path / "hand") == ["weights.safetensors", "config.json", "README.md"]
    again = load_network(tmp_path / "hand")
    maps = torch.linspace(-150, 150, 64 * 64).view(1, 64, 64)
    assert torch.equal(network.estimate(maps).points, again.estimate(maps).points)
    resolved = load_recipe(tmp_path, f"init: {tmp_path / 'hand'}")
    parts = build_parts(resolved)
    load_init(resolved, parts)
    for name, tensor in network.backbone.state_dict().items():
        assert torch.equal(parts.backbone.state_dict()[name], tensor)
    assert "HPF measured none" in (tmp_path / "hand" / "README.md").read_text()
    config = json.loads((tmp_path / "hand" / "config.json").read_text())
    assert config["backbone"]["use"] == "hourglass"
    assert (tmp_path / "hand" / "README.md").read_text().startswith("---\nlicense: mit\n")


def test_the_shipped_weights_have_this_form():
    """Also their description: the file beside the weights says what the weights say of themselves."""
    (folder,) = PluginHost.load(only=[]).get("backbone", "hourglass").spec.weights
    assert {"weights.safetensors", "config.json", "README.md"} <= {path.name for path in folder.iterdir()}
    assert weights_file(folder) == folder / "weights.safetensors"
    assert weights_name(weights_file(folder)) == "hourglass48"
    about = checkpoint.read(weights_file(folder)).about
    assert json.loads((folder / "config.json").read_text()) == {"format": "hpf-weights/1", **about}
    head = (folder / "README.md").read_text().split("---\n")[1]
    assert set(YAML(typ="safe").load(head)) == {"license", "library_name", "pipeline_tag", "tags"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": {"size": 64, "cube_mm": 250.0}}, r"belongs to other weights: its grid is .*250.*, but that of"),
        ({"hand": "mano"}, "belongs to other weights: its hand is mano, but that of weights.safetensors is spheres41"),
        ({"format": "other/3"}, "its format is other/3, but hpf-weights/1 was expected"),
    ],
)
def test_a_description_of_other_weights_is_refused(tmp_path, change, message):
    write_weights_folder(load_network("shipped"), tmp_path / "hand")
    config = tmp_path / "hand" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(InputError, match=message):
        load_network(tmp_path / "hand")
    config.write_text("{")
    with pytest.raises(DataError, match=r"config\.json is damaged"):
        load_network(tmp_path / "hand")
    config.unlink()
    assert load_network(tmp_path / "hand").grid.size == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": {"size": 64, "cube_mm": 250.0}}, r"for a cube of 250 mm, but the recipe's is 300 mm\. Set grid"),
        ({"hand": "mano"}, "with the hand model 'mano', but the recipe's is 'spheres41'"),
    ],
)
def test_weights_of_another_cube_or_hand_are_refused(tmp_path, change, message):
    """By a recipe that begins with them, and by a run's folder that holds them. Weights without a description pass."""
    kept = checkpoint.read(weights_file(PluginHost.load(only=[]).get("backbone", "hourglass").spec.weights[0]))
    for name, about in (("other", {**kept.about, **change}), ("plain", {})):
        checkpoint.save(tmp_path / name / "weights.safetensors", kept.tensors, about)
    resolved = load_recipe(tmp_path, f"init: {tmp_path / 'other' / 'weights.safetensors'}")
    with pytest.raises(InputError, match=message):
        load_init(resolved, build_parts(resolved))
    (tmp_path / "other" / "recipe.yaml").write_text(load_recipe(tmp_path, "init: null").to_yaml())
    with pytest.raises(InputError, match=message):
        load_network(tmp_path / "other")
    resolved = load_recipe(tmp_path, f"init: {tmp_path / 'plain' / 'weights.safetensors'}")
    load_init(resolved, build_parts(resolved))
