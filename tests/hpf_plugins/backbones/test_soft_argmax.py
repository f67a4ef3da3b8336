"""The soft-argmax against an independent NumPy reference of Eq. 1-3, and its truth everywhere in the cube."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpf_core.errors import PluginError
from hpf_plugins.backbones.soft_argmax import LABEL_FLOOR, TOLERANCE_MM, SoftArgmax

TRUE = SoftArgmax(size=16, margin=2, sigma=2.0, alpha=10.0, subtract=True, cube_mm=300.0)


def reference(h, d, *, size, margin, alpha, cube, subtract, corner=False, relu=False):
    """Eq. 1-2 for one map, as plain loops in float64; with the authors' grid and weights of depth if asked."""
    side = size + 2 * margin
    pixel = cube / size
    half = 0.0 if corner else 0.5
    total = x = y = z = 0.0
    top = max(h[v][u] for v in range(side) for u in range(side))
    base = math.exp(-alpha * max(top, 0.0))
    for v in range(side):
        for u in range(side):
            w = math.exp(alpha * (h[v][u] - max(top, 0.0)))
            if subtract:
                w = max(w - base, 0.0) + 1e-4 * w
            total += w
            x += w * (u + half - side / 2) * pixel  # Eq. 1
            y += w * (v + half - side / 2) * pixel
            z += w * d[v][u] * cube / 2  # Eq. 2
    if relu:
        above = sum(max(h[v][u], 0.0) for v in range(side) for u in range(side))
        share = sum(max(h[v][u], 0.0) * d[v][u] for v in range(side) for u in range(side)) * cube / 2
        z = total * share / (above + 1e-6)
    return np.array([x, y, z]) / total


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("options", [{}, {"corner": True}, {"relu": True}, {"corner": True, "relu": True}])
def test_points_match_the_reference(subtract, options):
    soft_argmax = SoftArgmax(8, 1, 1.5, 10.0, subtract, 300.0, **options)
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(2, 3, 10, 10, generator=generator, dtype=torch.float64)
    d = torch.randn(2, 3, 10, 10, generator=generator, dtype=torch.float64)
    points = soft_argmax(h, d).points
    for n in range(2):
        for j in range(3):
            wanted = reference(
                h[n, j].tolist(), d[n, j].tolist(),
                size=8, margin=1, alpha=10.0, cube=300.0, subtract=subtract, **options,
            )  # fmt: skip
            np.testing.assert_allclose(points[n, j].numpy(), wanted, rtol=1e-12, atol=1e-10)


def test_labels_match_the_reference():
    point = torch.tensor([[[31.0, -77.5, 42.0]]], dtype=torch.float64)
    label = TRUE.labels(point)
    side, pixel = 20, 300.0 / 16
    for v in range(side):
        for u in range(side):
            x, y = (u + 0.5 - 10) * pixel, (v + 0.5 - 10) * pixel
            h = math.exp(-((x - 31.0) ** 2 + (y + 77.5) ** 2) / (2 * (2.0 * pixel) ** 2))
            assert label.heatmaps[0, 0, v, u].item() == pytest.approx(h, abs=1e-14)
            assert label.latent_depth[0, 0, v, u].item() == (42.0 if h > LABEL_FLOOR else 0.0)


def test_labels_on_the_corner_grid_are_half_a_pixel_beside_those_on_the_centres():
    """The authors' grid: the label of a point is what the default gives a point 9.4 mm further right and down."""
    corner = SoftArgmax(16, 0, 1.0, 20.0, False, 300.0, corner=True)
    centre = SoftArgmax(16, 0, 1.0, 20.0, False, 300.0)
    point = torch.tensor([[[31.0, -77.5, 42.0]]], dtype=torch.float64)
    shift = torch.tensor([9.375, 9.375, 0.0], dtype=torch.float64)
    assert corner.axis(point)[0] == -150.0
    torch.testing.assert_close(corner.labels(point).heatmaps, centre.labels(point + shift).heatmaps)


