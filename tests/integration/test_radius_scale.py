"""The radius scale, measured at a stage's start: on hands whose factor is known, and in runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpf_core import recipe as recipes
from hpf_core.engine.run import Run
from hpf_core.errors import InputError, PluginError
from hpf_core.frames import Estimate
from hpf_core.inference import radius_scale
from hpf_core.inference.build import build_parts
from hpf_core.interfaces import Backbone, RealDataset, Refiner, Renderer

from .conftest import TINY, same_tensors

MEASURED = "renderer={use: spheres, radii: measured}"
CPU = torch.device("cpu")


class Told(Backbone):
    """Says the true points of the depth maps that it was told of."""

    def __init__(self, known):
        super().__init__()
        self._known = known

    def forward(self, depth):
        return [Estimate(torch.stack([self._known[image.numpy().tobytes()] for image in depth]))]

    def labels(self, points):
        return Estimate(points)


class Nearer(Refiner):
    """Moves all points 30 mm towards the camera."""

    def forward(self, points):
        return points - torch.tensor([0.0, 0.0, 30.0])


class People(RealDataset):
    """Recordings of one person each, of the thickness given."""

    def __init__(self, synthetic, thick, count=24):
        self._frames, self.known = [], {}
        for number, factor in enumerate(thick):
            draw = synthetic.hand.sample

            def drawn(count, generator, draw=draw, factor=factor):
                pose, shape = draw(count, generator)
                shape = torch.ones_like(shape)
                shape[:, 6] = factor
                return type(draw(1, generator))(pose, shape)

            synthetic.hand.sample = drawn
            samples = synthetic.sample(count, torch.Generator().manual_seed(number))
            synthetic.hand.sample = draw
            self._frames.append(samples)
            self.remember(samples)

    def remember(self, samples):
        self.known |= {d.numpy().tobytes(): p for d, p in zip(samples.depth, samples.points, strict=True)}

    def prepare(self, progress=None):
        pass

    def splits(self):
        return {"train": sum(len(s.depth) for s in self._frames)}

    def frames(self, split, indices):
        each = len(self._frames[0].depth)
        picked = [(int(i) // each, int(i) % each) for i in indices]
        rows = [self._frames[n].take(slice(k, k + 1)) for n, k in picked]
        frames = [radius_scale._as_frames(row) for row in rows]
        joined = {
            name: torch.cat([getattr(f, name) for f in frames]) for name in ("depth", "state", "present", "to_rig")
        }
        views = type(frames[0].views).of(np.ones((len(rows), 1), dtype=bool))
        sequence = torch.tensor([n for n, _ in picked])
        index = torch.arange(len(rows))
        return replace(frames[0], **joined, views=views, sequence=sequence, time=index.double(), index=index)

    def labels(self, split):
        raise AssertionError("nothing of a label is asked for")

    def to_camera(self, split):
        raise AssertionError("nor of the camera")


def test_thick_hands_are_found_to_be_thick(host, tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY.replace("grid: {size: 32}", "grid: {size: 64}"))
    quiet = "data.synthetic.noise={depth_mm: 0, shift_px: 0}"
    parts = build_parts(recipes.load(tmp_path / "tiny.yaml", host=host, sets=[MEASURED, quiet]), tmp_path)
    people = People(parts.synthetic, (0.85, 1.0, 1.2))
    for batch in radius_scale._samples(parts, CPU):
        people.remember(batch)
    found = radius_scale.measure(replace(parts, real=people, backbone=Told(people.known)), "train", CPU)
    assert found.shape == (3,)
    # The gaps between spheres do not grow with the factor, so that the
    # radii that suit it best lie nearer to 1.
    torch.testing.assert_close(found, torch.tensor([0.96, 1.0, 1.12]), atol=0.03, rtol=0)
    # A network whose points are 30 mm too far, and a refiner that brings them back, measure the same.
    far = Told({image: points + torch.tensor([0.0, 0.0, 30.0]) for image, points in people.known.items()})
    refined = replace(parts, real=people, backbone=far, refiners=(Nearer(),))
    torch.testing.assert_close(radius_scale.measure(refined, "train", CPU), found, atol=1e-3, rtol=0)


@pytest.mark.usefixtures("_no_figures")
def test_a_run_is_the_same_when_it_resumes(load, tmp_path, monkeypatch):
    from hpf_core.engine.train import StageTrainer

    resolved = load(sets=[MEASURED, "stages.fit.steps=6"], stages=["fit"])
    Run(resolved, tmp_path / "whole").execute()
    step, seen = StageTrainer.step, []

    def stops(self, number, measure_gradients=False):
        seen.append(self.radius_scale.clone())
        if number == 4 and len(seen) < 6:
            raise KeyboardInterrupt
        return step(self, number, measure_gradients)

    monkeypatch.setattr(StageTrainer, "step", stops)
    with pytest.raises(KeyboardInterrupt):
        Run(resolved, tmp_path / "cut").execute()
    Run(resolved, tmp_path / "cut", resume=True).execute()
    assert len({tuple(t.tolist()) for t in seen}) == 1
    assert not torch.equal(seen[0], torch.ones_like(seen[0]))
    assert same_tensors(tmp_path / "whole/weights.safetensors", tmp_path / "cut/weights.safetensors")


def test_without_synthetic_samples_there_is_nothing_to_compare_with(load, tmp_path):
    parts = build_parts(load(sets=[MEASURED]), tmp_path)
    with pytest.raises(InputError, match=r"no data\.synthetic"):
        radius_scale.measure(replace(parts, synthetic=None), "train", CPU)


def test_a_renderer_that_only_says_that_it_measures(load, tmp_path, monkeypatch):
    parts = build_parts(load(), tmp_path)
    monkeypatch.setattr(type(parts.renderer), "measure_radius_scale", Renderer.measure_radius_scale)
    valid = torch.ones(1, 4, dtype=torch.bool)
    with pytest.raises(PluginError, match="Spheres measures no radius scale: it lacks the method"):
        parts.renderer.measure_radius_scale(torch.zeros(1, 2, 3), torch.zeros(1, 4, 3), valid)
