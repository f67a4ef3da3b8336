"""One step's computation: on the `meta` device, with mixed views, under autocast, and compiled to one graph."""

import dataclasses

import numpy as np
import pytest
import torch

from hpf_core.engine.step import Batch, Place, compute
from hpf_core.engine.train import StageTrainer, read
from hpf_core.frames import ViewIndex
from hpf_core.inference.build import build_parts
from hpf_core.interfaces import Transform
from hpf_core.random_streams import generator
from hpf_core.testing import scene


class Noisy(Transform):
    """Leaves points in place, and so may apply to samples, too."""

    applies_to = frozenset({"real", "synthetic"})

    def forward(self, depth, generator):
        noise = torch.randn(depth.shape, generator=generator, device=generator.device)
        return depth + noise.to(depth), lambda points: points


@pytest.fixture
def stage(load):
    """The parts, the fit stage's energy and a batch of it."""
    resolved = load(sets=["transforms=[shrink]"])
    parts = build_parts(resolved)
    parts.prepare()
    plan = next(s for s in resolved.stages if s.name == "fit")
    frames = parts.real.frames("train", np.arange(2))
    samples = parts.synthetic.sample(3, generator("cpu", 0, "test"))
    return parts, parts.energy(plan), Batch(frames, samples)


@pytest.mark.parametrize("place", [None, Place(frame=1, frames=4, sample=3, samples=9)], ids=["alone", "shared"])
def test_a_step_on_meta(stage, place):
    """A stray CPU tensor, an `.item()` or a `nonzero` in a transform, the network, the fit or any term fails here,
    without a GPU; also where other processes have a share of the batch."""
    parts, energy, batch = stage
    parts = dataclasses.replace(parts, transforms=(*parts.transforms, Noisy()))
    parts.to("meta")
    on_meta = Batch(batch.real.to("meta"), batch.synthetic.to("meta"), place)
    value = compute(parts, energy.to("meta"), on_meta, scene.generator(0, "meta"))
    value.energy.total.backward()
    assert value.energy.total.device.type == "meta"
    assert all(p.grad is not None for p in parts.backbone.parameters())
    optimiser = torch.optim.Adam(parts.backbone.parameters())
    optimiser.step()
    assert energy.gradients(compute(parts, energy, on_meta).energy, value.fits[-1]).shape == value.energy.raw.shape


def test_absent_views_cost_nothing_and_change_nothing(stage):
    """A frame with one view beside one with three: as if each were alone, weighted by their numbers of pairs."""
    parts, energy, batch = stage
    present = np.array([[True, False, False], [True, True, True]])
    mixed = dataclasses.replace(batch.real, present=torch.from_numpy(present), views=ViewIndex.of(present))
    poisoned = mixed.depth.clone()
    poisoned[0, 1:] = torch.nan
    with pytest.warns(UserWarning, match="1 of the batch's 2 frames have fewer than the 3 views"):
        value = compute(parts, energy, Batch(mixed, batch.synthetic))
    other = compute(parts, energy, Batch(dataclasses.replace(mixed, depth=poisoned), batch.synthetic))
    assert value.fits[-1].real.points.shape[0] == 4
    assert torch.equal(value.energy.raw, other.energy.raw)


def test_autocast_keeps_the_geometry_in_float32(stage):
    parts, energy, batch = stage
    exact = compute(parts, energy, batch)
    with torch.autocast("cpu", torch.bfloat16):
        value = compute(parts, energy, batch)
    fit = value.fits[-1]
    for tensor in (fit.real.points, fit.rendered(True).depth, fit.distances(True).distance, value.energy.raw):
        assert tensor.dtype == torch.float32
    assert torch.isfinite(value.energy.total)
    assert value.energy.total.item() == pytest.approx(exact.energy.total.item(), rel=0.2)


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_the_gradient_s_norm_is_told_as_it_was_before_it_is_clipped(load, clip):
    """Clipped, the gradient that the optimiser gets is as long as it may be, and what is told is the same."""
    parts, plan = trained(load(sets=[] if clip is None else [f"stages.fit.clip_norm={clip}"]))
    trainer = StageTrainer(parts, plan, 0, "cpu")
    report = trainer.step(0)
    left = float(torch.cat([p.grad.flatten() for p in parts.backbone.parameters()]).norm())
    row = read(report, trainer.energy.names, trainer.energy.weight, 1e-3)
    alone = StageTrainer(*trained(load()), 0, "cpu")
    wanted = read(alone.step(0), alone.energy.names, alone.energy.weight, 1e-3)
    assert row["gradient_norm"] == wanted["gradient_norm"] > 1e-2
    assert left == pytest.approx(row["gradient_norm"] if clip is None else clip, rel=1e-4)


def test_the_rate_rises_stays_and_falls(load):
    """With `constant` the rate before the cool-down is the same however long the stage is."""
    sets = ["stages.fit.schedule=constant", "stages.fit.warmup=1", "stages.fit.cooldown=3", "stages.fit.lr=0.8"]
    parts, plan = trained(load(sets=sets))
    trainer = StageTrainer(parts, plan, 0, "cpu")
    assert [trainer.rate(step) for step in range(plan.steps)] == pytest.approx([0.4, 0.8, 0.8, 0.8, 0.8, 0.6, 0.4, 0.2])


def trained(resolved):
    """The parts, prepared, and the plan of `fit`."""
    parts = build_parts(resolved)
    parts.prepare()
    return parts, next(s for s in resolved.stages if s.name == "fit")


def test_gradient_reaches_the_network_through_every_term(stage):
    """Each fitting term alone moves the weights; collision is 0 for hands whose fingers are apart."""
    parts, energy, batch = stage
    for index, name in enumerate(energy.names):
        parts.backbone.zero_grad()
        value = compute(parts, energy, batch)
        value.energy.raw[index].backward()
        norm = sum(p.grad.norm() for p in parts.backbone.parameters() if p.grad is not None)
        assert torch.isfinite(torch.as_tensor(norm)), name
        if value.energy.raw[index] > 0:
            assert norm > 0, name