def test_rectified_depth_has_no_say_of_what_is_below_0():
    soft_argmax = SoftArgmax(8, 0, 1.0, 20.0, False, 300.0, relu=True)
    h = torch.full((1, 1, 8, 8), -0.5, dtype=torch.float64)
    d = torch.full_like(h, 0.9)
    assert soft_argmax(h, d).points[..., 2].item() == 0.0  # nothing is above 0
    h[..., 3, 4], d[..., 3, 4] = 1.0, 0.2
    h[..., 6, 6], d[..., 6, 6] = 3.0, -0.6
    assert soft_argmax(h, d).points[..., 2].item() == pytest.approx(150 * (0.2 * 1 - 0.6 * 3) / 4, rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.floats(-150.0, 150.0)] * 3))
def test_an_ideal_label_is_read_back_everywhere_in_the_cube(point):
    wanted = torch.tensor([[point]], dtype=torch.float64)
    label = TRUE.labels(wanted)
    read = TRUE(label.heatmaps, label.latent_depth / 150.0).points
    assert (read - wanted).norm() <= TOLERANCE_MM


def test_a_map_that_is_unsure_is_not_drawn_inwards():
    """At a peak of 0.7, 60 mm off centre: the softmax over the whole map drifts by many mm, the default does not."""
    wanted = torch.tensor([[[60.0, 60.0, 60.0]]], dtype=torch.float64)
    label = TRUE.labels(wanted)
    subtract = TRUE(0.7 * label.heatmaps, label.latent_depth / 150.0).points
    kept = SoftArgmax(16, 2, 2.0, 10.0, False, 300.0)(0.7 * label.heatmaps, label.latent_depth / 150.0).points
    assert (subtract - wanted).norm() < 1.0
    assert (kept - wanted).norm() > 4.0


@pytest.mark.parametrize(
    "soft_argmax",
    [
        SoftArgmax(16, 2, 1.0, 10.0, True, 300.0),  # too sharp for its pixels
        SoftArgmax(64, 2, 2.0, 10.0, False, 300.0),  # the background leaks
        SoftArgmax(16, 0, 2.0, 10.0, True, 300.0),  # cut off at the rim
    ],
)
def test_a_false_readout_is_refused_with_its_figure(soft_argmax):
    with pytest.raises(PluginError, match=rf"up to {soft_argmax.error_mm():.1f} mm off"):
        soft_argmax.check()
    soft_argmax.check(tolerance_mm=soft_argmax.error_mm() + 0.01)


@pytest.mark.parametrize("relu", [False, True])
def test_empty_and_negative_maps_read_out_finitely_with_gradients(relu):
    h = torch.stack([torch.zeros(20, 20), -torch.rand(20, 20, generator=torch.Generator().manual_seed(1))])[None]
    h = h.requires_grad_()
    d = torch.zeros_like(h).requires_grad_()
    points = dataclasses.replace(TRUE, relu=relu)(h, d).points
    points.square().sum().backward()
    assert torch.isfinite(points).all()
    assert torch.isfinite(h.grad).all()
    assert torch.isfinite(d.grad).all()


@pytest.mark.parametrize("relu", [False, True])
def test_gradients(relu):
    soft_argmax = SoftArgmax(8, 1, 1.5, 5.0, True, 300.0, relu=relu)
    generator = torch.Generator().manual_seed(0)
    # All above 0, away from the clamp's kink.
    h = (torch.rand(1, 1, 10, 10, generator=generator, dtype=torch.float64) + 0.1).requires_grad_()
    d = torch.randn(1, 1, 10, 10, generator=generator, dtype=torch.float64).requires_grad_()

    def read(h, d):
        # The shift is detached and cancels; at the maximum it leaves no trace in the derivative.
        out = soft_argmax(h, d)
        return out.points, out.variance

    assert torch.autograd.gradcheck(read, (h, d))


def test_spread_is_the_variance_of_the_weights():
    sharp, wide = torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 20)
    sharp[..., 10, 10] = 1.0
    wide[..., 10, 8] = wide[..., 10, 12] = 1.0
    pixel = 300.0 / 16
    assert TRUE(sharp, torch.zeros_like(sharp)).variance.item() == pytest.approx(0.0, abs=20.0)
    assert TRUE(wide, torch.zeros_like(wide)).variance.item() == pytest.approx((2 * pixel) ** 2, rel=0.05)
