"""The mean square of real heatmaps against its loops."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from scenes import Scene

from hpf_core.errors import InputError
from hpf_core.frames import Estimate
from hpf_core.objective.fit import Fit
from hpf_plugins.data_terms import heatmap_magnitude

TERM = heatmap_magnitude.SPEC.factory(heatmap_magnitude.HeatmapMagnitudeConfig(), None)


def fit_of(heatmaps: torch.Tensor | None, scene: Scene) -> Fit:
    return Fit(
        hand=scene.hand,
        renderer=scene.renderer,
        grid=scene.grid,
        frames=scene.frames,
        real=Estimate(scene.points, heatmaps),
    )


def random_maps(scene: Scene) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(*scene.points.shape[:2], 3, 5)))


def test_it_is_the_mean_square_of_each_image() -> None:
    scene = Scene([[1, 1, 0], [0, 0, 1]])
    maps = random_maps(scene)
    value = TERM(fit_of(maps, scene))
    for n, heatmaps in enumerate(maps.tolist()):
        squares = [heatmaps[j][v][u] ** 2 for j, v, u in itertools.product(range(4), range(3), range(5))]
        assert float(value.values[n]) == pytest.approx(sum(squares) / 60, abs=1e-12)
    assert value.weights.tolist() == [1, 1, 1]
    assert value.frame is not None
    assert value.frame.tolist() == [0, 0, 1]


def test_its_gradient_lowers_maps_alone() -> None:
    scene = Scene([[1]])
    maps = random_maps(scene).requires_grad_()
    TERM(fit_of(maps, scene)).values.sum().backward()
    torch.testing.assert_close(maps.grad, 2 * maps.detach() / 60)


def test_half_precision_is_squared_in_float32_and_meta_works() -> None:
    scene = Scene([[1]])
    low = random_maps(scene).to(torch.bfloat16)
    assert TERM(fit_of(low, scene)).values.dtype == torch.float32
    empty = dataclasses.replace(Estimate(scene.points), heatmaps=random_maps(scene)).to("meta")
    fit = fit_of(None, scene)
    fit.real = empty
    assert TERM(fit).values.shape == (1,)


def test_a_backbone_without_maps_is_told_what_to_do() -> None:
    with pytest.raises(InputError, match="heatmap_magnitude: the backbone has no heatmaps"):
        TERM(fit_of(None, Scene([[1]])))
