"""Generated samples: what they hold, that they are right, and that their generator alone decides them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hpf_core.frames import State
from hpf_core.geometry.rotations import rotation_matrix
from hpf_core.grid import Grid
from hpf_core.interfaces import Build
from hpf_core.simulation.sensor import CropNoise
from hpf_plugins.datasets.synthetic import SPEC, Synthetic, SyntheticConfig
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config

CLEAN = CropNoise(shift_px=0, depth_mm=0, baseline_mm=0, grazing_deg=90, blobs=0, flying=0, step_per_mm=0)
HAND = Spheres41(Spheres41Config())


def dataset(size: int = 64, **options: object) -> Synthetic:
    built = SPEC.factory(SyntheticConfig.model_validate(options), Build(Grid(size), 0, Path("unused"), HAND))
    assert isinstance(built, Synthetic)
    return built


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _area(at: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    one, other = first[:, :2] - at, second[:, :2] - at
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]


@pytest.mark.parametrize("size", [64, 96])
def test_samples_hold_what_they_promise(size: int) -> None:
    samples = dataset(size).sample(16, seeded())
    assert samples.depth.shape == samples.state.shape == (16, size, size)
    assert (samples.depth.dtype, samples.state.dtype) == (torch.float32, torch.uint8)
    hit = samples.state == State.HIT
    assert (samples.depth[~hit] == 150).all()
    assert (samples.depth[hit].abs() < 150).all()
    assert (hit.float().mean(dim=(1, 2)) > 0.03).all()
    torch.testing.assert_close(samples.points, HAND.points(samples.pose, samples.shape), atol=1e-2, rtol=0)
    assert not samples.depth.requires_grad


def test_the_map_shows_the_skin_of_the_points() -> None:
    samples = dataset(noise=CLEAN, forearm=0).sample(20, seeded())
    skin = HAND.mesh(samples.pose, samples.shape)
    axis = Grid(64).axis(dtype=torch.float64)
    for k in range(20):
        row, column = (samples.state[k] == State.HIT).nonzero().unbind(1)
        ray = torch.stack([axis[column], axis[row]], dim=-1)[:, None]
        a, b, c = skin.vertices[k].double()[skin.faces].unbind(1)
        # Barycentric coordinates of each ray in each face (Q, F), from twice the signed areas in the image.
        areas = torch.stack([_area(ray, b, c), _area(ray, c, a), _area(ray, a, b)], dim=-1)
        share = areas / areas.sum(dim=-1, keepdim=True)
        depth = (share * torch.stack([a[:, 2], b[:, 2], c[:, 2]], dim=-1)).sum(dim=-1)
        nearest = depth.masked_fill(~(share >= 0).all(dim=-1), torch.inf).amin(dim=-1)
        off = (nearest - samples.depth[k, row, column]).abs()
        assert off.quantile(0.98) < 1e-3  # at a face's side, rounding may choose its neighbour
    # Each point in the cube's front lies behind a pixel that shows it or something before it.
    column, row, _ = ((samples.points / 300 + 0.5) * 64).long().clamp(0, 63).unbind(-1)
    inside = samples.points.abs().amax(dim=-1) < 140
    depth = samples.depth[torch.arange(20)[:, None], row, column]
    assert (samples.points[..., 2] - depth)[inside].min() > -1.0


def test_centres_and_views_keep_to_their_ranges() -> None:
    samples = dataset(cone_deg=40, roll_deg=20, sideways_mm=10, depth_mm=(-5.0, 20.0)).sample(400, seeded())
    palm = samples.points[:, HAND.palm_centre]
    assert palm[:, :2].abs().max() <= 10.01
    assert palm[:, :2].abs().max() > 9
    assert palm[:, 2].min() >= -5.01
    assert palm[:, 2].max() <= 20.01
    rotation = rotation_matrix(samples.pose[:, :3])
    assert rotation[:, 2, 2].arccos().rad2deg().max() <= 40.1
    everywhere = rotation_matrix(dataset().sample(400, seeded()).pose[:, :3])
    assert everywhere.mean(dim=0).abs().max() < 0.15


def test_a_forearm_is_there_as_often_as_asked() -> None:
    def covered(share: float) -> float:
        return float((dataset(noise=CLEAN, forearm=share).sample(100, seeded()).state == State.HIT).float().mean())

    without, always = covered(0.0), covered(1.0)
    assert always > 1.2 * without
    assert without + 0.2 * (always - without) < covered(0.5) < without + 0.8 * (always - without)


def test_noise_changes_the_maps_and_not_the_points() -> None:
    clean, noisy = dataset(noise=CLEAN).sample(64, seeded(3)), dataset().sample(64, seeded(3))
    assert torch.equal(clean.points, noisy.points)
    both = (clean.state == State.HIT) & (noisy.state == State.HIT)
    difference = (noisy.depth - clean.depth)[both]
    assert 1.5 < difference.abs().median() / 0.6745 < 5.0  # of maps whose strengths run from none to 5 mm
    unknown = (noisy.state == State.UNKNOWN).float().mean()
    assert 0.01 < unknown < 0.2


def test_some_crops_are_far_off() -> None:
    offset = dataset(sideways_mm=10, depth_mm=(0, 10), stray=0.25, stray_mm=80).sample(200, seeded()).points
    far = (offset[:, HAND.palm_centre] - torch.tensor([0, 0, 5.0])).abs().amax(dim=-1) > 10.01
    assert 0.15 < far.float().mean() < 0.35
    assert offset[:, HAND.palm_centre].abs().max() <= 80.01


def test_balls_are_erased_and_the_rest_stays() -> None:
    whole = dataset(noise="off").sample(40, seeded())
    holed = dataset(noise="off", erased=9).sample(40, seeded())
    torch.testing.assert_close(whole.points, holed.points)
    gone = (whole.state == State.HIT) & (holed.state == State.UNKNOWN)
    kept = holed.state == State.HIT
    torch.testing.assert_close(whole.depth[kept], holed.depth[kept], atol=1e-3, rtol=0)
    share = gone.flatten(1).sum(1) / (whole.state == State.HIT).flatten(1).sum(1)
    assert 0.03 < share.mean() < 0.5
    assert share.min() == 0, "no ball is one of the numbers"


def test_a_plane_stands_behind_the_hand_as_often_as_asked() -> None:
    options = {"noise": "off", "forearm": 0}
    bare, backed = (dataset(**options, plane=share).sample(60, seeded()) for share in (0.0, 0.5))
    seen = bare.state == State.HIT
    # No pixel of the hand is hidden: the ray of each meets the skin before the plane.
    torch.testing.assert_close(bare.depth[seen], backed.depth[seen], atol=1e-3, rtol=0)
    more = (backed.state != bare.state).flatten(1).any(dim=1)
    assert 0.2 < more.float().mean() <= 0.6


def test_each_sensor_gets_its_share_of_the_samples() -> None:
    flat = {"shift_px": 0, "baseline_mm": 0, "grazing_deg": 90, "blobs": 0, "flying": 0, "step_per_mm": 0}
    other = [CropNoise.model_validate({**flat, "depth_mm": 20, "weakest": 1})]
    clean = dataset(noise=CLEAN).sample(10, seeded())
    mixed = dataset(noise=CLEAN, other_noise=other).sample(10, seeded())
    assert torch.equal(clean.points, mixed.points)
    assert torch.equal(clean.depth[:5], mixed.depth[:5])
    assert not any(torch.equal(one, two) for one, two in zip(clean.depth[5:], mixed.depth[5:], strict=True))
    assert dataset(noise=CLEAN, other_noise=other).sample(1, seeded()).depth.shape == (1, 64, 64)


def test_what_stands_before_the_cube_hides_it() -> None:
    samples = dataset(noise=CLEAN, depth_mm=(-145.0, -145.0), forearm=0).sample(8, seeded())
    assert ((samples.state == State.UNKNOWN).flatten(1).sum(dim=1) > 50).all()


def test_samples_follow_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    one = dataset().sample(8, seeded(7))
    torch.manual_seed(2)
    same, other = dataset().sample(8, seeded(7)), dataset().sample(8, seeded(8))
    for name in ("depth", "state", "points", "pose", "shape"):
        assert torch.equal(getattr(one, name), getattr(same, name))
    assert not torch.equal(one.depth, other.depth)


def test_samples_are_the_same_whatever_the_number_of_threads() -> None:
    before, drawn = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            drawn.append(dataset().sample(16, seeded(7)))
    finally:
        torch.set_num_threads(before)
    for name in ("depth", "state", "points", "pose", "shape"):
        assert torch.equal(getattr(drawn[0], name), getattr(drawn[1], name))


def test_noise_may_be_off() -> None:
    for off in ("off", False):
        got = dataset(noise=off).sample(4, seeded())
        assert torch.equal(got.depth, dataset(noise=CLEAN).sample(4, seeded()).depth)
    with pytest.raises(ValueError, match="valid dictionary"):
        SyntheticConfig.model_validate({"noise": "of"})


def test_stretched_samples_are_the_same_hands_along_each_axis() -> None:
    """Sample by sample one factor for x, y and z, about the palm's centre; points and maps alike."""
    options = {"noise": "off", "forearm": 0.0, "cone_deg": 20}
    plain, got = dataset(**options).sample(16, seeded()), dataset(stretch=(0.85, 0.95), **options).sample(16, seeded())
    assert torch.equal(got.pose, plain.pose)
    palm = plain.points[:, HAND.palm_centre, None]
    torch.testing.assert_close(got.points[:, HAND.palm_centre, None], palm)
    offset = (plain.points - palm).double()
    factor = ((got.points - palm).double() * offset).sum(1) / offset.square().sum(1)  # least squares, (16, 3)
    torch.testing.assert_close(got.points.double(), palm + offset * factor[:, None], atol=1e-3, rtol=0)
    assert ((factor > 0.85) & (factor < 0.95)).all()
    assert factor.std(dim=0).min() > 0.01
    assert (factor[:, 0] - factor[:, 1]).abs().max() > 0.01
    # What is seen of a hand shrinks by the factors of x and y, but for what the cube cuts off.
    area = [(s.state == State.HIT).float().sum(dim=(1, 2)) for s in (plain, got)]
    torch.testing.assert_close((area[1] / area[0]).double(), factor[:, 0] * factor[:, 1], atol=0.04, rtol=0)


def test_a_stretch_of_one_draws_nothing() -> None:
    """Samples of recipes that don't name it stay as they were."""
    one, other = dataset().sample(4, seeded()), dataset(stretch=(1.0, 1.0)).sample(4, seeded())
    assert torch.equal(one.depth, other.depth)


@pytest.mark.parametrize(
    "options",
    [
        {"depth_mm": (20.0, 10.0)},
        {"forearm_mm": (50.0, 900.0)},
        {"cone": 3},
        {"noise": {"depth_mm": -1}},
        {"stretch": (0.95, 0.85)},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(
        ValueError, match=r"needs two lengths in order|needs 0.2 <= smallest|Extra inputs|greater than or equal"
    ):
        SyntheticConfig.model_validate(options)
