"""The hourglass: shapes, determinism, autocast, compilation to one graph, and that it can learn."""

import pytest
import torch

from hpf_core.errors import PluginError
from hpf_core.grid import Grid
from hpf_core.interfaces import Build
from hpf_plugins.backbones.hourglass import SPEC, Hourglass, HourglassConfig, build

SMALL = {"width": 16, "stem": 8}


class FakeHand:
    names = tuple("abcde")


def made(grid=None, seed=0, tmp_path=None, **options):
    parts = Build(grid=grid or Grid(), seed=seed, cache=tmp_path, hand=FakeHand())
    return build(HourglassConfig(**{**SMALL, **options}), parts)


def depth(count=2, size=64):
    return torch.rand(count, size, size, generator=torch.Generator().manual_seed(3)) * 300 - 150


@pytest.mark.parametrize(("size", "heatmap"), [(64, 16), (64, 32), (96, 24), (128, 16), (128, 32)])
@pytest.mark.parametrize("stacks", [1, 2])
def test_shapes(size, heatmap, stacks):
    network = made(Grid(size), stacks=stacks, heatmap_size=heatmap)
    estimates = network(depth(size=size))
    assert len(estimates) == stacks
    for estimate in estimates:
        assert estimate.points.shape == (2, 5, 3)
        assert estimate.heatmaps.shape == estimate.latent_depth.shape == (2, 5, heatmap + 4, heatmap + 4)
        assert estimate.variance.shape == (2, 5)
        assert (estimate.variance >= 0).all()
        assert network.labels(estimate.points).heatmaps.shape == estimate.heatmaps.shape


@pytest.mark.parametrize("options", [{"block": "basic"}, {"entry": "patches"}, {"block": "basic", "entry": "patches"}])
@pytest.mark.parametrize(("size", "heatmap"), [(64, 16), (64, 32), (128, 16)])
def test_blocks_and_entries_change_the_network_and_not_the_maps(size, heatmap, options):
    usual, other = (made(Grid(size), heatmap_size=heatmap, **more) for more in ({}, options))
    assert [p.shape for p in usual.parameters()] != [p.shape for p in other.parameters()]
    (estimate,) = other(depth(size=size))
    assert estimate.heatmaps.shape == usual(depth(size=size))[0].heatmaps.shape


@pytest.mark.parametrize("options", [{}, {"block": "basic", "entry": "patches"}])
def test_every_stack_reaches_the_input_and_learns(options):
    network = made(stacks=2, **options)
    estimates = network(depth())
    for parameter in network.heads[0].parameters():
        assert parameter.grad is None
    estimates[-1].points.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_the_same_seed_makes_the_same_network_and_leaves_the_global_state():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second, other = made(seed=1), made(seed=1), made(seed=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_images_do_not_see_each_other():
    network = made().eval()
    together = network(depth(3))[-1].points
    alone = network(depth(3)[1:2])[-1].points
    torch.testing.assert_close(together[1:2], alone, atol=1e-3, rtol=1e-5)


def test_the_readout_stays_float32_under_autocast():
    network = made()
    with torch.autocast("cpu", torch.bfloat16):
        estimate = network(depth())[-1]
    assert estimate.points.dtype == torch.float32
    assert estimate.heatmaps.dtype == torch.float32


def test_one_graph():
    network = made()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(depth())[-1].points, network(depth())[-1].points, atol=1e-3, rtol=1e-4)


def test_meta():
    network = made().to("meta")
    estimate = network(torch.empty(2, 64, 64, device="meta"))[-1]
    assert estimate.points.device.type == "meta"
    assert network.labels(estimate.points).heatmaps.device.type == "meta"


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(PluginError, match="choose one of 32, 16, 8"):
        made(Grid(64), heatmap_size=20)
    with pytest.raises(PluginError, match="mm off"):
        made(sigma=1.0)
    with pytest.raises(ValueError, match="can't be halved"):
        HourglassConfig(heatmap_size=18)


def test_patches_lie_evenly_around_their_pixel():
    """Row 5 of 16 shows rows 20 to 23 of 64, and its patch two more on each side."""
    image = torch.zeros(1, 1, 64, 64, requires_grad=True)
    made(entry="patches").stem[0](image)[0, :, 5, 9].abs().sum().backward()
    rows, columns = (image.grad[0, 0].abs().sum(dim) > 0 for dim in (1, 0))
    assert rows.nonzero().flatten().tolist() == list(range(18, 26))
    assert columns.nonzero().flatten().tolist() == list(range(34, 42))


def test_it_can_learn_one_image():
    network = made(width=32)
    image = depth(1)
    target = network.labels(torch.tensor([[[40.0, -30.0, 20.0]] * 5]))
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(60):
        estimate = network(image)[-1]
        loss = (estimate.heatmaps - target.heatmaps).square().mean()
        loss = loss + 1e-4 * (estimate.latent_depth - target.latent_depth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (network(image)[-1].points - target.points).norm(dim=-1).max() < 8.0


def test_spec():
    assert SPEC.provides == {"heatmaps", "latent_depth", "variance"}
    assert isinstance(made(), Hourglass)
