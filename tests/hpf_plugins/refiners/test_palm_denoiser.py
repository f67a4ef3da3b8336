"""The palm's denoiser: what it changes, what it is worth, and its cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hpf_core.errors import PluginError, RunError
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config
from hpf_plugins.refiners.palm_denoiser import PalmDenoiser, PalmDenoiserConfig

OPTIONS = PalmDenoiserConfig(steps=150, batch=128, width=64)


@pytest.fixture(scope="module")
def hand() -> Spheres41:
    return Spheres41(Spheres41Config())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def refiner(hand: Spheres41, cache: Path) -> PalmDenoiser:
    made = PalmDenoiser(OPTIONS, hand, cache)
    made.prepare()
    return made


def _palm(hand: Spheres41) -> torch.Tensor:
    return torch.tensor([part == "palm" for part in hand.parts])


def test_sizes_are_the_authors_but_for_the_inputs(hand: Spheres41, cache: Path) -> None:
    layers = PalmDenoiser(PalmDenoiserConfig(), hand, cache).network.layers
    sizes = [layer.weight.shape for layer in layers if isinstance(layer, torch.nn.Linear)]
    assert sizes == [(256, 123), (256, 256), (33, 256)]


def test_the_palms_noise_shrinks_and_fingers_stay(hand: Spheres41, refiner: PalmDenoiser) -> None:
    generator = torch.Generator().manual_seed(8)
    points = hand.points(*hand.sample(256, generator))
    noisy = points + 10 * torch.randn(points.shape, generator=generator)
    found, palm = refiner(noisy), _palm(hand)
    assert torch.equal(found[:, ~palm], noisy[:, ~palm])
    before, after = ((side - points)[:, palm].norm(dim=-1).mean() for side in (noisy, found))
    assert float(after) < 0.75 * float(before)
    assert refiner.noisy_mm == pytest.approx(float(before), rel=0.03)
    assert refiner.held_out_mm == pytest.approx(float(after), rel=0.1)


def test_where_the_hand_is_does_not_matter(hand: Spheres41, refiner: PalmDenoiser) -> None:
    points = hand.points(*hand.sample(8, torch.Generator().manual_seed(1)))
    shift = torch.tensor([30.0, -20.0, 15.0])
    torch.testing.assert_close(refiner(points + shift), refiner(points) + shift, atol=1e-3, rtol=0)


def test_untrained_it_leaves_points_alone(hand: Spheres41, cache: Path) -> None:
    points = hand.points(*hand.sample(8, torch.Generator().manual_seed(1)))
    torch.testing.assert_close(PalmDenoiser(OPTIONS, hand, cache).network(points), points[:, _palm(hand)])


def test_the_cache_is_used_and_a_damaged_one_is_made_again(
    hand: Spheres41, refiner: PalmDenoiser, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    path = refiner.cache_file()
    kept = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("hpf_plugins.refiners.palm_denoiser.train", lambda *a, **k: pytest.fail("it was trained again"))
        again = PalmDenoiser(OPTIONS, hand, cache)
        again.prepare()
    assert again.held_out_mm == refiner.held_out_mm
    path.write_bytes(kept[:-8] + bytes(8))
    made = PalmDenoiser(OPTIONS, hand, cache)
    made.prepare()
    assert "damaged" in caplog.text
    # The same bits from the same seed.
    torch.testing.assert_close(made.network.state_dict(), refiner.network.state_dict(), rtol=0, atol=0)


def test_what_the_training_depends_on_names_the_file(hand: Spheres41, cache: Path) -> None:
    own = PalmDenoiser(OPTIONS, hand, cache).cache_file()
    for change in ({"seed": 1}, {"noise_mm": 5.0}, {"steps": 151}, {"cone_deg": 90.0}):
        assert PalmDenoiser(OPTIONS.model_copy(update=change), hand, cache).cache_file() != own
    large = Spheres41(Spheres41Config(size_range=(1.2, 1.3)))
    assert PalmDenoiser(OPTIONS, large, cache).cache_file() != own


def test_unprepared_use_and_hands_without_a_palm_are_said(hand: Spheres41, cache: Path) -> None:
    with pytest.raises(RunError, match="prepare"):
        PalmDenoiser(OPTIONS, hand, cache)(torch.zeros(1, 41, 3))
    other = Spheres41(Spheres41Config())
    other.parts = ("finger",) * 41
    with pytest.raises(PluginError, match="part 'palm'; its parts are finger"):
        PalmDenoiser(OPTIONS, other, cache)
