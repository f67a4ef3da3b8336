"""Measure what hourglasses cost, in CPU time on one thread: an image of a training step, and a crop.

    python tools/network_speed.py "width: 48, stem: 16, depth: 3, growth: 64" "width: 64, depth: 3, block: basic"

Each argument lists options of `hourglass`. A step is the network's forward and backward pass, without samples,
labels and optimiser. CPU time grows by a third or more while other programs run: compare the rows of one call.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from ruamel.yaml import YAML
from torch.utils.flop_counter import FlopCounterMode

from hpf_core.grid import Grid
from hpf_core.inference.estimate import last_estimate
from hpf_core.interfaces import Backbone, Build
from hpf_core.plugins import PluginHost

FLOPS_OF_A_MULTIPLY_ADD = 2


def median_ms(action: Callable[[], object], repeats: int) -> float:
    """Median CPU time, ms, after two calls that don't count."""
    times = []
    for _ in range(repeats + 2):
        began = time.process_time()
        action()
        times.append(1000 * (time.process_time() - began))
    return statistics.median(times[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what hourglasses cost.")
    parser.add_argument("options", nargs="+", help="options of `hourglass`, as `width: 48, depth: 3`")
    parser.add_argument("--batch", type=int, default=32, help="images in a step")
    given = parser.parse_args()
    torch.set_num_threads(1)
    host, grid = PluginHost.load(), Grid()
    bare = Build(grid=grid, seed=0, cache=Path("unused"))
    hand_spec, spec = host.get("hand", "spheres41").spec, host.get("backbone", "hourglass").spec
    full = Build(grid=grid, seed=0, cache=bare.cache, hand=hand_spec.factory(hand_spec.config(), bare))
    print("| options | parameters, thousands | multiply-adds of an image, million | step, ms an image | crop, ms |")
    print("| --- | --- | --- | --- | --- |")
    for text in given.options:
        network = spec.factory(spec.config.model_validate(YAML(typ="safe").load(f"{{{text}}}")), full)
        depth = torch.rand(given.batch, grid.size, grid.size) * grid.cube_mm - grid.far_mm

        def step(network: Backbone = network, depth: torch.Tensor = depth) -> None:
            estimate = last_estimate(network, depth)
            assert estimate.heatmaps is not None
            assert estimate.latent_depth is not None
            (estimate.points.square().mean() + estimate.heatmaps.mean() + estimate.latent_depth.mean()).backward()

        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(depth)
        millions = counter.get_total_flops() / FLOPS_OF_A_MULTIPLY_ADD / given.batch / 1e6
        per_image = median_ms(step, 6) / given.batch
        with torch.inference_mode():
            crop = median_ms(lambda network=network, depth=depth: network(depth[:1]), 20)  # type: ignore[misc]
        thousands = sum(p.numel() for p in network.parameters()) / 1e3
        print(f"| {text} | {thousands:.0f} | {millions:.1f} | {per_image:.2f} | {crop:.2f} |", flush=True)


if __name__ == "__main__":
    main()
