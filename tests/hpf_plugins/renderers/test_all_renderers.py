"""What every renderer must keep to, with the compiled kernels and by tensor operations: precision, memory, and points
that aren't finite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from live import kept_bytes, peak_bytes
from torch import Tensor

from hpf_core.bench import dense
from hpf_core.geometry.rotations import random_rotations, rotation_vector
from hpf_core.grid import Grid
from hpf_core.interfaces import Build, Renderer
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config
from hpf_plugins.renderers import kernels, sphere_mesh, sphere_mesh_kernels, spheres
from hpf_plugins.renderers.sphere_mesh import SphereMesh, SphereMeshConfig
from hpf_plugins.renderers.spheres import Spheres, SpheresConfig

HAND = Spheres41(Spheres41Config())
SPECS = {"spheres": spheres.SPEC, "sphere_mesh": sphere_mesh.SPEC}


@pytest.fixture(autouse=True, params=["compiled", "eager"])
def way(request, monkeypatch) -> str:
    for module in (kernels, sphere_mesh_kernels):
        if request.param == "eager":
            monkeypatch.setattr(module, "available", lambda dtype: False)
        elif not module.available(torch.float32):
            pytest.skip("there is no C compiler")
    return request.param


@pytest.fixture(params=SPECS)
def made(request) -> Renderer:
    spec = SPECS[request.param]
    built = spec.factory(spec.config(), Build(Grid(), 0, Path("unused"), HAND))
    assert isinstance(built, Renderer)
    return built


def hands(count: int, seed: int = 0) -> Tensor:
    """(count, 41, 3) mm float64, points of drawn hands turned at random."""
    draw = torch.Generator().manual_seed(seed)
    pose, shape = HAND.sample(count, draw)
    pose = torch.cat([rotation_vector(random_rotations(count, draw)), pose[:, 3:]], dim=1)
    return HAND.points(pose.double(), shape.double())


def places(count: int, number: int, seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-90, 90, (count, number, 3)))


def test_gradients_of_depth_in_float32_are_near_float64(made):
    """Within 1e-5 of the norm, on the pixels that see the same primitive in both: elsewhere a rim or an edge
    passes a ray within rounding."""
    grid = Grid(size=48)
    exact, rounded = hands(4).requires_grad_(), hands(4).float().requires_grad_()
    double, single = made.depth(exact, grid), made.depth(rounded, grid)
    same = (double.primitive == single.primitive) & (double.hit == single.hit)
    assert same.double().mean() > 0.999
    weigh = torch.from_numpy(np.random.default_rng(3).normal(size=same.shape)) * same
    (wanted,) = torch.autograd.grad((double.depth * weigh).sum(), exact)
    (got,) = torch.autograd.grad((single.depth * weigh.float()).sum(), rounded)
    assert (got - wanted).norm() < 1e-5 * wanted.norm()


def test_gradients_of_distance_in_float32_are_near_float64(made):
    """The same, of queries that are nearest to the same primitive in both, and not on its surface, where the distance
    has a kink; on the points and on the queries."""
    given = [hands(4), places(4, 300)]
    exact, rounded = ([t.to(dtype).requires_grad_() for t in given] for dtype in (torch.float64, torch.float32))
    double, single = made.distance(*exact), made.distance(*rounded)
    same = (double.primitive == single.primitive) & (double.distance > 1e-2)
    assert same.double().mean() > 0.99
    weigh = torch.from_numpy(np.random.default_rng(4).normal(size=same.shape)) * same
    wanted = torch.autograd.grad((double.distance * weigh).sum(), exact)
    got = torch.autograd.grad((single.distance * weigh.float()).sum(), rounded)
    for one, other in zip(got, wanted, strict=True):
        assert (one - other).norm() < 1e-5 * other.norm()


def test_little_is_kept_for_the_backward_pass(made):
    """Less than a tenth of what the dense formula keeps, and nothing of the size spheres x pixels, or x queries."""
    grid, centres, queries = Grid(), hands(4).float(), places(4, 768).float()
    whole = kept_bytes(lambda: dense.depth(centres.clone().requires_grad_(), HAND.radii, grid))
    ours = kept_bytes(lambda: made.depth(centres.clone().requires_grad_(), grid))
    assert ours[0] < 0.1 * whole[0]
    assert ours[1] < 4 * grid.size**2 * 41 / 4 * 4 <= whole[1]  # bytes: a quarter of float32 spheres x pixels
    whole = kept_bytes(lambda: dense.distance(centres.clone().requires_grad_(), HAND.radii, queries))
    ours = kept_bytes(lambda: made.distance(centres.clone().requires_grad_(), queries))
    assert ours[0] < 0.1 * whole[0]
    assert ours[1] < 4 * 768 * 41 / 4 * 4 <= whole[1]


def test_little_is_held_in_between(made):
    """Of the bench's 48 maps: about a tenth of the dense formula's peak, forward and backward (most: the sphere mesh by
    tensor operations, 10.1 % for depth; plain spheres by them, 11.3 % for distances)."""
    grid, centres, queries = Grid(), hands(48).float(), places(48, 768).float()

    def both(values: Tensor, points: Tensor) -> None:
        values.sum().backward()
        assert points.grad is not None

    def peak(ask) -> int:
        points = centres.clone().requires_grad_()
        return peak_bytes(lambda: both(ask(points), points))

    whole, ours = peak(lambda c: dense.depth(c, HAND.radii, grid)), peak(lambda c: made.depth(c, grid).depth)
    assert ours < 0.102 * whole
    whole = peak(lambda c: dense.distance(c, HAND.radii, queries))
    ours = peak(lambda c: made.distance(c, queries).distance)
    assert ours < 0.115 * whole


# ------------------------------------------------------------------------------------------------ what isn't a number

RADII = torch.tensor([24.0, 18.0, 9.0, 13.0, 11.0, 16.0], dtype=torch.float64)
LINKS = [(0, 1), (2, 1), (0, 2), (3, 4)]  # a triangle and a link; point 5 has none


def cases() -> Iterator[tuple[int, int, float]]:
    for point in (1, 3, 5):
        for axis in range(3):
            for value in (torch.nan, torch.inf, -torch.inf):
                yield point, axis, value


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize(("point", "axis", "value"), list(cases()))
def test_a_point_with_one_coordinate_that_is_not_finite_hides_nothing(kind, point, axis, value):
    """Neither it nor what hangs on it is seen, and what lies behind is, with the same gradients on the others."""
    rng = np.random.default_rng(7)
    centres = torch.from_numpy(rng.uniform(-40, 40, (2, 6, 3)))
    centres[0, point, axis] = value
    others = [k for k in range(6) if k != point]
    number = {old: new for new, old in enumerate(others)}
    links = [(number[a], number[b]) for a, b in LINKS if point not in (a, b)]
    if kind == "spheres":
        made, without = Spheres(RADII, SpheresConfig()), Spheres(RADII[others], SpheresConfig())
    else:
        made = SphereMesh(RADII, LINKS, SphereMeshConfig())
        without = SphereMesh(RADII[others], links, SphereMeshConfig())
    grid, found = Grid(size=40), []
    for renderer, points in ((made, centres[:1]), (without, centres[:1, others])):
        points = points.clone().requires_grad_()
        seen = renderer.depth(points, grid)
        weigh = torch.from_numpy(np.random.default_rng(8).normal(size=seen.depth.shape))
        found.append((seen, torch.autograd.grad((seen.depth * weigh).sum(), points)[0]))
    (seen, grad), (wanted, wanted_grad) = found
    assert int(wanted.hit.sum()) > 40
    assert torch.equal(seen.hit, wanted.hit)
    torch.testing.assert_close(seen.depth, wanted.depth, atol=1e-12, rtol=0)
    torch.testing.assert_close(grad[:, others], wanted_grad, atol=1e-10, rtol=0)
    # The map beside it shows all of its points.
    both = made.depth(centres, grid)
    torch.testing.assert_close(both.depth[1:], made.depth(centres[1:], grid).depth, atol=0, rtol=0)
