"""The contract of a backbone; that the network sees the whole map, and that it learns."""

from pathlib import Path

import pytest
import torch
from hpf_regression import SPEC, Block, RegressionConfig

from hpf.plugin import Build, Grid, PluginHost
from hpf.testing import contract

SMALL = {"width": 8, "halvings": 3, "blocks": 2, "hidden": 32}
test_contract = contract(SPEC, SMALL)


def parts(size: int = 16, seed: int = 0, **options):
    bare = Build(grid=Grid(size=size), seed=seed, cache=Path("unused"))
    spec = PluginHost.load(only=[]).get("hand", "spheres41").spec
    hand = spec.factory(spec.config(), bare)
    build = Build(grid=bare.grid, seed=seed, cache=bare.cache, hand=hand)
    return hand, SPEC.factory(RegressionConfig(**(options or SMALL)), build)


def test_it_has_points_alone():
    _, network = parts()
    (estimate,) = network(torch.zeros(2, 16, 16))
    assert estimate.points.shape == (2, 41, 3)
    assert [estimate.heatmaps, estimate.latent_depth, estimate.variance, estimate.pose] == [None] * 4
    assert SPEC.provides == frozenset()


@pytest.mark.parametrize("size", [16, 17, 64])
def test_every_pixel_reaches_every_point(size):
    _, network = parts(size)
    draw = torch.Generator().manual_seed(0)
    depth = (150 * torch.randn(16, size, size, generator=draw)).requires_grad_()
    (estimate,) = network(depth)
    (grad,) = torch.autograd.grad(estimate.points[:, 40, 2].sum(), depth)
    assert bool((grad != 0).any(dim=0).all())  # a rectifier may hide a pixel in one map or another


def test_a_block_begins_as_the_identity():
    features = torch.rand(2, 16, 5, 5)
    torch.testing.assert_close(Block(16, 16, 1)(features), features)


def test_weights_follow_from_the_seed():
    one, same, other = (parts(seed=seed)[1].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_it_learns_where_a_patch_is():
    """A patch of 4 x 4 pixels anywhere: all points at its middle. A blind network would be 80 mm off."""
    _, network = parts()
    draw = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    pixel = 300 / 16

    def batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        at = torch.randint(0, 13, (count, 2), generator=draw)
        inside = (torch.arange(16) >= at[..., None]) & (torch.arange(16) < at[..., None] + 4)
        maps = torch.where(inside[:, 1, :, None] & inside[:, 0, None, :], 0.0, 150.0)
        return maps, torch.cat([(at + 2 - 8) * pixel, torch.zeros(count, 1)], dim=1)

    for _ in range(60):
        maps, goal = batch(32)
        optimiser.zero_grad()
        (network(maps)[0].points / 150 - goal[:, None] / 150).square().mean().backward()
        optimiser.step()
    maps, goal = batch(64)
    with torch.no_grad():
        error = (network(maps)[0].points - goal[:, None]).norm(dim=-1).mean()
    assert error < 30
