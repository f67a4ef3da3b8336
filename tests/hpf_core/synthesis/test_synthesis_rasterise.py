"""Both z-buffers against plain float64 ray casting, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hpf_core.geometry import Grid
from hpf_core.synthesis.rasterise import Windows, orthographic, perspective
from hpf_core.synthesis.rigs import PRIMESENSE, Camera


def random_spheres(count: int, elements: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(count, elements, 3, generator=generator) * 70  # many reach out of the cube
    return centres, 2 + torch.rand(count, elements, generator=generator) * 28


@pytest.mark.parametrize("size", [16, 33, 64])
def test_orthographic_meets_every_ray_exactly(size: int) -> None:
    grid = Grid(size)
    centres, radii = random_spheres(3, 40, seed=size)
    depth = orthographic(centres, radii, grid).double().numpy()
    axis = (np.arange(size) + 0.5 - size / 2) * 300 / size
    c, r = centres.double().numpy()[..., None, None], radii.double().numpy()[..., None, None]
    left = r**2 - (axis[None, :] - c[:, :, 0]) ** 2 - (axis[:, None] - c[:, :, 1]) ** 2
    expected = np.where(left > 0, c[:, :, 2] - np.sqrt(np.maximum(left, 0)), np.inf).min(axis=1)
    surely = (np.abs(left) > 1e-2).all(axis=1)  # rays that graze a rim within rounding may go either way
    assert surely.mean() > 0.99
    np.testing.assert_array_equal(np.isinf(depth)[surely], np.isinf(expected)[surely])
    both = surely & np.isfinite(expected)
    assert both.sum() > 0.2 * both.size
    # Float32 at a rim: an error of 1e-7 r^2 under the root, at its steepest.
    np.testing.assert_allclose(depth[both], expected[both], atol=2e-2)


def test_orthographic_draws_each_map_by_itself() -> None:
    centres, radii = random_spheres(4, 20, seed=1)
    together = orthographic(centres, radii, Grid(32))
    alone = torch.cat([orthographic(centres[k : k + 1], radii[k : k + 1], Grid(32)) for k in range(4)])
    torch.testing.assert_close(together, alone, rtol=0, atol=0)


def test_windows_hold_what_they_must() -> None:
    radii = torch.tensor([0.2, 1.0, 1.7, 6.0])
    groups = Windows.of(radii).groups
    assert sorted(int(k) for members, _ in groups for k in members) == [0, 1, 2, 3]
    for members, side in groups:
        assert (2 * radii[members] + 1 <= side).all()


def test_perspective_meets_every_ray_exactly() -> None:
    camera = Camera(width=80, height=60, fx=73.0, fy=71.0, cx=40.0, cy=30.0)
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(60, 3, generator=generator) * torch.tensor([250.0, 200.0, 90.0]) + torch.tensor([0, 0, 700.0])
    radii = 10 + torch.rand(60, generator=generator) * 60
    depth = perspective(centres, radii, camera).double().numpy()
    u, v = np.meshgrid(np.arange(80), np.arange(60))
    ray = np.stack([(u - 40) / 73, (v - 30) / 71, np.ones(u.shape)], axis=-1)[:, :, None]
    c, r = centres.double().numpy(), radii.double().numpy()
    a, b = (ray**2).sum(-1), (ray * c).sum(-1)
    left = b**2 - a * ((c**2).sum(-1) - r**2)
    expected = np.where(left > 0, (b - np.sqrt(np.maximum(left, 0))) / a, np.inf).min(axis=-1)
    surely = (np.abs(left) > 20).all(axis=-1)
    assert surely.mean() > 0.95
    np.testing.assert_array_equal(np.isinf(depth)[surely], np.isinf(expected)[surely])
    both = surely & np.isfinite(expected)
    assert both.sum() > 1000
    np.testing.assert_allclose(depth[both], expected[both], atol=5e-2)


def test_perspective_gives_z_and_not_the_distance_along_the_ray() -> None:
    # A ball far to the side: along its own centre's ray the surface is met at |c| - r, whose z is smaller.
    centre = torch.tensor([[220 * 800 / PRIMESENSE.fx, 0.0, 800.0]])  # seen by pixel (540, 240)
    depth = perspective(centre, torch.tensor([50.0]), PRIMESENSE)
    length = float(centre.norm())
    assert depth[240, 540].item() == pytest.approx(800 * (length - 50) / length, abs=0.05)


def test_perspective_leaves_out_what_reaches_behind_the_camera() -> None:
    depth = perspective(torch.tensor([[0.0, 0.0, 20.0]]), torch.tensor([30.0]), PRIMESENSE)
    assert torch.isinf(depth).all()
