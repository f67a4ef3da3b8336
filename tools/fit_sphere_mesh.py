"""Fit the radii of the sphere mesh into the skin: prints `_FINGERS` and `_PALM` for `sphere_mesh.py`.

The points are the hand model's, whose palm was fitted with plain spheres; radii alone move, from 0.93 times theirs. The
loss and the search are those of `fit_spheres.py`, over random poses, shapes and views that stay the same.

Run: python tools/fit_sphere_mesh.py; some minutes on one core.
"""

from __future__ import annotations

import argparse

import torch
from agreement import agreement
from torch import Tensor

from hpf_core.geometry.rotations import random_rotations, rotation_vector
from hpf_core.grid import Grid
from hpf_core.simulation.rasteriser import orthographic
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config
from hpf_plugins.renderers.sphere_mesh import SphereMesh, SphereMeshConfig

BATCH = 64
OUTLINE = 5.0
STEPS_MM = (2.0, 1.0, 0.5, 0.25)


class Problem:
    """Hands with the skin's depth, and the loss of a sphere mesh in them."""

    def __init__(self, hand: Spheres41, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.hand, self.grid = hand, Grid()
        self.batches = []
        for start in range(0, count, BATCH):
            pose, shape = hand.sample(min(BATCH, count - start), generator)
            pose = torch.cat([rotation_vector(random_rotations(len(pose), generator)), pose[:, 3:]], dim=1)
            skin = orthographic(hand.mesh(pose, shape), self.grid)
            self.batches.append((hand.points(pose, shape), skin))

    @torch.no_grad()
    def loss(self, radii: Tensor) -> float:
        renderer, values = SphereMesh(radii, self.hand.links, SphereMeshConfig()), []
        for points, skin in self.batches:
            seen = renderer.depth(points, self.grid)
            found = agreement(torch.where(seen.hit, seen.depth, torch.inf), skin)
            values.append(found.depth_mm + OUTLINE * (1 - found.iou))
        return float(torch.cat(values).mean())


def fit(count: int, seed: int) -> Tensor:
    """Radii (41,) mm."""
    hand = Spheres41(Spheres41Config())
    problem = Problem(hand, count, seed)
    radii = 0.93 * hand.radii
    best = problem.loss(radii)
    for step in STEPS_MM:
        for k in range(len(radii)):
            for sign in (1, -1):
                start = best
                while True:
                    moved = radii.clone()
                    moved[k] += sign * step
                    if not 3 < moved[k] < 30 or (value := problem.loss(moved)) >= best - 1e-4:
                        break
                    best, radii = value, moved
                if best < start:
                    break
        print(f"# step {step} mm: loss {best:.3f}", flush=True)
    return radii


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the radii of the sphere mesh into the skin.")
    parser.add_argument("--count", type=int, default=192, help="number of random hands")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounded = [round(r, 1) for r in fit(options.count, options.seed).tolist()]
    print("_FINGERS =", [tuple(rounded[6 * k : 6 * k + 6]) for k in range(5)])
    print("_PALM =", tuple(rounded[30:]))


if __name__ == "__main__":
    main()
