"""The compiled kernels against the tensor operations that stand in for them, and as operators of PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpf_core.grid import Grid
from hpf_plugins.renderers import kernels
from hpf_plugins.renderers.spheres import Spheres, SpheresConfig

pytestmark = pytest.mark.skipif(not kernels.available(torch.float32), reason="there is no C compiler")

RADII = torch.linspace(8, 24, 41, dtype=torch.float64)


def hands(seed: int = 0, count: int = 4, spread_mm: float = 60.0, dtype: torch.dtype = torch.float64) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(-spread_mm, spread_mm, (count, 41, 3))).to(dtype)


def eager(made: Spheres) -> Spheres:
    """The same renderer as where there is no compiler."""
    made._compiled = lambda points: False  # type: ignore[method-assign]
    return made


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([5, 16, 33]),
    spread=st.sampled_from([40.0, 160.0, 1e4, 1e30]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_both_ways_see_the_same(seed, size, spread, dtype):
    """Wherever the spheres are, with the same gradients on points of whatever is done with the maps."""
    grid, options = Grid(size=size), SpheresConfig(rim_floor_mm2=0.5)
    found = []
    for made in (Spheres(RADII, options), eager(Spheres(RADII, options))):
        centres = hands(seed, 2, spread, dtype).requires_grad_()
        seen = made.depth(centres, grid)
        weigh = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, *seen.depth.shape))).to(dtype)
        # Where nothing is seen an anchor means nothing; what is done with it is for hits alone.
        loss = (seen.depth * weigh[0]).sum() + (seen.anchor * weigh[1:].movedim(0, -1))[seen.hit].sum()
        found.append((seen, torch.autograd.grad(loss, centres)[0]))
    (one, one_grad), (other, other_grad) = found
    assert torch.equal(one.hit, other.hit)
    assert torch.equal(one.primitive, other.primitive)
    torch.testing.assert_close(one.depth, other.depth, atol=1e-4 if dtype == torch.float32 else 1e-10, rtol=0)
    assert torch.equal(one.anchor, other.anchor)
    assert (one_grad - other_grad).norm() <= (1e-5 if dtype == torch.float32 else 1e-12) * max(other_grad.norm(), 1e-9)


@pytest.mark.parametrize("queries", [1, 255, 256, 257, 700])
def test_both_ways_measure_the_same(queries):
    """Also with a last block of queries that isn't full, and with gradients on the queries."""
    rng = np.random.default_rng(queries)
    found = []
    given = torch.from_numpy(rng.uniform(-120, 120, (3, queries, 3)))
    for made in (Spheres(RADII, SpheresConfig()), eager(Spheres(RADII, SpheresConfig()))):
        centres, places = hands(1, 3).requires_grad_(), given.clone().requires_grad_()
        measured = made.distance(centres, places)
        found.append((*measured, *torch.autograd.grad(measured.distance.square().sum(), (centres, places))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-12)


def test_gradients_in_float32_are_near_float64():
    """Within 1e-5 of the norm, on the pixels that see the same sphere in both."""
    grid, made = Grid(), Spheres(RADII, SpheresConfig())
    exact, rounded = hands(2, 8).requires_grad_(), hands(2, 8).float().requires_grad_()
    true, near = made.depth(exact, grid), made.depth(rounded, grid)
    same = (true.primitive == near.primitive) & (true.hit == near.hit)
    assert same.double().mean() > 0.999
    weigh = torch.from_numpy(np.random.default_rng(3).normal(size=same.shape)) * same
    (wanted,) = torch.autograd.grad((true.depth * weigh).sum(), exact)
    (got,) = torch.autograd.grad((near.depth * weigh.float()).sum(), rounded)
    assert (got - wanted).norm() < 1e-5 * wanted.norm()


def test_threads_do_not_change_a_bit():
    """More of them than maps, and numbers that don't divide them."""
    grid, made = Grid(size=32), Spheres(RADII, SpheresConfig())
    queries = hands(5, 19, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 40):
            torch.set_num_threads(threads)
            centres = hands(4, 19, dtype=torch.float32).requires_grad_()
            seen, far = made.depth(centres, grid), made.distance(centres, queries)
            (grad,) = torch.autograd.grad(seen.depth.square().sum() + far.distance.square().sum(), centres)
            results.append([*seen, *far, grad])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_little_is_kept_for_the_backward_pass():
    """Less than a tenth of what the dense formula keeps, and nothing of the size spheres x pixels."""
    grid, made = Grid(), Spheres(RADII, SpheresConfig())
    queries = hands(7, 4, dtype=torch.float32).repeat(1, 18, 1)

    def kept(work) -> list[Tensor]:
        found: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: found.append(t) or t, lambda t: t):
            work(hands(6, 4, dtype=torch.float32).requires_grad_())
        return found

    def size(tensors: list[Tensor]) -> int:
        return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())

    def dense_depth(c: Tensor) -> Tensor:
        axis = grid.axis()
        aside = (c[:, :, None, None, 0] - axis).square() + (c[:, :, None, None, 1] - axis[:, None]).square()
        gap = RADII.float().square()[:, None, None] - aside
        front = c[:, :, None, None, 2] - gap.clamp_min(1.0).sqrt()
        return torch.where(gap >= 0, front, grid.far_mm).amin(dim=1).clamp_max(grid.far_mm)

    def dense_distance(c: Tensor) -> Tensor:
        return (torch.linalg.vector_norm(queries[:, :, None] - c[:, None], dim=-1) - RADII.float()).abs().amin(-1)

    ours, dense = kept(lambda c: made.depth(c, grid)), kept(dense_depth)
    assert max(t.numel() for t in ours) <= 4 * 64 * 64 < 4 * 41 * 64 * 64 <= max(t.numel() for t in dense)
    assert size(ours) < 0.1 * size(dense)
    ours, dense = kept(lambda c: made.distance(c, queries)), kept(dense_distance)
    assert size(ours) < 0.1 * size(dense)


