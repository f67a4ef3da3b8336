"""Each effect of the depth sensor by itself."""

from __future__ import annotations

import math

import pytest
import torch

from hpf_core.data.cameras import PRIMESENSE
from hpf_core.grid import Grid
from hpf_core.simulation.sensor import (
    CropNoise,
    Sensor,
    fattened,
    flying,
    grazing,
    patches,
    quantised,
    ragged,
    shadowed,
)


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


def test_what_is_near_grows_by_a_pixel_at_most() -> None:
    depth = torch.full((200, 20, 20), 1000.0)
    depth[:, 8:12, 8:12] = 800.0
    seen = fattened(depth, 0.6, seeded())
    near = seen == 800.0
    assert near[:, 8:12, 8:12].all()
    beside = near.clone()
    beside[:, 7:13, 7:13] = False
    assert not beside.any()
    shares = (near.sum(dim=(1, 2)) - 16) / 20.0  # of the 20 pixels around
    assert shares.mean() == pytest.approx(0.3, abs=0.05)
    assert shares.max() <= 1
    assert shares.min() < 0.1


def test_the_sensor_depends_on_its_generator_alone() -> None:
    depth = torch.full((1, 60, 60), 900.0)
    depth[:, 20:40, 20:40] = 800
    torch.manual_seed(1)
    one = Sensor().measure(depth, PRIMESENSE.fx, seeded(5))
    torch.manual_seed(2)
    assert torch.equal(one, Sensor().measure(depth, PRIMESENSE.fx, seeded(5)))
    assert not torch.equal(one, Sensor().measure(depth, PRIMESENSE.fx, seeded(6)))


def test_flying_pixels_are_as_many_as_asked_and_evenly_between() -> None:
    depth = torch.full((1, 4000, 2), 800.0)
    depth[..., 1] = 1000.0
    depth[:, ::40, 1] = math.inf  # nothing to hang from
    seen = flying(depth, 0.25, 20.0, seeded())[0, :, 0]
    moved = seen[seen != 800]
    assert len(moved) == pytest.approx(0.25 * 3900, rel=0.1)
    assert float(moved.mean()) == pytest.approx(900, abs=8)
    assert float(moved.std()) == pytest.approx(200 / math.sqrt(12), rel=0.1)
    assert (seen[::40] == 800).all()


OFF: dict[str, float] = {
    "shift_px": 0,
    "depth_mm": 0,
    "baseline_mm": 0,
    "grazing_deg": 90,
    "blobs": 0,
    "flying": 0,
    "step_per_mm": 0,
}


def only(**options: object) -> CropNoise:
    return CropNoise.model_validate(OFF | options)


def test_crop_noise_has_the_spread_that_it_states() -> None:
    depth = torch.zeros(20, 64, 64)
    fixed, missing = CropNoise(blobs=0, weakest=1).apply(depth, Grid(64), seeded())
    assert not missing.any()
    assert fixed.std().item() == pytest.approx(5.0, rel=0.02)
    spread = only(depth_mm=5).apply(torch.zeros(600, 16, 16), Grid(64), seeded())[0].std(dim=(1, 2))
    assert spread.min() < 0.1
    assert 4.8 < spread.max() < 5.8
    assert spread.mean().item() == pytest.approx(2.5, abs=0.2)


def test_crop_noise_can_be_switched_off() -> None:
    depth = torch.full((2, 64, 64), math.inf)
    depth[:, 20:40, 20:40] = torch.linspace(-20, 20, 20)
    given = depth.clone()
    seen, missing = only().apply(depth, Grid(64), seeded())
    assert torch.equal(depth, given)
    assert not missing.any()
    met = torch.isfinite(depth)
    torch.testing.assert_close(seen[met], depth[met], atol=1e-3, rtol=0)
    assert (seen[~met] > 400).all()


def test_steps_of_a_crop_grow_with_its_distance() -> None:
    depth = torch.linspace(-20, 20, 64 * 64).view(1, 64, 64)
    for distance in (550.0, 1000.0):
        seen, _ = only(step_per_mm=2.9e-6, distance_mm=(distance, distance)).apply(depth, Grid(64), seeded())
        assert seen.unique().diff().median().item() == pytest.approx(2.9e-6 * distance**2, rel=0.05)
        assert (seen - depth).abs().max() < 0.55 * 2.9e-6 * (distance + 20) ** 2


def test_a_crop_s_shadow_is_as_wide_as_in_the_camera_s_image() -> None:
    depth = torch.full((1, 3, 64), math.inf)
    depth[..., 20:30] = 0.0
    seen, missing = only(baseline_mm=75, distance_mm=(700.0, 700.0)).apply(depth, Grid(64), seeded())
    behind = 700 + float(seen[0, 0, 0])
    width = 75 * (1 - 700 / behind) / Grid(64).pixel_mm  # f b (1 / z - 1 / z'), and z / f to a pixel
    assert missing[0, :, 30 : 30 + int(width)].all()
    assert missing.sum().item() == pytest.approx(3 * width, abs=4.5)
    assert not missing[..., :30].any()


def test_missing_pixels_travel_with_the_ragged_ones() -> None:
    depth = torch.zeros(8, 64, 64)
    noise = only(blobs=3.0, blob_mm=15, shift_px=0.5, weakest=1)
    seen, missing = noise.apply(depth, Grid(64), seeded())
    assert missing.any()
    torch.testing.assert_close(seen[~missing], torch.zeros_like(seen[~missing]), atol=1e-3, rtol=0)


def test_crop_noise_draws_for_each_map_by_itself_and_from_its_generator_alone() -> None:
    depth = torch.full((3, 64, 64), math.inf)
    depth[:, 16:48, 16:48] = torch.linspace(-40, 40, 32)
    torch.manual_seed(1)
    one, gone = CropNoise().apply(depth, Grid(64), seeded(4))
    torch.manual_seed(2)
    again, still = CropNoise().apply(depth, Grid(64), seeded(4))
    assert torch.equal(one, again)
    assert torch.equal(gone, still)
    assert not torch.equal(one[0], one[1])


@pytest.mark.parametrize("distance", [(900.0, 500.0), (0.0, 800.0)])
def test_distances_out_of_order_or_range_are_refused(distance: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="two distances in order"):
        CropNoise(distance_mm=distance)
