"""The contract of a data term, and the term against loops over frames in float64."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hpf_temporal_smoothness import SPEC, TemporalSmoothnessConfig, successor

from hpf.plugin import Build, Estimate, Grid, PluginHost, RealFrames, ViewIndex
from hpf.testing import Fit, contract

test_contract = contract(SPEC)
test_contract_with_a_free_way = contract(SPEC, {"free_mm": 4.0, "longest_gap": 0.05})

HOST = PluginHost.load(only=[])


def parts():
    build = Build(grid=Grid(size=8), seed=0, cache=Path("unused"))
    for kind, name in (("hand", "spheres41"), ("renderer", "spheres")):
        spec = HOST.get(kind, name).spec
        build = dataclasses.replace(build, **{kind: spec.factory(spec.config(), build)})
    return build


def term(**options):
    return SPEC.factory(TemporalSmoothnessConfig(**options), Build(grid=Grid(), seed=0, cache=Path("unused")))


def fit_of(points: np.ndarray, present: np.ndarray, sequence: list[int], time: list[float]) -> Fit:
    """Of points (B, V, J, 3) in the rig's frame, and cameras that stand in it."""
    build, (count, views) = parts(), present.shape
    frames = RealFrames(
        depth=torch.full((count, views, 8, 8), 150.0),
        state=torch.zeros(count, views, 8, 8, dtype=torch.uint8),
        present=torch.from_numpy(present),
        to_rig=torch.eye(4, dtype=torch.float64).expand(count, views, 4, 4),
        views=ViewIndex.of(present),
        sequence=torch.tensor(sequence),
        time=torch.tensor(time, dtype=torch.float64),
        index=torch.arange(count),
    )
    real = Estimate(torch.from_numpy(points[present]).requires_grad_())
    return Fit(hand=build.need_hand(), renderer=build.need_renderer(), grid=build.grid, frames=frames, real=real)


@pytest.mark.parametrize("free", [0.0, 3.0])
def test_it_is_the_loop(free):
    rng = np.random.default_rng(1)
    points, present = rng.normal(size=(6, 3, 41, 3)) * 5, rng.random((6, 3)) < 0.7
    present[:, 0] = True
    sequence, time = [0, 1, 0, 0, 1, 0], [3.0, 1.0, 1.0, 2.0, 1.5, 9.0]
    found = term(longest_gap=1.2, free_mm=free)(fit_of(points, present, sequence, time))
    wanted = {}
    for i in range(6):
        later = [j for j in range(6) if sequence[j] == sequence[i] and 0 < time[j] - time[i] <= 1.2]
        if later:
            j = min(later, key=lambda k: time[k])
            way = np.linalg.norm(points[j][present[j]].mean(0) - points[i][present[i]].mean(0), axis=-1)
            wanted[i] = (np.maximum(way - free, 0) ** 2).mean()
    assert set(wanted) == {1, 2, 3}
    assert found.weights.tolist() == [float(i in wanted) for i in range(6)]
    for i, value in wanted.items():
        assert float(found.values[i].detach()) == pytest.approx(value)


def test_the_next_frame_is_the_nearest_later_one():
    following, near = successor(torch.tensor([0, 0, 0, 1]), torch.tensor([0.0, 2.0, 1.0, 1.5]).double(), 5.0)
    assert near.tolist() == [True, False, True, False]
    assert following[near].tolist() == [2, 1]
    assert not bool(successor(torch.zeros(2), torch.tensor([1.0, 1.0]), 9.0)[1].any())  # one moment, twice


def test_descent_smooths_a_motion():
    """A point that jumps to and fro comes to rest in the middle, and the mean stays."""
    points = np.zeros((5, 1, 41, 3))
    points[1::2] += 10.0
    fit = fit_of(points, np.ones((5, 1), bool), [0] * 5, [float(k) for k in range(5)])
    assert fit.real is not None
    moving, made = fit.real.points, term()
    optimiser = torch.optim.SGD([moving], lr=5.0)
    for _ in range(300):
        optimiser.zero_grad()
        again = Fit(hand=fit.hand, renderer=fit.renderer, grid=fit.grid, frames=fit.frames, real=Estimate(moving))
        value = made(again)
        (value.values * value.weights).sum().backward()
        optimiser.step()
    assert float(moving.detach().std(0).max()) < 0.1
    assert float(moving.detach().mean()) == pytest.approx(4.0, abs=0.01)


def test_gradcheck():
    rng, present = np.random.default_rng(3), np.ones((3, 2), bool)
    fit = fit_of(rng.normal(size=(3, 2, 41, 3)) * 9, present, [0, 0, 0], [0.0, 1.0, 2.0])
    assert fit.real is not None

    def values(points):
        again = Fit(hand=fit.hand, renderer=fit.renderer, grid=fit.grid, frames=fit.frames, real=Estimate(points))
        return term(free_mm=2.0)(again).values

    assert torch.autograd.gradcheck(values, fit.real.points.detach().requires_grad_(), atol=1e-6)
