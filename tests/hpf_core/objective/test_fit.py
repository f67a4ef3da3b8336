"""The fit: packing, pairs, points across views, and that each thing is made once."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from scenes import Scene

from hpf_core.engine.step import Computation
from hpf_core.errors import InputError
from hpf_core.frames import Estimate, State
from hpf_core.interfaces import Rendered, Renderer, SurfaceDistance
from hpf_core.native import fit_kernels
from hpf_core.objective import depth_maps
from hpf_core.objective.depth_maps import DepthMaps
from hpf_core.objective.energy import Energy
from hpf_core.objective.fit import Fit

MIXED = [[1, 1, 1], [0, 1, 0], [1, 0, 1]]


class Counting(Renderer):
    """Counts the images that it is asked for."""

    def __init__(self, inner: Renderer) -> None:
        super().__init__()
        self.inner = inner
        self.rendered = self.measured = 0

    def depth(self, points, grid, *, radius_scale=None) -> Rendered:
        self.rendered += len(points)
        return self.inner.depth(points, grid, radius_scale=radius_scale)

    def distance(self, points, queries, *, radius_scale=None) -> SurfaceDistance:
        self.measured += len(points)
        return self.inner.distance(points, queries, radius_scale=radius_scale)


def test_images_are_packed_in_order_of_frame_and_view():
    scene = Scene(MIXED)
    fit = scene.fit()
    rows, _, pairs = scene.pairs()
    assert fit.depth_maps.shape == (6, 20, 20)
    for n, (b, v) in enumerate(rows):
        torch.testing.assert_close(fit.depth_maps[n], scene.frames.depth[b, v], atol=0, rtol=0)
        torch.testing.assert_close(fit.states[n], scene.frames.state[b, v], atol=0, rtol=0)
        torch.testing.assert_close(fit.to_rig[n], scene.frames.to_rig[b, v], atol=0, rtol=0)
    assert list(zip(fit.views.source.tolist(), fit.views.target.tolist(), strict=True)) == pairs
    assert fit.pair_frame(True).tolist() == [rows[t][0] for _, t in pairs]
    assert fit.pair_frame(False).tolist() == [b for b, _ in rows]
    assert fit.views.counts == (3, 1, 2)


def test_points_go_across_views():
    scene = Scene(MIXED)
    fit = scene.fit()
    across = fit.points_across(True)
    _, own, pairs = scene.pairs()
    for p, (source, target) in enumerate(pairs):
        np.testing.assert_allclose(across[p].numpy(), scene.across(source, target), atol=1e-9)
    # The own views are the estimates themselves, to the bit.
    torch.testing.assert_close(across[: len(own)], scene.points, atol=0, rtol=0)
    torch.testing.assert_close(fit.points_across(False), scene.points, atol=0, rtol=0)


def test_points_in_the_rig_fill_the_present_views():
    scene = Scene(MIXED)
    fit = scene.fit(scene.truth)
    rig = fit.rig_points()
    assert rig.shape == (3, 3, 4, 3)
    assert bool((rig[~scene.frames.present] == 0).all())
    # True points of one frame are the same balls, whichever view they come from.
    torch.testing.assert_close(rig[0, 0], rig[0, 2], atol=1e-9, rtol=0)
    torch.testing.assert_close(rig[2, 0], rig[2, 2], atol=1e-9, rtol=0)
    torch.testing.assert_close(rig[0, 1], fit.rig_rows[1], atol=0, rtol=0)


@pytest.mark.parametrize("order", [(False, True, True), (True, False, True), (True, True, False)])
def test_renders_and_distances_are_made_once(order):
    scene = Scene(MIXED)
    counting = Counting(scene.renderer)
    fit = Fit(hand=scene.hand, renderer=counting, grid=scene.grid, frames=scene.frames, real=Estimate(scene.points))
    plain = scene.fit()
    for cross in order:
        for found, expected in zip(
            fit.rendered(cross), scene.renderer.depth(plain.points_across(cross), scene.grid), strict=True
        ):
            torch.testing.assert_close(found, expected, atol=0, rtol=0)
        targets = plain.views.target[: len(plain.points_across(cross))]
        expected = scene.renderer.distance(plain.points_across(cross), plain.surface_points(50)[0][targets])
        torch.testing.assert_close(fit.distances(cross, 50).distance, expected.distance, atol=0, rtol=0)
    pairs = len(scene.pairs()[2])
    assert counting.rendered == counting.measured == pairs


def test_all_surface_points_are_the_hit_pixels():
    scene = Scene([[1, 1]])
    fit = scene.fit()
    points, there = fit.surface_points(None)
    axis = scene.grid.axis(dtype=torch.float64)
    for n in range(2):
        v, u = torch.nonzero(fit.states[n] == State.HIT, as_tuple=True)
        expected = torch.stack([axis[u], axis[v], fit.depth_maps[n, v, u]], dim=-1)
        torch.testing.assert_close(points[n, there[n]], expected, atol=0, rtol=0)


def test_a_budget_takes_surface_points_alone_and_spreads_them():
    scene = Scene([[1, 1]], size=64, holes=False)
    fit = scene.fit()
    everything = fit.surface_points(None)
    points, there = fit.surface_points(200)
    assert points.shape == (2, 200, 3)
    for n in range(2):
        whole = everything[0][n, everything[1][n]]
        assert len(whole) > 300
        assert bool(there[n].all())
        assert len(points[n].unique(dim=0)) == 200
        gap = torch.cdist(whole[:, :2], points[n, :, :2])
        assert bool((gap.amin(dim=0) == 0).all())  # each is a pixel of the surface
        # Spread: no pixel of the surface is far from a chosen one, where a random choice leaves gaps twice as wide.
        assert float(gap.amin(dim=1).max()) < 3 * scene.grid.pixel_mm
    again = scene.fit().surface_points(200)
    torch.testing.assert_close(again[0], points, atol=0, rtol=0)


def test_a_budget_beyond_the_surface_marks_what_is_there():
    scene = Scene([[1]], size=16)
    points, there = scene.fit().surface_points(200)
    assert int(there.sum()) == int(scene.fit().hit.sum()) < 200
    assert bool(points.isfinite().all())


@pytest.mark.parametrize("compiled", [True, False])
def test_forearm_is_beyond_the_plane_and_a_wrong_estimate_is_not_believed(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(fit_kernels, "available", lambda dtype: False)
    scene = Scene([[1, 1]])
    fit = scene.fit()
    points, there = fit.surface_points(None)
    beyond = fit.forearm(True, points, there, 5.0)
    for p, (source, target) in enumerate(scene.pairs()[2]):
        estimate = scene.across(source, target)
        wrist, palm = estimate[0], estimate[1]
        outwards = (wrist - palm) / np.linalg.norm(wrist - palm)
        expected = torch.from_numpy((points[target].numpy() - wrist) @ outwards > 5.0) & there[target]
        if (there[target] & ~expected).sum() < there[target].sum() / 3:
            expected = torch.zeros_like(expected)
        torch.testing.assert_close(beyond[p], expected)
    assert bool(beyond.any())

    # The wrist far before all points, and the palm before it: everything would be forearm.
    wrong = scene.points.clone()
    wrong[:, 0], wrong[:, 1] = torch.tensor([0, 0, -500.0]), torch.tensor([0, 0, -600.0])
    assert not bool(scene.fit(wrong).forearm(False, points, there).any())


def test_nearest_hit_is_in_mm():
    scene = Scene([[1]], size=16)
    fit = scene.fit()
    assert fit.nearest_hit.shape == (1, 16, 16, 2)
    v, u = torch.nonzero(fit.hit[0], as_tuple=True)
    axis = scene.grid.axis(dtype=torch.float64)
    torch.testing.assert_close(fit.nearest_hit[0, v, u], torch.stack([axis[u], axis[v]], dim=-1))


def test_what_depth_maps_alone_decide_is_made_once_for_all_stacks(monkeypatch):
    """The nearest surface pixels, and the choice of surface points for each budget."""
    scene, asked = Scene(MIXED), []
    inner = depth_maps.nearest_marked
    monkeypatch.setattr(depth_maps, "nearest_marked", lambda mask: asked.append("nearest") or inner(mask))
    choose = DepthMaps._sample_surface
    monkeypatch.setattr(DepthMaps, "_sample_surface", lambda self, budget: asked.append(budget) or choose(self, budget))
    parts = SimpleNamespace(hand=scene.hand, renderer=scene.renderer, grid=scene.grid)
    computation = Computation(cast(Any, parts), Energy([]))
    estimates = [Estimate(scene.points + stack) for stack in range(3)]
    fits = computation._fits(scene.frames, None, estimates, [None] * 3, None)
    for fit in fits * 2:
        for name in ("depth_maps", "states", "to_rig", "hit", "nearest_hit"):
            assert getattr(fit, name) is getattr(fits[0], name)
        for budget in (50, None):
            assert fit.surface_points(budget) is fits[0].surface_points(budget)
    assert asked == ["nearest", 50, None]
    alone = scene.fit()
    torch.testing.assert_close(fits[2].nearest_hit, alone.nearest_hit, atol=0, rtol=0)
    torch.testing.assert_close(fits[2].surface_points(50), alone.surface_points(50), atol=0, rtol=0)
    # What depends on the estimates is each stack's own.
    assert not torch.equal(fits[0].rig_rows, fits[1].rig_rows)


def test_maps_of_other_frames_or_rays_are_refused():
    scene = Scene([[1, 1]])
    given = {"hand": scene.hand, "renderer": scene.renderer, "grid": scene.grid, "frames": scene.frames}
    assert Fit(**given, maps=DepthMaps(scene.frames, scene.grid)).hit.any()
    for maps in (
        DepthMaps(dataclasses.replace(scene.frames), scene.grid),
        DepthMaps(scene.frames, dataclasses.replace(scene.grid, cube_mm=200.0)),
    ):
        with pytest.raises(InputError, match="other frames, or on another grid"):
            Fit(**given, maps=maps)


def test_half_precision_estimates_are_taken_in_float32():
    scene = Scene([[1, 1]])
    frames = dataclasses.replace(scene.frames, to_rig=scene.frames.to_rig.float(), depth=scene.frames.depth.float())
    low = scene.points.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        fit = Fit(hand=scene.hand, renderer=scene.renderer, grid=scene.grid, frames=frames, real=Estimate(low))
        across = fit.points_across(True)
    assert across.dtype == torch.float32
    exact = scene.fit(low.double()).points_across(True)
    torch.testing.assert_close(across.double(), exact, atol=2e-3, rtol=0)


def test_what_does_not_fit_together_is_refused():
    scene = Scene([[1, 1]])
    with pytest.raises(InputError, match="1 estimates for 2 present views"):
        scene.fit(scene.points[:1])
    grid = dataclasses.replace(scene.grid, size=32)
    with pytest.raises(InputError, match="20 x 20 pixels, but the grid is 32 x 32"):
        Fit(hand=scene.hand, renderer=scene.renderer, grid=grid, frames=scene.frames)


def test_what_is_not_drawn_is_named():
    scene = Scene([[1]])
    empty = Fit(hand=scene.hand, renderer=scene.renderer, grid=scene.grid)
    with pytest.raises(InputError, match=r"none are drawn.*real"):
        _ = empty.depth_maps
    with pytest.raises(InputError, match=r"none are drawn.*synthetic"):
        empty.need_synthetic()
