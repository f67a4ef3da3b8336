"""Transforms change what the network sees of real images, and the points are taken back before anything is measured."""

import dataclasses

import numpy as np
import pytest
import torch

from hpf_core.engine.step import Batch, Place, compute
from hpf_core.frames import ViewIndex
from hpf_core.inference.build import build_parts
from hpf_core.interfaces import Transform
from hpf_core.random_streams import generator


class Mirrored(Transform):
    """Flips columns, and so x."""

    def forward(self, depth, generator):
        return depth.flip(-1), lambda points: points * points.new_tensor([-1.0, 1.0, 1.0])


class Pushed(Transform):
    """Pushes all depth back by 10 mm, and so z."""

    def forward(self, depth, generator):
        return depth + 10.0, lambda points: points - points.new_tensor([0.0, 0.0, 10.0])


class Keeping(Transform):
    """Keeps what it is given."""

    def forward(self, depth, generator):
        self.given = depth
        return depth, lambda points: points


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


def test_other_processes_images_and_absent_views_are_empty_maps(parts, load):
    """The second of four frames, without its second view: of twelve maps a transform is shown two."""
    plan = next(s for s in load(without_terms=["vae"]).stages if s.name == "fit")
    frames = parts.real.frames("train", np.arange(1))
    present = np.array([[True, False, True]])
    frames = dataclasses.replace(frames, present=torch.from_numpy(present), views=ViewIndex.of(present))
    keeping = Keeping()
    changed = dataclasses.replace(parts, transforms=(keeping,))
    samples = parts.synthetic.sample(2, generator("cpu", 0, "t"))
    batch = Batch(frames, samples, Place(frame=1, frames=4, sample=0, samples=2))
    with pytest.warns(UserWarning, match="fewer than the 3 views"):
        compute(changed, parts.energy(plan), batch, generator("cpu", 0, "n"))
    wanted = torch.full((12, 32, 32), parts.grid.far_mm)
    wanted[[3, 5]] = frames.depth[0, [0, 2]]
    assert torch.equal(keeping.given, wanted)
