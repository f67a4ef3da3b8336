"""`runtime.compile`: the network is one graph, all that judges its points another, and a run is what it is without.

Graphs are taken down and differentiated as on any machine, but run by PyTorch's own operators (`aot_eager`): code for
this processor would take minutes to make.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from hpf_core.engine.step import Computation
from hpf_core.engine.train import StageTrainer
from hpf_core.frames import ViewIndex
from hpf_core.inference.build import build_parts

# PyTorch's own tracing asks the network's points for the gradient that they don't keep.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    pytest.mark.timeout(1200),  # 15 seconds of work, of which a busy machine makes minutes
]

FEW_VIEWS = pytest.mark.filterwarnings("ignore:multiview. . of the batch's 3 frames have fewer")


@pytest.fixture
def aot_eager(monkeypatch):
    """What `torch.compile` was told, while it leaves the graphs to PyTorch's operators."""
    torch._dynamo.reset()
    counters.clear()
    told, compile_ = [], torch.compile

    def traced(function, **options):
        told.append(options)
        return compile_(function, backend="aot_eager", **options)

    monkeypatch.setattr(torch, "compile", traced)
    yield told
    torch._dynamo.reset()


@pytest.fixture
def stage(load):
    """The plan of the stage `fit` and its parts, whose frames lack the views that `absent` (frames, views) says."""

    def made(absent=None, **changes):
        resolved = load(**changes)
        parts = build_parts(resolved)
        parts.prepare()
        if absent is not None:
            whole = parts.real.frames

            def fewer(split, numbers):
                frames = whole(split, numbers)
                present = ~absent[np.asarray(numbers) % len(absent)]
                return dataclasses.replace(frames, present=torch.from_numpy(present), views=ViewIndex.of(present))

            parts.real.frames = fewer
        return next(s for s in resolved.stages if s.name == "fit"), parts

    return made


def assert_same(plain, compiled, steps):
    """The same losses in each step, and the same weights in the end."""
    for step in steps:
        wanted, found = (trainer.step(step) for trainer in (plain, compiled))
        torch.testing.assert_close(found.value.energy.raw, wanted.value.energy.raw, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.value.peak, wanted.value.peak)
    for one, other in zip(*(t.parts.backbone.parameters() for t in (plain, compiled)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_fit_is_two_graphs_without_breaks(stage, aot_eager):
    plain, compiled = (StageTrainer(*reversed(stage()), 0, "cpu", compiled=c) for c in (False, True))
    assert [options["fullgraph"] for options in aot_eager] == [True, True]
    assert_same(plain, compiled, range(3))
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == 2
    # Every term of the recipe is in it, and steps that look at gradients make no other.
    assert compiled.energy.names == plain.energy.names
    assert len(compiled.energy.names) == 7
    looked = compiled.step(3, measure_gradients=True)
    torch.testing.assert_close(
        looked.gradients, plain.step(3, measure_gradients=True).gradients, rtol=1e-4, atol=1e-4, equal_nan=True
    )
    assert counters["stats"]["unique_graphs"] == 2


@FEW_VIEWS
def test_frames_that_lack_views_make_one_more_graph_of_each(stage, aot_eager):
    """However many numbers of views there are: a graph for each would soon be one too many, which ends a run."""
    absent = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 1, 1], [1, 0, 0]], dtype=bool)
    sets = ["stages.fit.draw={real: 3}", "stages.fit.terms=[m2d, d2m, multiview]", "stages.control=off"]
    changes = {"sets": sets}
    plain, compiled = (StageTrainer(*reversed(stage(absent, **changes)), 0, "cpu", compiled=c) for c in (False, True))
    images = {compiled.batch(step).images for step in range(5)}
    assert len(images) > 2
    assert_same(plain, compiled, range(5))
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == 4


def test_a_gpu_gets_cuda_graphs_where_sizes_are_fixed(stage, aot_eager, monkeypatch):
    """As far as can be seen without one: PyTorch knows the options, and is told where each step begins."""
    plan, parts = stage(without_terms=["vae"])
    known = set(torch._inductor.list_options())
    monkeypatch.setattr(torch, "compile", lambda function, **options: (aot_eager.append(options), function)[1])
    trainer = StageTrainer(parts, plan, 0, "cpu")
    begun = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(True))
    trainer.step(0)
    assert not begun
    trainer.computation = Computation(parts, trainer.energy, "cuda", compiled=True)
    for options in aot_eager:
        assert options["options"] == {"triton.cudagraphs": True, "triton.cudagraph_skip_dynamic_graphs": True}
        assert options["options"].keys() <= known
    trainer.step(1)
    trainer.step(2)
    assert len(aot_eager) == len(begun) == 2
