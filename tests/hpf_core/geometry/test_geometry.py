"""Grid, rigid maps, Procrustes alignment and the nearest-pixel transform."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from live import peak_bytes
from scenes import random_rotation, rigid

from hpf_core.errors import DataError
from hpf_core.geometry.alignment import Alignment, align_rigid, align_rigid_robust
from hpf_core.geometry.distance_transform import nearest_marked
from hpf_core.geometry.rigid import apply_rigid, at_least_float32, invert_rigid
from hpf_core.grid import Grid
from hpf_core.native import fit_kernels


def motion(seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rigid(random_rotation(rng), rng.uniform(-1000, 1000, 3)))


def rms_mm(found: Alignment) -> float:
    """Weighted root mean square of what remains at the points."""
    return float((found.weights * found.residual.square()).sum().div(found.weights.sum()).sqrt())


def cloud(seed: int, count: int = 21) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-80, 80, (count, 3)))


@pytest.mark.parametrize("size", [16, 64, 65])
def test_the_grid_holds_pixel_centres(size):
    grid = Grid(size=size, cube_mm=240.0)
    expected = [reference.pixel_centre(u, 0, size, 240.0)[0] for u in range(size)]
    torch.testing.assert_close(grid.axis(dtype=torch.float64), torch.tensor(expected, dtype=torch.float64))
    assert grid.far_mm == 120.0


def test_rigid_maps_match_homogeneous_coordinates():
    transform, points = torch.stack([motion(1), motion(2)]), torch.stack([cloud(3), cloud(4)])
    moved = apply_rigid(transform, points)
    for n in range(2):
        expected = reference.across(points[n].numpy(), transform[n].numpy(), np.eye(4))
        np.testing.assert_allclose(moved[n].numpy(), expected, atol=1e-9)
    torch.testing.assert_close(apply_rigid(invert_rigid(transform), moved), points, atol=1e-9, rtol=0)


def test_rigid_maps_are_exact_under_autocast():
    transform, points = motion(1).float(), cloud(2).float()
    with torch.autocast("cpu", torch.bfloat16):
        moved = apply_rigid(invert_rigid(transform), apply_rigid(transform, points))
    assert moved.dtype == torch.float32
    torch.testing.assert_close(moved, points, atol=1e-3, rtol=0)


def test_half_precision_is_raised_and_double_kept():
    assert at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert at_least_float32(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64


# ----------------------------------------------------------------------------------------------------------- Procrustes


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), count=st.integers(4, 40))
def test_alignment_finds_the_motion(seed, count):
    points, transform = cloud(seed, count), motion(seed + 1)
    found = align_rigid(points.float(), apply_rigid(transform, points))
    torch.testing.assert_close(found.transform, transform, atol=1e-4, rtol=0)
    assert rms_mm(found) < 1e-4
    assert found.transform.dtype == torch.float64


def test_alignment_never_reflects():
    points = cloud(5)
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])
    found = align_rigid(points, mirrored)
    assert math.isclose(float(torch.linalg.det(found.transform[:3, :3])), 1.0, abs_tol=1e-9)
    assert rms_mm(found) > 5
    # No proper motion does better: a search around the found one.
    rng = np.random.default_rng(0)
    for _ in range(50):
        nudge = torch.from_numpy(rigid(random_rotation(rng, 5), rng.normal(size=3)))
        other = apply_rigid(nudge @ found.transform, points) - mirrored
        assert other.square().sum() > found.residual.square().sum()


def test_alignment_of_a_plane_is_proper_and_exact():
    points = cloud(6) * torch.tensor([1.0, 1.0, 0.0])
    found = align_rigid(points, apply_rigid(motion(7), points))
    assert rms_mm(found) < 1e-9
    assert float(torch.linalg.det(found.transform[:3, :3])) > 0.99


def test_weights_leave_points_out():
    points, transform = cloud(8), motion(9)
    target = apply_rigid(transform, points)
    target[3] += 500
    weights = torch.ones(len(points))
    weights[3] = 0
    found = align_rigid(points, target, weights)
    torch.testing.assert_close(found.transform, transform, atol=1e-8, rtol=0)
    assert found.residual[3] > 500
    assert rms_mm(found) < 1e-8


@pytest.mark.parametrize("wrong", [0, 1, 6])
def test_the_robust_alignment_ignores_a_minority_of_outliers(wrong):
    points, transform = cloud(10), motion(11)
    target = apply_rigid(transform, points) + torch.from_numpy(np.random.default_rng(1).normal(size=(21, 3))) * 0.5
    target[:wrong] += torch.from_numpy(np.random.default_rng(2).uniform(40, 90, (wrong, 3)))
    found = align_rigid_robust(points, target)
    moved = apply_rigid(found.transform, points) - apply_rigid(transform, points)
    assert moved.norm(dim=-1).max() < 1.0
    assert bool((found.weights[:wrong] == 0).all())
    if wrong:
        plain = apply_rigid(align_rigid(points, target).transform, points) - apply_rigid(transform, points)
        assert plain.norm(dim=-1).max() > 5


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3), "at least 3 points"),
        (torch.zeros(5, 3), torch.zeros(4, 3), "of one size"),
        (torch.arange(5.0)[:, None] * torch.ones(3), torch.rand(5, 3), "on one line"),
        (torch.ones(5, 3), torch.rand(5, 3), "on one line"),
        (torch.full((5, 3), torch.nan), torch.rand(5, 3), "not finite"),
    ],
)
def test_what_determines_no_rotation_is_refused(source, target, said):
    with pytest.raises(DataError, match=said):
        align_rigid(source, target)


# -------------------------------------------------------------------------------------------------------- nearest pixel


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0.002, 0.05, 0.5, 1.0]),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
)
def test_nearest_marked_is_the_exact_distance_transform(seed, share, height, width):
    """And the tensor operations name the same pixel as the compiled kernel, of several at the same distance too."""
    mask = np.random.default_rng(seed).random((2, height, width)) < share
    mask[:, seed % height, seed % width] = True
    found = nearest_marked(torch.from_numpy(mask)).numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_kernels, "available", lambda dtype: False)
        np.testing.assert_array_equal(found, nearest_marked(torch.from_numpy(mask)).numpy())
    for n in range(2):
        expected = scipy.ndimage.distance_transform_edt(~mask[n])
        rows, columns = np.mgrid[:height, :width]
        u, v = found[n, ..., 0], found[n, ..., 1]
        assert mask[n][v, u].all()
        np.testing.assert_allclose(np.hypot(u - columns, v - rows), expected, atol=1e-9)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_map_without_marks_names_each_pixel_itself(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(fit_kernels, "available", lambda dtype: False)
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    mask[1, 0, 3] = True  # a map beside it has one
    found = nearest_marked(mask)
    assert found[0, 2, 1].tolist() == [1, 2]
    assert found[1, 2, 1].tolist() == [3, 0]


def test_nearest_marked_of_a_large_and_of_a_turned_mask():
    """512 pixels on a side, the most, and a mask that isn't contiguous."""
    mask = torch.zeros(1, 512, 512, dtype=torch.bool)
    mask[0, 511, 0] = True
    assert nearest_marked(mask)[0, 0, 511].tolist() == [0, 511]
    some = torch.from_numpy(np.random.default_rng(0).random((2, 9, 7)) < 0.2)
    assert torch.equal(nearest_marked(some.transpose(1, 2).contiguous().transpose(1, 2)), nearest_marked(some))


@pytest.mark.parametrize("maps", [1, 2, 17, 40])
def test_nearest_marked_of_many_maps_takes_some_at_a_time(maps, monkeypatch):
    """By tensor operations: the same whatever the number of maps, in memory that grows with them and not with W."""
    mask = torch.from_numpy(np.random.default_rng(maps).random((maps, 64, 64)) < 0.1)
    compiled = nearest_marked(mask)
    monkeypatch.setattr(fit_kernels, "available", lambda dtype: False)
    assert torch.equal(nearest_marked(mask), compiled)
    # 16 MiB for the sums and as much for what they are added to, and a dozen maps of 8 bytes.
    assert peak_bytes(lambda: nearest_marked(mask)) < min(2**25, maps * 64**3 * 4) + maps * 64**2 * 8 * 12


def test_maps_too_large_for_the_key_are_refused():
    with pytest.raises(ValueError, match="at most 512"):
        nearest_marked(torch.zeros(1, 1, 513, dtype=torch.bool))
