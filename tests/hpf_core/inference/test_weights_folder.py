"""Weights as a folder for model hubs: written, and loaded again."""

from __future__ import annotations

import json

import torch

from hpf_core.inference.hand_network import load_network
from hpf_core.inference.weights_folder import write_weights_folder


def test_a_folder_of_weights_is_the_network_that_it_was_written_from(tmp_path):
    network = load_network("shipped")
    assert write_weights_folder(network, tmp_path / "hand") == ["weights.safetensors", "config.json", "README.md"]
    again = load_network(tmp_path / "hand")
    maps = torch.linspace(-150, 150, 64 * 64).view(1, 64, 64)
    assert torch.equal(network.estimate(maps).points, again.estimate(maps).points)
    config = json.loads((tmp_path / "hand" / "config.json").read_text())
    assert config["backbone"]["use"] == "hourglass"
    assert (tmp_path / "hand" / "README.md").read_text().startswith("---\nlicense: mit\n")
