"""The floor of m2d: how far the depth map of the 41 spheres lies from the skin's. Run: python tools/floor.py

With `--renderer sphere_mesh`, the tool measures the sphere mesh over the same points.

The residual of a perfect fit of the spheres, over random poses, shapes and views: the mean difference of the two depth
maps where both cover, and the intersection over union of their silhouettes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from agreement import agreement

from hpf_core.geometry.rotations import random_rotations, rotation_vector
from hpf_core.grid import Grid
from hpf_core.interfaces import Build, Renderer
from hpf_core.simulation.rasteriser import orthographic
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config
from hpf_plugins.renderers import sphere_mesh, spheres
from hpf_plugins.renderers.spheres import Spheres, SpheresConfig

BATCH = 64


class Floor(NamedTuple):
    """Means over hands.

    Attributes:
        depth_mm: mean difference of the two depths where both cover.
        bias_mm: the same with its sign, spheres less skin.
        iou: intersection over union of the silhouettes.
        median_mm: median difference of the two depths where both cover.
    """

    depth_mm: float
    bias_mm: float
    iou: float
    median_mm: float


def measure(
    hand: Spheres41,
    count: int,
    seed: int = 0,
    neutral: bool = False,
    grid: Grid | None = None,
    renderer: Renderer | None = None,
) -> Floor:
    """The floor over `count` sampled hands, each seen from a random direction; `neutral`: all of the neutral shape."""
    grid = grid or Grid()
    generator = torch.Generator().manual_seed(seed)
    renderer = renderer or Spheres(hand.radii, SpheresConfig())
    rows = []
    for start in range(0, count, BATCH):
        number = min(BATCH, count - start)
        pose, shape = hand.sample(number, generator)
        if neutral:
            shape = torch.ones_like(shape)
        pose = torch.cat([rotation_vector(random_rotations(number, generator)), pose[:, 3:]], dim=1)
        skin = orthographic(hand.mesh(pose, shape), grid)
        spheres = renderer.depth(hand.points(pose, shape), grid)
        # The stub of the arm is skin that no sphere should cover: the crop's forearm takes its place.
        rendered = torch.where(spheres.hit, spheres.depth, torch.inf)
        found = agreement(rendered, skin)
        middle = (rendered - skin).abs().masked_fill(~(spheres.hit & torch.isfinite(skin)), torch.nan)
        median = middle.flatten(1).nanmedian(dim=1).values
        rows.append(torch.stack([found.depth_mm, found.bias_mm, found.iou, median], dim=1))
    return Floor(*torch.cat(rows).mean(0).tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the floor of m2d.")
    parser.add_argument("--count", type=int, default=1000, help="number of random hands")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--renderer", choices=("spheres", "sphere_mesh"), default="spheres")
    options = parser.parse_args()
    torch.set_num_threads(1)
    hand = Spheres41(Spheres41Config())
    spec = {"spheres": spheres.SPEC, "sphere_mesh": sphere_mesh.SPEC}[options.renderer]
    renderer = spec.factory(spec.config(), Build(grid=Grid(), seed=0, cache=Path("unused"), hand=hand))
    for name, neutral in (("random shapes", False), ("neutral shape", True)):
        found = measure(hand, options.count, options.seed, neutral, renderer=renderer)
        depth = f"{found.depth_mm:.2f} mm (median {found.median_mm:.2f}), bias {found.bias_mm:+.2f} mm"
        print(f"{name}: {depth}, IoU {found.iou:.3f}")


if __name__ == "__main__":
    main()
