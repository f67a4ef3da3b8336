"""Weights as a folder for model hubs: written, and loaded again."""

from __future__ import annotations

import json
from pathlib import Path

import torch

import hpf_cli
from hpf_core.inference.build import build_parts, load_init
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.weights_folder import write_weights_folder
from hpf_core.plugins import PluginHost
from hpf_core.recipe import load


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
    config = json.loads((tmp_path / "hand" / "config.json").read_text())
    assert config["backbone"]["use"] == "hourglass"
    assert (tmp_path / "hand" / "README.md").read_text().startswith("---\nlicense: mit\n")
