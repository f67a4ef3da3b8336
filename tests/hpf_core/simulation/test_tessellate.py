"""Meshes of spheres, and several meshes as one."""

from __future__ import annotations

import math

import balls
import numpy as np
import torch

from hpf_core.grid import Grid
from hpf_core.interfaces import Mesh
from hpf_core.simulation.rasteriser import orthographic
from hpf_core.simulation.tessellate import joined, numbered, of_spheres

INRADIUS = math.sqrt((5 + 2 * math.sqrt(5)) / 15)  # of an icosahedron whose corners lie on the unit sphere


def spheres() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64) * 40
    return centres, 5 + 20 * torch.rand(2, 5, generator=generator, dtype=torch.float64)


def test_the_corners_lie_on_the_spheres_and_the_faces_look_outwards() -> None:
    centres, radii = spheres()
    mesh = of_spheres(centres, radii)
    assert mesh.vertices.dtype == torch.float64
    assert mesh.vertices.shape == (2, 60, 3)
    own = mesh.vertices.unflatten(1, (5, 12)) - centres[:, :, None]
    torch.testing.assert_close(own.norm(dim=-1), radii[:, :, None].expand(2, 5, 12), rtol=0, atol=1e-5)
    # Twenty faces of each sphere's own corners, whose edges are each gone along once either way: closed.
    faces = mesh.faces.unflatten(0, (5, 20))
    assert torch.equal(faces // 12, torch.arange(5)[:, None, None].expand(5, 20, 3))
    assert torch.equal(faces, faces[:1] + 12 * torch.arange(5)[:, None, None])
    edges = {(a, b) for a, b, c in faces[0].tolist() for a, b in ((a, b), (b, c), (c, a))}
    assert len(edges) == 60
    assert edges == {(b, a) for a, b in edges}
    # The faces' planes lie an inradius before the centre, on the outer side: so far inside of the spheres they are.
    a, b, c = (mesh.vertices[:, mesh.faces[:, k]].unflatten(1, (5, 20)) for k in range(3))
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    height = (normal * (a - centres[:, :, None])).sum(-1)
    torch.testing.assert_close(height, INRADIUS * radii[:, :, None].expand(2, 5, 20), rtol=0, atol=1e-5)


def test_they_show_what_the_spheres_do_but_for_the_fifth_that_is_cut_off() -> None:
    centres, radii = spheres()
    grid = Grid(64)
    drawn = orthographic(of_spheres(centres, radii), grid).numpy()
    for one, c, r in zip(drawn, centres.numpy(), radii.numpy(), strict=True):
        outer, inner = balls.orthographic(c, r, grid), balls.orthographic(c, INRADIUS * r, grid)
        seen = np.isfinite(inner)
        assert seen.sum() > 100
        assert (one[seen] <= inner[seen] + 1e-3).all()
        assert (one >= outer - 1e-3).all()


def test_faces_of_copies_are_numbered_one_after_the_other() -> None:
    assert numbered(torch.tensor([[0, 1, 2], [1, 0, 2]]), 3, 2).tolist() == [[0, 1, 2], [1, 0, 2], [3, 4, 5], [4, 3, 5]]


def test_meshes_are_joined_in_order() -> None:
    generator = torch.Generator().manual_seed(1)
    meshes = [
        Mesh(torch.randn(2, corners, 3, generator=generator), torch.randint(corners, (faces, 3), generator=generator))
        for corners, faces in ((4, 4), (7, 2), (3, 5))
    ]
    whole = joined(*meshes)
    assert whole.vertices.shape == (2, 14, 3)
    assert whole.faces.shape == (11, 3)
    # Every face has the corners that it had.
    expected = torch.cat([mesh.vertices[:, mesh.faces] for mesh in meshes], dim=1)
    assert torch.equal(whole.vertices[:, whole.faces], expected)
