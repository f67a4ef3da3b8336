"""The supervised term against Eq. 3's loops."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import reference
import torch
from scenes import Scene

from hpf_core.errors import InputError
from hpf_core.frames import Estimate, SyntheticSamples
from hpf_core.grid import Grid
from hpf_core.interfaces import DataTerm
from hpf_core.objective.fit import Fit
from hpf_plugins.data_terms import supervised

COUNT, BALLS, SIDE, FLOOR = 3, 4, 8, 0.05
GRID = Grid(size=16, cube_mm=240.0)


def term(**options) -> DataTerm:
    return supervised.SPEC.factory(supervised.SPEC.config(**options), SimpleNamespace(grid=GRID))


def random_case(seed=0, **changed):
    """Points, labels of maps by the equation, and an estimate that is off."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-90, 90, (COUNT, BALLS, 3))
    axis = (np.arange(SIDE) + 0.5 - SIDE / 2) * 240 / SIDE
    x, y = points[..., 0, None, None], points[..., 1, None, None]
    heatmaps = np.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * 30.0**2))
    depth = np.where(heatmaps > FLOOR, points[..., 2, None, None], 0.0)
    target = Estimate(*(torch.from_numpy(a) for a in (points, heatmaps, depth)))
    estimate = Estimate(
        *(torch.from_numpy(a + s * rng.normal(size=a.shape)) for a, s in ((points, 9), (heatmaps, 0.2), (depth, 12)))
    )
    return estimate, target


def fit_of(estimate: Estimate, target: Estimate) -> Fit:
    scene = Scene([[1]])
    nothing = torch.zeros(len(target.points), 0)
    samples = SyntheticSamples(
        torch.zeros(len(target.points), 16, 16),
        torch.zeros(len(target.points), 16, 16),
        target.points,
        nothing,
        nothing,
    )
    return Fit(hand=scene.hand, renderer=scene.renderer, grid=GRID, samples=samples, synthetic=estimate, target=target)


@pytest.mark.parametrize("outside", ["zero", "free"])
def test_maps_are_the_equation(outside):
    estimate, target = random_case()
    value = term(heatmap_weight=7.0, depth_weight=3.0, depth_outside=outside)(fit_of(estimate, target))
    for m in range(COUNT):
        heat, depth = reference.supervised_maps(
            estimate.heatmaps[m].numpy(), estimate.latent_depth[m].numpy(), target.points[m].numpy(),
            target.heatmaps[m].numpy(), FLOOR, 120.0, outside,
        )  # fmt: skip
        assert float(value.values[m]) == pytest.approx(7 * heat + 3 * depth, abs=1e-12)
    assert value.weights.tolist() == [1] * COUNT
    assert value.frame is None


def test_points_are_in_half_cubes():
    estimate, target = random_case(1)
    values = term(on="points", points_weight=2.0)(fit_of(Estimate(estimate.points), Estimate(target.points))).values
    for m in range(COUNT):
        squares = [
            ((a - b) / 120) ** 2 for a, b in zip(estimate.points[m].flatten(), target.points[m].flatten(), strict=True)
        ]
        assert float(values[m]) == pytest.approx(2 * float(sum(squares)) / len(squares), abs=1e-12)


def test_both_is_the_sum():
    case = fit_of(*random_case(2))
    torch.testing.assert_close(term(on="both")(case).values, term()(case).values + term(on="points")(case).values)


def test_the_ideal_output_is_no_residual():
    _, target = random_case(3)
    assert float(term(on="both")(fit_of(target, target)).values.abs().max()) == 0


def test_free_leaves_the_gradient_inside_as_it_is():
    grads = []
    for outside in ("zero", "free"):
        estimate, target = random_case(4)
        estimate.latent_depth.requires_grad_()
        term(depth_outside=outside)(fit_of(estimate, target)).values.sum().backward()
        grads.append(estimate.latent_depth.grad)
    inside = target.heatmaps > FLOOR
    torch.testing.assert_close(grads[0][inside], grads[1][inside], atol=0, rtol=0)
    assert float(grads[1][~inside].abs().max()) == 0
    assert float(grads[0][~inside].abs().min()) > 0


def test_gradcheck():
    estimate, target = random_case(5)

    def values(points, heatmaps, depth):
        return term(on="both")(fit_of(Estimate(points, heatmaps, depth), target)).values

    inputs = [
        t[:, :2, ..., :3].clone().requires_grad_() for t in (estimate.points, estimate.heatmaps, estimate.latent_depth)
    ]
    target = Estimate(*(t[:, :2, ..., :3] for t in (target.points, target.heatmaps, target.latent_depth)))
    assert torch.autograd.gradcheck(values, inputs, atol=1e-5)


def test_labels_have_no_gradient():
    estimate, target = random_case(6)
    for label in (target.points, target.heatmaps, target.latent_depth):
        label.requires_grad_()
    estimate.points.requires_grad_()
    term(on="both")(fit_of(estimate, target)).values.sum().backward()
    assert target.points.grad is target.heatmaps.grad is target.latent_depth.grad is None


def test_a_backbone_without_maps_is_told_what_to_do():
    estimate, target = random_case(7)
    with pytest.raises(InputError, match="choose `on: points`"):
        term()(fit_of(Estimate(estimate.points), Estimate(target.points)))
    with pytest.raises(InputError, match="heatmaps are"):
        term()(fit_of(Estimate(estimate.points, estimate.heatmaps[..., :4], estimate.latent_depth), target))


def test_meta_and_bfloat16_maps():
    estimate, target = random_case(8)
    low = Estimate(estimate.points.float(), estimate.heatmaps.bfloat16(), estimate.latent_depth.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        value = term(on="both")(fit_of(low, target)).values
    torch.testing.assert_close(value.double(), term(on="both")(fit_of(estimate, target)).values, rtol=0.02, atol=0)

    there = Estimate(
        *(t.to("meta").requires_grad_() for t in (estimate.points, estimate.heatmaps, estimate.latent_depth))
    )
    term(on="both")(fit_of(there, target.to("meta"))).values.sum().backward()
    assert there.heatmaps.grad is not None
