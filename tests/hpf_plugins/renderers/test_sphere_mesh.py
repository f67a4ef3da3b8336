"""The sphere mesh against a dense sampling of its spheres in float64, its gradients, and what it must share with
plain spheres. All of it twice: with the compiled kernels, and as where there is no compiler."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpf_core.geometry.rotations import random_rotations, rotation_vector
from hpf_core.grid import Grid
from hpf_core.interfaces import Build
from hpf_core.simulation.rasteriser import orthographic
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config
from hpf_plugins.renderers import sphere_mesh_kernels as kernels
from hpf_plugins.renderers.sphere_mesh import FITTED, SPEC, SphereMesh, SphereMeshConfig, triangles_of
from hpf_plugins.renderers.spheres import Spheres, SpheresConfig

LINKS = [(0, 1), (2, 1), (0, 2), (2, 3), (1, 3), (4, 5), (3, 4)]  # two triangles and a finger; point 6 has no link
RADII = np.array([24.0, 18.0, 9.0, 13.0, 8.0, 6.0, 11.0])


@pytest.fixture(autouse=True, params=["compiled", "eager"])
def way(request, monkeypatch) -> str:
    if request.param == "eager":
        monkeypatch.setattr(kernels, "available", lambda dtype: False)
    elif not kernels.available(torch.float32):
        pytest.skip("there is no C compiler")
    return request.param


def renderer(sizes=RADII, links=LINKS, **options) -> SphereMesh:
    return SphereMesh(torch.as_tensor(sizes, dtype=torch.float64), links, SphereMeshConfig(**options))


def points(seed: int, count: int = 1, spread_mm: float = 50.0, number: int = 7) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-spread_mm, spread_mm, (count, number, 3)))


def sampled(centres: np.ndarray, radii=RADII, links=LINKS, steps: int = 101) -> tuple[np.ndarray, np.ndarray]:
    """Centres (S, 3) and radii (S,) of spheres interpolated along links and over triangles, finely."""
    t = np.linspace(0, 1, steps)
    weights = [np.eye(len(radii))]
    for a, b in links:
        row = np.zeros((steps, len(radii)))
        row[:, a], row[:, b] = 1 - t, t
        weights.append(row)
    u, v = (part.ravel() for part in np.meshgrid(t, t))
    u, v = u[u + v <= 1], v[u + v <= 1]
    for a, b, c in triangles_of(links):
        row = np.zeros((len(u), len(radii)))
        row[:, a], row[:, b], row[:, c] = 1 - u - v, u, v
        weights.append(row)
    every = np.concatenate(weights)
    return every @ centres, every @ radii


def reference_depth(centres: np.ndarray, grid: Grid) -> np.ndarray:
    c, r = sampled(centres)
    axis = grid.axis(dtype=torch.float64).numpy()
    best = np.full((grid.size, grid.size), grid.far_mm)
    for v, y in enumerate(axis):
        gap = r**2 - (axis[:, None] - c[:, 0]) ** 2 - (y - c[:, 1]) ** 2
        depth = np.where(gap >= 0, c[:, 2] - np.sqrt(np.maximum(gap, 0)), grid.far_mm)
        best[v] = np.minimum(best[v], depth.min(axis=1))
    return best


def test_triangles_are_points_of_which_each_two_are_linked():
    assert triangles_of(LINKS) == [(0, 1, 2), (1, 2, 3)]
    assert triangles_of([(0, 1), (1, 2)]) == []
    four = [(a, b) for a in range(4) for b in range(a)]
    assert triangles_of(four) == [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)]


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), spread=st.sampled_from([15.0, 50.0, 110.0]))
def test_depth_is_that_of_finely_sampled_spheres(seed, spread):
    """Never behind them, for they are some of the surface's; and at most by the sampling's gap before them. Also where
    one sphere swallows another (small spreads), and beyond the cube."""
    grid = Grid(size=14)
    centres = points(seed, spread_mm=spread)
    found = renderer(rim_floor_mm2=1e-9).depth(centres, grid)
    gap = found.depth[0].numpy() - reference_depth(centres[0].numpy(), grid)
    assert gap.max() < 1e-4
    assert np.quantile(gap, 0.02) > -1  # a rim between two samples may be seen by a pixel, or not
    assert np.median(np.abs(gap)) < 0.05
    assert bool(((found.depth < grid.far_mm) == found.hit).all())


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), spread=st.sampled_from([15.0, 50.0, 110.0]))
def test_distance_is_that_of_finely_sampled_spheres(seed, spread):
    centres, queries = points(seed, spread_mm=spread), points(seed + 1, spread_mm=80, number=120)
    found = renderer().distance(centres, queries).distance[0].numpy()
    c, r = sampled(centres[0].numpy())
    signed = (np.linalg.norm(queries[0].numpy()[:, None] - c, axis=-1) - r).min(axis=1)
    # The surface is where the samples' is or outside of it; a query between the two is inside.
    gap = np.where(found <= signed + 1e-6, found, -found) - signed
    assert gap.max() < 1e-6
    # Of each place on a triangle with sides of at most s a corner is no further than s / sqrt(3); radii differ by less
    # than 0.2 mm from sample to sample. Beside an axis the sampling's gap shows in full, elsewhere as its square.
    longest = np.linalg.norm(centres[0][:, None] - centres[0], axis=-1).max() / 100
    assert gap.min() > -longest / math.sqrt(3) - 0.2
    assert np.median(np.abs(gap)) < 0.05


def test_a_capsule_and_a_plate_are_known_in_closed_form():
    centres = torch.tensor([[[-30.0, 0, 0], [30.0, 0, 0], [0.0, 40, 0]]], dtype=torch.float64)
    grid = Grid(size=60)
    capsule = renderer([10.0, 10, 10], [(0, 1)]).depth(centres, grid)
    assert float(capsule.depth[0, 30, 30]) == pytest.approx(-math.sqrt(100 - 2.5**2))
    plate = renderer([10.0, 10, 10], [(0, 1), (1, 2), (0, 2)])
    seen = plate.depth(centres, grid)
    assert float(seen.depth[0, 33, 30]) == pytest.approx(-10)  # (2.5, 17.5) mm, within the triangle
    assert int(seen.primitive[0, 33, 30]) == 6
    queries = torch.tensor([[[0.0, 15, 25], [0.0, 15, -4], [0.0, -22, 0], [30.0, 0, 3]]], dtype=torch.float64)
    found = plate.distance(centres, queries)
    assert found.distance[0].tolist() == pytest.approx([15.0, 6.0, 12.0, 7.0])
    assert found.primitive[0, :3].tolist() == [6, 6, 3]


def test_a_cone_is_tangent_to_both_spheres():
    """Seen from its side, the outline of radii 20 and 10 that are 50 mm apart leans by asin(10 / 50)."""
    centres = torch.tensor([[[-25.0, 0, 0], [25.0, 0, 0]]], dtype=torch.float64)
    made = renderer([20.0, 10.0], [(0, 1)])
    lean = math.asin(10 / 50)
    for along in (0.2, 0.5, 0.8):
        centre, radius = -25 + 50 * along, 20 - 10 * along
        normal = np.array([math.sin(lean), math.cos(lean), 0.0])
        on = np.array([centre, 0, 0]) + radius * normal
        queries = torch.from_numpy(np.stack([on, on + 7 * normal, on - 3 * normal]))[None]
        assert made.distance(centres, queries).distance[0].tolist() == pytest.approx([0, 7, 3], abs=1e-9)


def test_without_links_it_is_plain_spheres():
    centres, grid = points(3, 3), Grid(size=24)
    plain = Spheres(torch.from_numpy(RADII), SpheresConfig())
    one, other = renderer(links=[]).depth(centres, grid), plain.depth(centres, grid)
    torch.testing.assert_close(one.depth, other.depth)
    assert torch.equal(one.primitive, other.primitive)
    outside = 300 * torch.nn.functional.normalize(points(4, 3, number=9), dim=-1)
    torch.testing.assert_close(
        renderer(links=[]).distance(centres, outside).distance, plain.distance(centres, outside).distance
    )


def test_gradcheck():
    """Of depth, anchor and distance, where each sees points, links and triangles."""
    centres = torch.tensor(
        [[[-41.3, -32.1, 4], [38.7, -28.4, -9], [1.7, 41.2, 6], [52.1, 47.3, 11.9]]], dtype=torch.float64
    ).requires_grad_()
    made = renderer([16.0, 12.0, 14.0, 9.0], [(0, 1), (1, 2), (0, 2), (2, 3)])
    grid = Grid(size=13, cube_mm=170.0)
    queries = points(5, number=14, spread_mm=70).requires_grad_()
    first = made.depth(centres, grid)
    kinds = torch.bincount(first.primitive[first.hit], minlength=9)
    assert kinds[:4].sum() > 2
    assert kinds[4:8].sum() > 2
    assert kinds[8] > 2
    assert torch.autograd.gradcheck(lambda c: made.depth(c, grid).depth, centres, eps=1e-6, atol=1e-6)
    assert torch.autograd.gradcheck(lambda c, q: made.distance(c, q).distance, (centres, queries), atol=1e-6)
    seen = made.depth(centres, grid)
    (grad,) = torch.autograd.grad((seen.anchor[..., 0] * seen.hit).sum(), centres)
    assert float(grad[..., 0].sum()) == pytest.approx(float(seen.hit.sum()))  # weights of corners sum to 1
    assert float(grad[..., 1:].abs().sum()) == 0


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_distances_turn_with_the_hand(seed):
    rotation = torch.from_numpy(np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3))).Q)
    centres, queries = points(seed, 2), points(seed + 1, 2, spread_mm=90, number=40)
    made = renderer()
    still, turned = made.distance(centres, queries), made.distance(centres @ rotation.T, queries @ rotation.T)
    torch.testing.assert_close(turned.distance, still.distance, atol=1e-8, rtol=0)


@pytest.mark.parametrize("kind", ["one place", "one line", "swallowed", "not finite"])
def test_degenerate_hands_are_seen_and_have_finite_gradients(kind):
    centres = points(6, 2).float()
    if kind == "one place":
        centres = torch.zeros_like(centres)
    elif kind == "one line":
        centres[..., 1:] = 0
    elif kind == "swallowed":
        centres *= 0.05
    else:
        centres[:, 0] = torch.nan
        centres[:, 3, 1] = torch.inf
    centres.requires_grad_()
    made = renderer().float()
    seen = made.depth(centres, Grid(size=24))
    assert bool(seen.depth.isfinite().all())
    assert bool(seen.hit.flatten(1).any(dim=1).all())
    loss = seen.depth.sum() + seen.anchor[seen.hit].sum()
    if kind != "not finite":
        found = made.distance(centres, points(7, 2, number=30).float()).distance
        assert bool(found.isfinite().all())
        loss = loss + found.sum()
        loss.backward()
        assert centres.grad is not None
        assert bool(centres.grad.isfinite().all())
    else:
        assert bool(made.distance(centres, points(7, 2, number=30).float()).distance.isnan().all())


def test_float32_is_near_float64():
    centres, queries, grid = points(8, 6), points(9, 6, number=200, spread_mm=90), Grid()
    double, single = renderer(), renderer().float()
    gap = (double.depth(centres, grid).depth - single.depth(centres.float(), grid).depth).abs()
    assert gap.quantile(0.999) < 0.01
    gap = (
        double.distance(centres, queries).distance - single.distance(centres.float(), queries.float()).distance
    ).abs()
    assert gap.max() < 0.01


def test_radius_scale_scales_the_radii_and_is_found_again():
    centres, grid = points(10, 3, spread_mm=70), Grid(size=48)
    made, factor = renderer(radii="measured"), torch.tensor([0.9, 1.0, 1.2], dtype=torch.float64)
    seen = made.depth(centres, grid, radius_scale=factor)
    for n in range(3):
        alone = renderer(RADII * float(factor[n])).depth(centres[n : n + 1], grid)
        torch.testing.assert_close(seen.depth[n], alone.depth[0])
    surface = torch.cat([seen.anchor, seen.depth[..., None]], dim=-1).flatten(1, 2)
    found = made.measure_radius_scale(centres, surface, seen.hit.flatten(1))
    torch.testing.assert_close(found, factor, atol=0.03, rtol=0)
    assert float(made.distance(centres, surface, radius_scale=factor).distance[seen.hit.flatten(1)].max()) < 0.1


def test_radii_are_fitted_for_the_41_points_alone():
    hand = Spheres41(Spheres41Config())
    build = Build(grid=Grid(), seed=0, cache=Path("unused"), hand=hand)
    fitted = SPEC.factory(SphereMeshConfig(), build)
    own = SPEC.factory(SphereMeshConfig(sizes="hand"), build)
    torch.testing.assert_close(own.radii, hand.radii)
    assert fitted.radii.tolist() == pytest.approx([FITTED[name] for name in hand.names])
    assert bool((fitted.radii <= hand.radii).all())
    hand.names = ("ANOTHER", *hand.names[1:])
    torch.testing.assert_close(SPEC.factory(SphereMeshConfig(), build).radii, hand.radii)


def test_it_lies_nearer_to_the_skin_than_plain_spheres():
    """What a perfect fit leaves, over a few hands; `tools/floor.py --renderer sphere_mesh` over a thousand."""
    hand = Spheres41(Spheres41Config())
    draw = torch.Generator().manual_seed(1)
    pose, shape = hand.sample(12, draw)
    pose = torch.cat([rotation_vector(random_rotations(12, draw)), pose[:, 3:]], dim=1)
    centres, grid = hand.points(pose, shape), Grid(size=32)
    skin = orthographic(hand.mesh(pose, shape), grid)
    build = Build(grid=grid, seed=0, cache=Path("unused"), hand=hand)
    errors = []
    for made in (SPEC.factory(SphereMeshConfig(), build), Spheres(hand.radii, SpheresConfig())):
        seen = made.depth(centres, grid)
        errors.append(float((seen.depth - skin).abs()[seen.hit & skin.isfinite()].mean()))
    assert errors[0] < 0.9 * errors[1]


def test_images_do_not_mix():
    centres, grid, made = points(11, 5), Grid(size=16), renderer()
    order = torch.tensor([3, 0, 4, 2, 1])
    for whole, permuted in zip(made.depth(centres, grid), made.depth(centres[order], grid), strict=True):
        torch.testing.assert_close(whole[order], permuted, atol=0, rtol=0)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6), spread=st.sampled_from([20.0, 60.0, 1e4]))
def test_both_ways_find_the_same(seed, spread):
    if not kernels.available(torch.float64):
        return  # the other way is the one that is tried
    centres, queries, grid = points(seed, 2, spread), points(seed + 1, 2, 80, 300), Grid(size=20)
    one, other = renderer(), renderer()
    other._compiled = lambda given: False  # type: ignore[method-assign]
    torch.testing.assert_close(one.depth(centres, grid).depth, other.depth(centres, grid).depth, atol=1e-8, rtol=0)
    torch.testing.assert_close(
        one.distance(centres, queries).distance, other.distance(centres, queries).distance, atol=1e-8, rtol=1e-10
    )


def test_pytorchs_own_checks_of_operators():
    if not kernels.available(torch.float64):
        pytest.skip("without kernels there are none of their operators")
    made = renderer()
    mesh = points(12, 2), made.radii.expand(2, -1).contiguous(), made.links, made.triangles
    for operator, more in ((kernels.seen, (8, 300 / 8, 150.0)), (kernels.nearest, (points(13, 2, number=5),))):
        assert set(torch.library.opcheck(operator, (*mesh, *more)).values()) == {"SUCCESS"}
