"""Transforms change what the network sees of real images, and the points are taken back before anything is measured."""

import dataclasses

import numpy as np
import pytest
import torch

from hpf_core.engine import Batch, build_parts, compute
from hpf_core.engine.draw import generator
from hpf_core.interfaces import Transform


class Mirrored(Transform):
    """Flips columns, and so x."""

    def forward(self, depth, generator):
        return depth.flip(-1), lambda points: points * points.new_tensor([-1.0, 1.0, 1.0])


class Pushed(Transform):
    """Pushes all depth back by 10 mm, and so z."""

    def forward(self, depth, generator):
        return depth + 10.0, lambda points: points - points.new_tensor([0.0, 0.0, 10.0])


@pytest.fixture
def parts(load):
    made = build_parts(load(without_terms=["vae"]))
    made.prepare()
    return made


def test_points_of_real_images_are_taken_back_in_reverse_order(parts, load):
    plan = next(s for s in load(without_terms=["vae"]).stages if s.name == "fit")
    energy = parts.energy(plan)
    batch = Batch(parts.real.frames("train", np.arange(2)), parts.synthetic.sample(3, generator("cpu", 0, "t")))
    changed = dataclasses.replace(parts, transforms=(Mirrored(), Pushed()))
    fit = compute(changed, energy, batch, generator("cpu", 0, "n")).fits[-1]
    with torch.no_grad():
        depth = batch.real.depth.flatten(0, 1)[batch.real.views.rows]
        seen = parts.backbone(torch.cat([depth.flip(-1) + 10.0, batch.synthetic.depth]))[-1].points
    count = len(depth)
    wanted = (seen[:count] - torch.tensor([0.0, 0.0, 10.0])) * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(fit.real.points.detach(), wanted, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(fit.synthetic.points.detach(), seen[count:], atol=1e-3, rtol=1e-4)
