"""Both z-buffers of meshes against plain float64 geometry, each pixel with each triangle."""

from __future__ import annotations

import balls
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpf_core.data.cameras import Camera
from hpf_core.grid import Grid
from hpf_core.interfaces import Mesh
from hpf_core.simulation.rasteriser import listed, orthographic, perspective

CAMERA = Camera(width=80, height=60, fx=73.0, fy=71.0, cx=40.0, cy=30.0)


def globe(around: int, along: int) -> tuple[Tensor, Tensor]:
    """A unit sphere of meridians and parallels: vertices (V, 3), faces (F, 3) wound outwards."""
    polar = torch.linspace(0, torch.pi, along + 1, dtype=torch.float64)[1:-1, None]
    turn = torch.arange(around, dtype=torch.float64) * 2 * torch.pi / around
    parallel = [polar.sin() * turn.cos(), polar.sin() * turn.sin(), polar.cos().expand(-1, around)]
    pole = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    vertices = torch.cat([pole, torch.stack(parallel, dim=-1).flatten(0, 1), -pole])
    ring, last = range(around), len(vertices) - 1
    faces = [(0, 1 + i, 1 + (i + 1) % around) for i in ring]
    for j in range(along - 2):
        upper, lower = 1 + j * around, 1 + (j + 1) * around
        for i in ring:
            k = (i + 1) % around
            faces += [(upper + i, lower + i, lower + k), (upper + i, lower + k, upper + k)]
    faces += [(last, last - around + (i + 1) % around, last - around + i) for i in ring]
    return vertices.float(), torch.tensor(faces)


def several(count: int, bodies: int, seed: int, radius: tuple[float, float] = (8.0, 60.0), spread: float = 60) -> Mesh:
    """Ellipsoids here and there, some of them out of the cube, others in each other."""
    generator = torch.Generator().manual_seed(seed)
    unit, faces = globe(9, 6)
    sizes = radius[0] + torch.rand(count, bodies, 1, 3, generator=generator) * (radius[1] - radius[0])
    turn = torch.linalg.qr(torch.randn(count, bodies, 3, 3, generator=generator))[0]
    turn = turn * torch.linalg.det(turn)[..., None, None]
    vertices = (unit * sizes) @ turn + torch.randn(count, bodies, 1, 3, generator=generator) * spread
    first = torch.arange(bodies)[:, None, None] * len(unit)
    return Mesh(vertices.flatten(1, 2), (faces + first).flatten(0, 1))


