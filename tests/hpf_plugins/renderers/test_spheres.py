"""The sphere renderer against the equations' loops and against the dense formula's autograd.

All of it twice: with the compiled kernels, and as where there is no compiler.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from hpf_core.grid import Grid
from hpf_plugins.renderers import kernels
from hpf_plugins.renderers.spheres import Spheres, SpheresConfig


@pytest.fixture(autouse=True, params=["compiled", "eager"])
def way(request, monkeypatch) -> str:
    if request.param == "eager":
        monkeypatch.setattr(kernels, "available", lambda dtype: False)
    elif not kernels.available(torch.float32):
        pytest.skip("there is no C compiler")
    return request.param


RADII = [24.0, 20.5, 15.2, 11.3, 8.1]


def renderer(radii=RADII, **options) -> Spheres:
    return Spheres(torch.tensor(radii, dtype=torch.float64), SpheresConfig(**options))


def points(seed=0, count=3, balls=5, spread_mm=50.0, dtype=torch.float64) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(-spread_mm, spread_mm, (count, balls, 3))).to(dtype)


def dense_depth(centres: Tensor, radii: Tensor, grid: Grid, floor: float) -> Tensor:
    """Eq. 6-8 for all spheres and pixels at once: (N, H, W)."""
    axis = grid.axis(dtype=centres.dtype)
    d2 = (centres[:, :, None, None, 0] - axis).square() + (centres[:, :, None, None, 1] - axis[:, None]).square()
    gap = radii.square()[:, None, None] - d2
    front = centres[:, :, None, None, 2] - gap.clamp_min(floor).sqrt()
    return torch.where(gap >= 0, front, grid.far_mm).amin(dim=1).clamp_max(grid.far_mm)


# ---------------------------------------------------------------------------------------------------------------- depth


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), size=st.sampled_from([7, 16, 24]), spread=st.sampled_from([30.0, 90.0, 200.0]))
def test_depth_is_the_equations(seed, size, spread):
    """Also with spheres that lie half or wholly outside of the cube, on any side."""
    centres, grid = points(seed, count=2, spread_mm=spread), Grid(size=size)
    seen = renderer().depth(centres, grid)
    for n in range(2):
        depth, hit, primitive = reference.render(centres[n].numpy(), RADII, size)
        np.testing.assert_allclose(seen.depth[n].numpy(), depth, atol=1e-10)
        np.testing.assert_array_equal(seen.hit[n].numpy(), hit)
        np.testing.assert_array_equal(seen.primitive[n].numpy(), primitive)


@pytest.mark.parametrize("size", [16, 64])
def test_gradients_are_the_dense_formulas(size):
    centres, grid, made = points(1, count=4).requires_grad_(), Grid(size=size), renderer()
    weigh = torch.from_numpy(np.random.default_rng(2).normal(size=(4, size, size)))
    (dense,) = torch.autograd.grad((dense_depth(centres, made.radii, grid, 1.0) * weigh).sum(), centres)
    (windowed,) = torch.autograd.grad((made.depth(centres, grid).depth * weigh).sum(), centres)
    torch.testing.assert_close(windowed, dense, atol=1e-10, rtol=0)
    assert dense.abs().sum() > 1


def test_float32_is_near_float64():
    centres, grid, made = points(3, count=8), Grid(), renderer()
    double = made.depth(centres, grid).depth
    single = made.depth(centres.float(), grid).depth
    assert single.dtype == torch.float32
    # Norms, for a pixel on a rim or on an edge between spheres may fall to either side.
    near = (single - double).abs() < 1
    assert near.double().mean() > 0.9995
    assert ((single - double) * near).norm() < 1e-5 * double.norm()


def test_gradcheck():
    # Off the pixels' centres and of the floor's kink, so that a finite difference crosses no edge.
    centres = torch.tensor([[[1.3, -2.1, 10.0], [31.7, 18.4, -5.0]]], dtype=torch.float64, requires_grad=True)
    made = renderer([25.0, 18.0])
    grid = Grid(size=8, cube_mm=160.0)

    def maps(c: Tensor) -> Tensor:
        return made.depth(c, grid).depth

    assert maps(centres).lt(grid.far_mm).sum() > 4
    assert torch.autograd.gradcheck(maps, centres, eps=1e-6, atol=1e-7)


def test_the_anchor_is_the_pixel_and_moves_with_the_sphere():
    centres, grid = points(4, count=2).requires_grad_(), Grid(size=16)
    seen = renderer().depth(centres, grid)
    for v, u in [(0, 0), (3, 9), (15, 8)]:
        assert seen.anchor[0, v, u].tolist() == pytest.approx(reference.pixel_centre(u, v, 16, 300.0))
    (grad,) = torch.autograd.grad((seen.anchor.sum(dim=-1) * seen.hit).sum(), centres)
    for n in range(2):
        for j in range(len(RADII)):
            pixels = float(((seen.primitive[n] == j) & seen.hit[n]).sum())
            assert grad[n, j].tolist() == pytest.approx([pixels, pixels, 0.0])


def test_the_nearer_sphere_hides_the_other():
    centres = torch.tensor([[[0.0, 0, 40], [0.0, 0, -30]]], dtype=torch.float64, requires_grad=True)
    seen = renderer([20.0, 20.0]).depth(centres, Grid(size=16))
    assert bool((seen.primitive[seen.hit] == 1).all())
    seen.depth.sum().backward()
    assert centres.grad is not None
    assert float(centres.grad[0, 0].abs().sum()) == 0
    assert float(centres.grad[0, 1, 2]) == float(seen.hit.sum())


def test_what_lies_beyond_the_far_plane_is_not_seen_and_what_lies_before_the_cube_is():
    centres = torch.tensor([[[0.0, 0, 175.1]], [[0.0, 0, 170.0]], [[0.0, 0, -400.0]]], dtype=torch.float64)
    seen = renderer([25.0]).depth(centres, Grid(size=65))  # an odd grid has a ray through the middle
    assert [bool(h.any()) for h in seen.hit] == [False, True, True]
    assert bool((seen.depth[0] == 150).all())
    assert float(seen.depth[2].min()) == pytest.approx(-425)


def test_a_pixel_without_a_surface_has_no_gradient():
    centres = points(5, count=1).requires_grad_()
    seen = renderer().depth(centres, Grid(size=16))
    (grad,) = torch.autograd.grad((seen.depth * ~seen.hit).sum(), centres)
    assert float(grad.abs().sum()) == 0


def test_miss_moves_the_far_plane():
    centres = torch.tensor([[[0.0, 0, 100.0], [60.0, 0, 130.0]]], dtype=torch.float64)
    seen = renderer([20.0, 20.0], miss=100).depth(centres, Grid(size=64))
    assert float(seen.depth.max()) == 100
    assert bool((seen.primitive[seen.hit] == 0).all())
    expected, hit, _ = reference.render(centres[0].numpy(), [20, 20], 64, far_mm=100.0)
    np.testing.assert_allclose(seen.depth[0].numpy(), expected)
    np.testing.assert_array_equal(seen.hit[0].numpy(), hit)


def test_the_rims_floor_bounds_the_gradient():
    # The rim passes within a thousandth of a millimetre of a pixel's ray: the root's slope would be about 100.
    radius = 10.0
    centres = torch.tensor([[[0.0, 0.0, 0.0]]], dtype=torch.float64)
    grid = Grid(size=3, cube_mm=3 * (radius - 0.001))
    grads = []
    for floor in (1.0, 1e-6):
        moved = centres.clone().requires_grad_()
        seen = renderer([radius], rim_floor_mm2=floor).depth(moved, grid)
        assert bool(seen.hit[0, 1].all())
        (grad,) = torch.autograd.grad(seen.depth[0, 1, 2], moved)
        grads.append(float(grad.abs().max()))
    assert grads[0] == 1.0  # below the floor only z moves the surface
    assert grads[1] > 50


def test_points_that_are_not_finite_are_not_seen():
    centres = points(6, count=1)
    centres[0, 0] = torch.nan
    centres[0, 1] = torch.inf
    seen = renderer().depth(centres, Grid(size=16))
    assert bool(seen.depth.isfinite().all())
    assert not bool(((seen.primitive < 2) & seen.hit).any())


def test_images_do_not_mix():
    centres, grid, made = points(7, count=5), Grid(size=16), renderer()
    order = torch.tensor([3, 0, 4, 2, 1])
    for whole, permuted in zip(made.depth(centres, grid), made.depth(centres[order], grid), strict=True):
        torch.testing.assert_close(whole[order], permuted, atol=0, rtol=0)


# ------------------------------------------------------------------------------------------------------------- distance


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_distance_is_the_equations(seed):
    centres, queries = points(seed, count=2), points(seed + 1, count=2, balls=9, spread_mm=80)
    found = renderer().distance(centres, queries)
    for n in range(2):
        for q in range(9):
            distance, primitive = reference.surface_distance(queries[n, q].numpy(), centres[n].numpy(), RADII)
            assert float(found.distance[n, q]) == pytest.approx(distance, abs=1e-10)
            assert int(found.primitive[n, q]) == primitive


def test_distance_gradients_are_the_dense_formulas():
    centres, queries, made = points(8).requires_grad_(), points(9, balls=50, spread_mm=80), renderer()
    dense = (torch.linalg.vector_norm(queries[:, :, None] - centres[:, None], dim=-1) - made.radii).abs().amin(dim=-1)
    (expected,) = torch.autograd.grad(dense.square().sum(), centres)
    (found,) = torch.autograd.grad(made.distance(centres, queries).distance.square().sum(), centres)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    assert torch.autograd.gradcheck(lambda c: made.distance(c, queries[:, :6]).distance, centres, atol=1e-6)


def test_distance_of_a_centre_and_of_the_surface_is_safe():
    centres = torch.zeros(1, 1, 3, requires_grad=True)
    queries = torch.tensor([[[0.0, 0, 0], [0.0, 0, 10.0]]])
    found = renderer([10.0]).distance(centres, queries)
    assert found.distance.tolist() == [[10.0, 0.0]]
    found.distance.sum().backward()
    assert centres.grad is not None
    assert bool(centres.grad.isfinite().all())


def test_float32_distances_do_not_cancel():
    centres, queries = points(10, count=4, spread_mm=140), points(11, count=4, balls=200, spread_mm=140)
    double = renderer().distance(centres, queries).distance
    single = renderer().distance(centres.float(), queries.float()).distance
    assert (single - double).norm() < 1e-5 * queries.norm()


# ----------------------------------------------------------------------------------------------------------- everywhere


def test_both_compute_in_float32_under_autocast():
    centres, queries, grid, made = points(12).float(), points(13, balls=30).float(), Grid(size=16), renderer()
    with torch.autocast("cpu", torch.bfloat16):
        seen, far = made.depth(centres, grid), made.distance(centres, queries)
        low = made.depth(centres.bfloat16(), grid)
    assert seen.depth.dtype == far.distance.dtype == low.depth.dtype == torch.float32
    torch.testing.assert_close(seen.depth, made.depth(centres, grid).depth, atol=0, rtol=0)
    torch.testing.assert_close(far.distance, made.distance(centres, queries).distance, atol=0, rtol=0)


def test_both_run_on_meta():
    made = renderer().to("meta")
    centres = torch.empty(2, 5, 3, device="meta", requires_grad=True)
    seen = made.depth(centres, Grid())
    far = made.distance(centres, torch.empty(2, 7, 3, device="meta"))
    (seen.depth.sum() + seen.anchor.sum() + far.distance.sum()).backward()
    assert seen.primitive.shape == (2, 64, 64)
    assert centres.grad is not None
    assert centres.grad.shape == centres.shape


def test_the_graph_has_no_breaks():
    """What torch.compile would take in one piece: no value reaches the host, no shape depends on one."""
    made, grid = renderer(), Grid(size=16)

    def both(c: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        return made.depth(c, grid).depth, made.distance(c, q).distance

    centres, queries = points(14).float(), points(15, balls=30).float()
    compiled = torch.compile(both, backend="eager", fullgraph=True)
    for found, expected in zip(compiled(centres, queries), both(centres, queries), strict=True):
        torch.testing.assert_close(found, expected, atol=0, rtol=0)


@pytest.mark.parametrize("options", [{"rim_floor_mm2": 0}, {"miss": "near"}, {"miss": float("nan")}, {"mis": "far"}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValidationError):
        SpheresConfig(**options)


# ------------------------------------------------------------------------------------------------------- radius scale


def measured() -> Spheres:
    return Spheres(torch.tensor(RADII, dtype=torch.float64), SpheresConfig(radii="measured"))


def test_a_radius_scale_is_taken_with_fixed_radii_too():
    centres, grid, factors = points(3, count=2), Grid(size=32), torch.tensor([1.5, 0.8], dtype=torch.float64)
    fixed = Spheres(torch.tensor(RADII, dtype=torch.float64), SpheresConfig())
    wanted = measured().depth(centres, grid, radius_scale=factors)
    assert torch.equal(fixed.depth(centres, grid, radius_scale=factors).depth, wanted.depth)


@pytest.mark.parametrize(("asked", "taken"), [(1.0, 1.0), (0.9, 0.9), (1.17, 1.17), (0.5, 0.7), (2.0, 1.5)])
def test_radius_scale_is_a_factor_on_the_radii_of_each_hand(asked, taken):
    """Within bounds, with its gradient on the points alone."""
    centres, grid, queries = points(3, count=2).requires_grad_(), Grid(size=32), points(4, count=2, balls=50)
    factors = torch.tensor([asked, 1.0], dtype=torch.float64)
    made = measured()
    assert made.measures_radius_scale
    depth = made.depth(centres, grid, radius_scale=factors).depth
    found = made.distance(centres, queries, radius_scale=factors).distance
    for n, factor in enumerate((taken, 1.0)):
        alone = Spheres(factor * torch.tensor(RADII, dtype=torch.float64), SpheresConfig())
        wanted = alone.depth(centres[n : n + 1], grid).depth
        torch.testing.assert_close(depth[n : n + 1], wanted, atol=1e-9, rtol=0)
        torch.testing.assert_close(
            found[n : n + 1], alone.distance(centres[n : n + 1], queries[n : n + 1]).distance, atol=1e-9, rtol=0
        )
        mine, others = (torch.autograd.grad(d.sum(), centres, retain_graph=True)[0][n] for d in (depth[n], wanted))
        torch.testing.assert_close(mine, others, atol=1e-9, rtol=0)


def test_radius_scale_is_read_off_surfaces():
    """Of spheres seen alone, at the true points, exactly; only valid points count."""
    centres = torch.tensor([[[-60.0, 0, 0], [0, 0, 0], [60, 0, 0]]], dtype=torch.float64).expand(2, -1, -1)
    radii = torch.tensor([20.0, 15.0, 10.0], dtype=torch.float64)
    way = torch.nn.functional.normalize(points(5, count=2, balls=30), dim=-1)
    ball = torch.arange(30) % 3
    factor = torch.tensor([1.2, 0.9], dtype=torch.float64)[:, None, None]
    queries = centres[:, ball] + way * radii[ball][:, None] * factor
    queries[:, 20:] += 500.0
    valid = (torch.arange(30) < 20).expand(2, -1).clone()
    made = Spheres(radii, SpheresConfig(radii="measured"))
    torch.testing.assert_close(made.measure_radius_scale(centres, queries, valid), factor.flatten(), atol=1e-9, rtol=0)
    valid[1] = False
    assert made.measure_radius_scale(centres, queries, valid).isnan().tolist() == [False, True]


def test_radius_scale_costs_no_values_on_the_host():
    made, centres = (
        measured().to("meta"),
        points(3).to("meta"),
    )
    factors = torch.ones(3, device="meta")
    assert made.depth(centres, Grid(size=32), radius_scale=factors).depth.shape == (3, 32, 32)
    assert not renderer().measures_radius_scale