def test_what_is_not_a_number_shows_in_the_distance():
    centres, queries = hands(8, 2), hands(9, 2)
    centres[0, 3, 1] = torch.nan
    queries[1, 5, 0] = torch.nan
    for made in (Spheres(RADII, SpheresConfig()), eager(Spheres(RADII, SpheresConfig()))):
        found = made.distance(centres, queries).distance
        assert bool(found[0].isnan().all())
        assert found[1].isnan().nonzero().flatten().tolist() == [5]


def test_no_map_at_all():
    made = Spheres(RADII, SpheresConfig())
    none = torch.zeros(0, 41, 3, requires_grad=True)
    seen, far = made.depth(none, Grid(size=8)), made.distance(none, torch.zeros(0, 7, 3))
    assert seen.depth.shape == (0, 8, 8)
    assert far.distance.shape == (0, 7)
    (seen.depth.sum() + far.distance.sum()).backward()


def test_points_and_gradients_need_not_be_contiguous():
    made, grid = Spheres(RADII, SpheresConfig()), Grid(size=16)
    plain = hands(10, 3).requires_grad_()
    turned = plain.detach().movedim(-1, 0).contiguous().movedim(0, -1).requires_grad_()
    assert not turned.is_contiguous()
    for centres in (plain, turned):
        seen = made.depth(centres, grid)
        seen.depth.transpose(1, 2).cumsum(dim=1).sum().backward()
        seen_again = made.depth(centres, grid).depth
        seen_again.sum().backward()  # an expanded gradient
    assert plain.grad is not None
    torch.testing.assert_close(turned.grad, plain.grad, atol=0, rtol=0)


def test_pytorchs_own_checks_of_operators():
    """Schema, fake tensors, autograd registration, and tracing with its backward pass."""
    points, radii = hands(11, 2).requires_grad_(), RADII.expand(2, -1).contiguous()
    queries = hands(12, 2)
    torch.library.opcheck(kernels.depth, (points, radii, 8, 300 / 8, 150.0, 1.0))
    torch.library.opcheck(kernels.distance, (points, radii, queries))
    torch.library.opcheck(kernels.distance, (points, radii, queries.requires_grad_()))


def test_compiled_graphs_have_the_same_gradients():
    made, grid = Spheres(RADII, SpheresConfig()), Grid(size=16)
    queries = hands(13, 2)

    def loss(centres: Tensor) -> Tensor:
        seen = made.depth(centres, grid)
        return (seen.depth + seen.anchor.sum(dim=-1)).square().sum() + made.distance(centres, queries).distance.sum()

    one, other = hands(14, 2).requires_grad_(), hands(14, 2).requires_grad_()
    loss(one).backward()
    torch.compile(loss, backend="aot_eager", fullgraph=True)(other).backward()
    torch.testing.assert_close(one.grad, other.grad, atol=1e-9, rtol=1e-12)
