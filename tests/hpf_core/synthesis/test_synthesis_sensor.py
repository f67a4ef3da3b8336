"""Each effect of the depth sensor by itself."""

from __future__ import annotations

import math

import pytest
import torch

from hpf_core.geometry import Grid
from hpf_core.synthesis.rigs import PRIMESENSE
from hpf_core.synthesis.sensor import CropNoise, Sensor, flying, grazing, patches, quantised, ragged, shadowed


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("distance", "step"), [(750.0, 1.6), (1190.0, 4.1)])
def test_depth_comes_in_the_measured_steps(distance: float, step: float) -> None:
    depth = torch.linspace(distance - 20, distance + 20, 4000)[None, None]
    levels = quantised(depth, 2.9e-6, 0.0, seeded()).unique()
    assert levels.diff().median().item() == pytest.approx(step, rel=0.05)
    assert (quantised(depth, 2.9e-6, 0.0, seeded()) - depth).abs().max() < 0.55 * step


def test_noise_in_a_flat_palm_is_what_was_measured() -> None:
    seen = Sensor(blobs=0, ragged_px=0).measure(torch.full((1, 200, 200), 750.0), PRIMESENSE.fx, seeded())
    assert 0.4 < seen.std().item() < 0.9


def test_no_return_stays_no_return() -> None:
    depth = torch.full((1, 40, 40), 800.0)
    depth[:, :, :10] = math.inf
    seen = Sensor(blobs=0, ragged_px=0, baseline_mm=0).measure(depth, PRIMESENSE.fx, seeded())
    assert (seen[:, :, :10] == 0).all()
    assert (seen[:, :, 12:] > 700).all()


def test_the_shadow_lies_right_of_the_nearer_surface_and_is_as_wide_as_it_must_be() -> None:
    depth = torch.full((1, 5, 200), 1400.0)
    depth[..., 50:100] = 850.0
    columns = torch.arange(200.0)
    shadow = shadowed(columns + PRIMESENSE.fx * 75 / depth)[0, 2]
    width = PRIMESENSE.fx * 75 * (1 / 850 - 1 / 1400)
    lit = (~shadow).nonzero().squeeze(1)
    assert not shadow[:100].any()
    assert shadow[100:].sum().item() == pytest.approx(width, abs=1.5)
    assert shadow[100:118].all()
    assert lit.max() == 199


def test_grazing_surfaces_return_nothing_and_edges_are_not_taken_for_them() -> None:
    def tilted(angle: float) -> torch.Tensor:
        return (torch.arange(30.0) * 2.0 * math.tan(math.radians(angle))).expand(1, 30, 30) + 800

    assert grazing(tilted(84), 2.0, 80).all()
    assert not grazing(tilted(75), 2.0, 80).any()
    step = torch.full((1, 30, 30), 800.0)
    step[..., 15:] = 1200.0
    assert not grazing(step, 2.0, 80).any()
    step[..., 15:] = math.inf
    assert not grazing(step, 2.0, 80).any()


def test_ragged_edges_stay_within_reach_and_flat_parts_stay_flat() -> None:
    depth = torch.full((1, 64, 64), 800.0)
    depth[..., 32:] = 1400.0
    seen = ragged(depth, 0.5, seeded())
    changed = (seen != depth)[0].any(dim=0).nonzero().squeeze(1)
    assert len(changed) > 0
    assert changed.min() >= 28
    assert changed.max() <= 35
    assert set(seen.unique().tolist()) == {800.0, 1400.0}
    torch.testing.assert_close(ragged(depth, 0.0, seeded()), depth, rtol=0, atol=0)


def test_patches_are_as_many_and_as_large_as_asked() -> None:
    holes = patches(torch.zeros(400, 64, 64), 1.0, 4.0, seeded())
    some = holes.flatten(1).any(dim=1).float().mean().item()
    assert some == pytest.approx(1 - math.exp(-1), abs=0.08)
    assert 10 < holes.float().mean().item() * 64 * 64 < 2 * math.pi * 4**2 * 1.5


def test_flying_pixels_hang_between_both_sides() -> None:
    depth = torch.full((1, 20, 20), 800.0)
    depth[..., 10:] = 1000.0
    seen = flying(depth, 1.0, 20.0, seeded())
    assert (seen[..., 9] > 800).all()
    assert (seen[..., 9] < 1000).all()
    keep = [k for k in range(20) if k != 9]
    torch.testing.assert_close(seen[..., keep], depth[..., keep], rtol=0, atol=0)


def test_the_sensor_depends_on_its_generator_alone() -> None:
    depth = torch.full((1, 60, 60), 900.0)
    depth[:, 20:40, 20:40] = 800
    torch.manual_seed(1)
    one = Sensor().measure(depth, PRIMESENSE.fx, seeded(5))
    torch.manual_seed(2)
    assert torch.equal(one, Sensor().measure(depth, PRIMESENSE.fx, seeded(5)))
    assert not torch.equal(one, Sensor().measure(depth, PRIMESENSE.fx, seeded(6)))


def test_crop_noise_has_the_spread_that_it_states() -> None:
    depth = torch.zeros(20, 64, 64)
    seen, missing = CropNoise(blobs=0).apply(depth, Grid(64), seeded())
    assert not missing.any()
    assert seen.std().item() == pytest.approx(5.0, rel=0.02)


def test_crop_noise_can_be_switched_off() -> None:
    depth = torch.full((2, 64, 64), math.inf)
    depth[:, 20:40, 20:40] = torch.linspace(-20, 20, 20)
    seen, missing = CropNoise(shift_px=0, depth_mm=0, baseline_mm=0, grazing_deg=90, blobs=0).apply(
        depth, Grid(64), seeded()
    )
    assert torch.equal(seen, depth)
    assert not missing.any()