def cast(vertices: np.ndarray, faces: np.ndarray, origin: np.ndarray, ray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rays from `origin` (P, 3) along `ray` (P, 3) against all faces, front or back (Moeller and Trumbore 1997).

    Gives how far the nearest one is, in lengths of the ray, and how close each ray passes to any face's side, as a
    share of the face: what rounding may decide either way.
    """
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        across = np.cross(ray[:, None], (c - a)[None])
        scale = ((b - a) * across).sum(-1)
        offset = origin[:, None] - a
        s = (offset * across).sum(-1) / scale
        lifted = np.cross(offset, (b - a)[None])
        t = (ray[:, None] * lifted).sum(-1) / scale
        distance = ((c - a) * lifted).sum(-1) / scale
    weights = np.stack([s, t, 1 - s - t], axis=-1).min(axis=-1)
    met = np.isfinite(weights) & (weights >= 0) & (distance > 0)
    margin = np.nan_to_num(np.abs(weights), nan=1.0).min(axis=-1)
    return np.where(met, distance, np.inf).min(axis=-1), margin


def grid_rays(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    axis = (np.arange(grid.size) + 0.5 - grid.size / 2) * grid.cube_mm / grid.size
    x, y = np.meshgrid(axis, axis)
    start = np.stack([x, y, np.full_like(x, -1e4)], axis=-1).reshape(-1, 3)
    return start, np.broadcast_to([0.0, 0.0, 1.0], start.shape)


@pytest.mark.parametrize(("size", "dtype"), [(17, torch.float32), (32, torch.float64), (64, torch.float32)])
def test_orthographic_meets_every_ray_exactly(size: int, dtype: torch.dtype) -> None:
    grid, mesh = Grid(size), several(2, 6, seed=size)
    drawn = orthographic(Mesh(mesh.vertices.to(dtype), mesh.faces), grid)
    assert (drawn.shape, drawn.dtype) == ((2, size, size), dtype)
    for depth, vertices in zip(drawn.double().numpy(), mesh.vertices.double().numpy(), strict=True):
        distance, margin = cast(vertices, mesh.faces.numpy(), *grid_rays(grid))
        expected, surely = (distance - 1e4).reshape(size, size), margin.reshape(size, size) > 1e-5
        assert surely.mean() > 0.97
        np.testing.assert_array_equal(np.isinf(depth)[surely], np.isinf(expected)[surely])
        both = surely & np.isfinite(expected)
        assert both.sum() > 0.1 * both.size
        np.testing.assert_allclose(depth[both], expected[both], atol=1e-3)
        # A face on edge passes any rounding of its place on to the depth; all others keep to a ten thousandth.
        assert np.quantile(np.abs(depth[both] - expected[both]), 0.99) < 1e-4


def test_a_fine_globe_comes_close_to_the_exact_sphere() -> None:
    centre, radius, grid = torch.tensor([3.0, -8.0, 5.0]), 70.0, Grid(64)
    exact = torch.from_numpy(balls.orthographic(centre.numpy()[None], [radius], grid))[None]
    errors = []
    for around in (12, 24, 48):
        unit, faces = globe(around, around // 2)
        depth = orthographic(Mesh((unit * radius + centre)[None], faces), grid)
        both = torch.isfinite(depth) & torch.isfinite(exact)
        errors.append(float((depth - exact)[both].mean()))
        assert (depth >= exact - 1e-3).all()  # inscribed
    assert errors[0] > 3 * errors[1] > 9 * errors[2] > 0
    assert errors[2] < 0.5


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), on_pixels=st.booleans())
def test_closed_meshes_have_no_pinholes(seed: int, on_pixels: bool) -> None:
    # Convex, so what is covered has no gap in any row. Vertices and sides that lie on pixel centres are the hard case.
    grid, mesh = Grid(32, 320.0), several(4, 1, seed, radius=(40.0, 90.0), spread=20)
    vertices = ((mesh.vertices - 5) / 10).round() * 10 + 5 if on_pixels else mesh.vertices
    covered = torch.isfinite(orthographic(Mesh(vertices, mesh.faces), grid))
    if on_pixels:  # rounding dents the body: hold it against itself, moved by less than rounding can see
        moved = vertices + torch.tensor([1e-3, 1e-3, 0.0])
        gained = torch.isfinite(orthographic(Mesh(moved, mesh.faces), grid)) & ~covered
        assert not gained.any()
    else:
        gaps = (covered.int().diff(dim=-1) > 0).sum(dim=-1) + covered[..., 0]
        assert gaps.max() == 1
    assert covered.flatten(1).sum(dim=1).min() > 40


def test_a_face_over_the_whole_cube_is_drawn_whole() -> None:
    # A tetrahedron far larger than the cube: each face covers thousands of pixels, its corners none.
    corners = torch.tensor([[-2000.0, -1500.0, 40.0], [2000.0, -1500.0, 40.0], [0.0, 2000.0, 40.0], [0.0, 0.0, 900.0]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    depth = orthographic(Mesh(corners[None], faces), Grid(64))
    torch.testing.assert_close(depth, torch.full((1, 64, 64), 40.0), atol=1e-4, rtol=0)
    assert torch.isinf(orthographic(Mesh(corners[None] + torch.tensor([9000.0, 0, 0]), faces), Grid(64))).all()


def test_a_list_of_fixed_length_changes_nothing_and_is_never_cut_off_in_silence() -> None:
    mesh, grid = several(3, 4, seed=5), Grid(32)
    free, pairs = orthographic(mesh, grid), listed(mesh, grid)
    assert pairs.shape == (3,)
    total = int(pairs.sum())
    for most in (total, total + 1000):
        torch.testing.assert_close(orthographic(mesh, grid, most), free, rtol=0, atol=0)
    assert orthographic(mesh, grid, total - 1).isnan().all()


def test_shapes_follow_without_any_values_where_the_list_has_a_fixed_length() -> None:
    vertices = torch.empty(5, 40, 3, device="meta", dtype=torch.float64)
    depth = orthographic(Mesh(vertices, torch.empty(70, 3, device="meta", dtype=torch.int64)), Grid(24), most=900)
    assert (depth.shape, depth.device.type, depth.dtype) == ((5, 24, 24), "meta", torch.float64)


def test_each_map_is_drawn_by_itself() -> None:
    mesh, grid = several(4, 5, seed=2), Grid(48)
    alone = torch.cat([orthographic(Mesh(mesh.vertices[k : k + 1], mesh.faces), grid) for k in range(4)])
    torch.testing.assert_close(orthographic(mesh, grid), alone, rtol=0, atol=0)


def test_perspective_meets_every_ray_exactly() -> None:
    mesh = several(1, 8, seed=11, spread=120)
    vertices = mesh.vertices[0] + torch.tensor([0.0, 0.0, 600.0])
    depth = perspective(vertices, mesh.faces, CAMERA).double().numpy()
    u, v = np.meshgrid(np.arange(80), np.arange(60))
    ray = np.stack([(u - 40) / 73, (v - 30) / 71, np.ones(u.shape)], axis=-1).reshape(-1, 3)
    expected, margin = cast(vertices.double().numpy(), mesh.faces.numpy(), np.zeros_like(ray), ray)
    expected, surely = expected.reshape(60, 80), margin.reshape(60, 80) > 1e-4
    assert surely.mean() > 0.95
    np.testing.assert_array_equal(np.isinf(depth)[surely], np.isinf(expected)[surely])
    both = surely & np.isfinite(expected)
    assert both.sum() > 500
    np.testing.assert_allclose(depth[both], expected[both], atol=2e-2)  # on edge; float32 at 600 mm elsewhere
    assert np.quantile(np.abs(depth[both] - expected[both]), 0.95) < 5e-4


def test_perspective_leaves_out_what_lies_behind_the_camera() -> None:
    unit, faces = globe(9, 6)
    behind = unit * 30 + torch.tensor([0.0, 0.0, -400.0])
    around = unit * 30 + torch.tensor([0.0, 0.0, 10.0])
    before = unit * 30 + torch.tensor([0.0, 0.0, 400.0])
    assert torch.isinf(perspective(behind, faces, CAMERA)).all()
    assert not perspective(around, faces, CAMERA).isnan().any()
    alone = perspective(before, faces, CAMERA)
    together = perspective(torch.cat([behind, before]), torch.cat([faces, faces + len(unit)]), CAMERA)
    torch.testing.assert_close(together, alone, rtol=0, atol=0)
    assert float(alone[30, 40]) == pytest.approx(370, abs=0.5)
