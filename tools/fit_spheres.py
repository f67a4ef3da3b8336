"""Fit the 41 spheres into the skin: prints `PALM`, `FINGER_RADII` and `PALM_RADII` for `anatomy.py`.

The points on the fingers are the skeleton's. What is fitted are the radii and the places of the palm's points: PALM_3
stays the palm's centre, PALM_1 and PALM_2 stay at the wrist. The loss is what `floor.py` measures, over random poses,
shapes and views that stay the same: the mean difference of the two depth maps where both cover, in mm, and `OUTLINE`
times the share of the silhouettes' union that one of them misses. Each number is moved in turn as long as that helps,
by ever smaller steps: the depth that shows through a gap between two spheres has no gradient that would close it.

Run: python tools/fit_spheres.py; some minutes on one core.
"""

from __future__ import annotations

import argparse

import torch
from agreement import agreement
from torch import Tensor

from hpf_core.geometry.rotations import random_rotations, rotation_matrix, rotation_vector
from hpf_core.grid import Grid
from hpf_core.simulation.rasteriser import orthographic
from hpf_plugins.hands import anatomy
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config

PALM_FIRST = 30
OUTLINE = 5.0
STEPS_MM = (6.0, 4.0, 2.0, 1.0, 0.5, 0.5, 0.2)
REACH_MM = 18.0  # no point of the palm goes further than this from where it was drawn
APART_MM = 9.0  # nor nearer than this to another one


class Problem:
    """Hands with the skin's depth, and the loss of the spheres in them when one of these is changed."""

    def __init__(self, hand: Spheres41, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        pose, self.shape = hand.sample(count, generator)
        rotation = random_rotations(count, generator)
        pose = torch.cat([rotation_vector(rotation), pose[:, 3:]], dim=1)
        grid = Grid()
        self.skin = orthographic(hand.mesh(pose, self.shape), grid).flatten(1)
        self.turn = rotation_matrix(pose[:, :3]) * self.shape[:, :1, None]
        self.points = hand.points(pose, self.shape)
        axis = grid.axis()
        self.y, self.x = (part.flatten() for part in torch.meshgrid(axis, axis, indexing="ij"))
        self.maps = torch.stack([self.map(self.points[:, k], float(hand.radii[k])) for k in range(41)])

    def placed(self, own: Tensor) -> Tensor:
        """(N, 3) mm, a point (3,) of the neutral palm in all hands."""
        wide = torch.stack([own[0] * self.shape[:, 7], *own[1:, None].expand(2, len(self.shape))], dim=-1)
        return (self.turn * wide[:, None]).sum(-1)

    def map(self, centre: Tensor, radius: float) -> Tensor:
        """(N, H * W) mm, the depth of one sphere."""
        left = radius**2 - (self.x - centre[:, :1]).square() - (self.y - centre[:, 1:2]).square()
        return torch.where(left > 0, centre[:, 2:] - left.clamp_min(1.0).sqrt(), torch.inf)

    def loss(self, depth: Tensor) -> float:
        found = agreement(depth, self.skin)
        return float((found.depth_mm + OUTLINE * (1 - found.iou)).mean())


def fit(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Palm points (11, 3) and radii (41,) mm."""
    hand = Spheres41(Spheres41Config())
    problem = Problem(hand, count, seed)
    radii, drawn = hand.radii.clone(), torch.tensor(anatomy.PALM)
    palm = drawn.clone()
    fixed = torch.tensor(anatomy.KNUCKLES)[:4]
    best = problem.loss(problem.maps.amin(0))
    for step in STEPS_MM:
        for k in range(41):
            others = problem.maps[[j for j in range(41) if j != k]].amin(0)
            p = k - PALM_FIRST
            axes = () if p < 0 or p == 2 else ((2,) if p < 2 else (0, 1, 2))
            for axis in (*axes, None):
                for sign in (1, -1):
                    while True:
                        place, radius = palm[p].clone() if p >= 0 else None, float(radii[k])
                        if axis is None:
                            radius += sign * step
                        else:
                            place[axis] += sign * step
                            near = torch.cat([palm[:p], palm[p + 1 :], fixed])
                            if (place - drawn[p]).norm() > REACH_MM or (near - place).norm(dim=1).min() < APART_MM:
                                break
                        made = problem.map(problem.placed(place) if p >= 0 else problem.points[:, k], radius)
                        value = problem.loss(torch.minimum(others, made))
                        if value >= best - 1e-4 or not 4 < radius < 30:
                            break
                        best, radii[k], problem.maps[k] = value, radius, made
                        if p >= 0:
                            palm[p] = place
        print(f"# step {step} mm: loss {best:.3f}", flush=True)
    return palm, radii


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the 41 spheres into the skin.")
    parser.add_argument("--count", type=int, default=256, help="number of random hands")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    palm, radii = fit(options.count, options.seed)
    print("PALM =", [tuple(round(v, 1) for v in p) for p in palm.tolist()])
    rounded = [round(r, 1) for r in radii.tolist()]
    print("FINGER_RADII =", [tuple(rounded[6 * k : 6 * k + 6]) for k in range(5)])
    print("PALM_RADII =", tuple(rounded[PALM_FIRST:]))


if __name__ == "__main__":
    main()
