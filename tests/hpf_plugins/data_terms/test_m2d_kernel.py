"""The compiled mean residual against the tensor operations that stand in for it, with every option."""

from __future__ import annotations

import itertools

import pytest
import torch
from scenes import Scene

from hpf_plugins.data_terms import m2d_kernel
from hpf_plugins.data_terms.m2d import ModelToData, ModelToDataConfig

pytestmark = pytest.mark.skipif(not m2d_kernel.available(torch.float64), reason="there is no C compiler")

OPTIONS = [
    {"background": background, "unknown": unknown, "forearm": forearm, "loss": loss, **caps}
    for background, unknown, forearm, loss, caps in itertools.product(
        ("silhouette", "far"),
        ("background", "ignore"),
        ("wrist_plane", "keep"),
        ("l1", "squared"),
        ({}, {"far_mm": 20.0, "clamp_mm": 6.0}),
    )
]


def values_and_gradients(scene: Scene, options: dict, cross: bool) -> tuple[torch.Tensor, torch.Tensor]:
    points = scene.points.clone().requires_grad_()
    found = ModelToData(ModelToDataConfig(cross_view=cross, **options))(scene.fit(points))
    weigh = torch.linspace(0.5, 2.0, len(found.values), dtype=found.values.dtype)
    (gradient,) = torch.autograd.grad((found.values * weigh).sum(), points)
    return found.values.detach(), gradient


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_both_ways_give_the_same(options, monkeypatch):
    for scene, cross in ((Scene([[1, 1, 1], [1, 0, 1]], seed=3), True), (Scene([[1, 1]], seed=4), False)):
        compiled = values_and_gradients(scene, options, cross)
        with monkeypatch.context() as patch:
            patch.setattr(m2d_kernel, "available", lambda dtype: False)
            eager = values_and_gradients(scene, options, cross)
        torch.testing.assert_close(compiled, eager, atol=1e-11, rtol=1e-12)
        assert float(eager[1].abs().sum()) > 0


def test_a_pixel_that_is_met_exactly_has_no_gradient():
    """In depth, where the residual is 0, and sideways, where the nearest surface is that of the pixel itself."""
    depth = torch.tensor([[[5.0, 7.0]]], dtype=torch.float64, requires_grad=True)
    anchor = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=torch.float64, requires_grad=True)
    hit, target = torch.ones(1, 1, 2, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)
    maps = torch.tensor([[[5.0, 150.0]]], dtype=torch.float64)
    seen = torch.tensor([[[True, False]]])
    value, total = m2d_kernel.mean_residual(
        depth, anchor, hit, target, maps, seen, anchor.detach().clone(), None, False, 150.0, 150.0, torch.inf
    )
    value.sum().backward()
    assert (value.tolist(), total.tolist()) == ([0.0], [2.0])
    assert depth.grad is not None
    assert anchor.grad is not None
    assert not depth.grad.any()
    assert not anchor.grad.any()


def test_pixels_that_do_not_count_and_pairs_without_any():
    depth = torch.tensor([[[5.0, torch.nan]], [[1.0, 1.0]]], dtype=torch.float64, requires_grad=True)
    hit, target = torch.ones(2, 1, 2, dtype=torch.bool), torch.tensor([0, 0])
    anchor, maps = torch.zeros(2, 1, 2, 2, dtype=torch.float64), torch.tensor([[[3.0, 3.0]]], dtype=torch.float64)
    counts = torch.tensor([[[True, False]], [[False, False]]])
    value, total = m2d_kernel.mean_residual(
        depth, anchor, hit, target, maps, maps < 9, None, counts, False, 150.0, 150.0, torch.inf
    )
    value.sum().backward()
    assert (value.tolist(), total.tolist()) == ([2.0, 0.0], [1.0, 1.0])
    assert depth.grad is not None
    assert depth.grad.tolist() == [[[1.0, 0.0]], [[0.0, 0.0]]]


def test_pytorchs_own_checks_of_operators():
    hit, target = torch.rand(3, 4, 4) < 0.7, torch.tensor([0, 1, 1])
    tensors = (torch.rand(3, 4, 4), torch.rand(3, 4, 4, 2))
    rest = (hit, target, torch.rand(2, 4, 4), torch.rand(2, 4, 4) < 0.5)
    for nearest, counts in ((torch.rand(2, 4, 4, 2), torch.rand(3, 4, 4) < 0.8), (None, None)):
        wanted = tuple(t.clone().requires_grad_() for t in tensors)
        arguments = (*wanted, *rest, nearest, counts, True, 150.0, 150.0, 9.0)
        torch.library.opcheck(m2d_kernel.mean_residual, arguments)
