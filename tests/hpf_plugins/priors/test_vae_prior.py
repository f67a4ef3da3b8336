"""The VAE prior: the bound in float64 NumPy, its training, its cache."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hpf_core.errors import RunError
from hpf_core.geometry.rotations import random_rotations
from hpf_core.grid import Grid
from hpf_core.interfaces import Build
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config
from hpf_plugins.priors.vae import SPEC, VAE, VAEConfig

QUICK = {"steps": 30, "batch": 32, "width": 16, "latent": 4}


@pytest.fixture(scope="module")
def hand() -> Spheres41:
    return Spheres41(Spheres41Config())


@pytest.fixture(scope="module")
def trained(hand: Spheres41, tmp_path_factory: pytest.TempPathFactory) -> VAE:
    """With the default options."""
    vae = make(hand, tmp_path_factory.mktemp("cache"))
    vae.prepare()
    return vae


def make(hand: Spheres41, cache: Path, **options: object) -> VAE:
    prior = SPEC.factory(VAEConfig(**options), Build(grid=Grid(), seed=0, cache=cache, hand=hand))
    assert isinstance(prior, VAE)
    return prior


def hands(hand: Spheres41, count: int, seed: int = 21) -> Tensor:
    """Turned every way, (count, 41, 3) mm."""
    generator = torch.Generator().manual_seed(seed)
    points = hand.points(*hand.sample(count, generator))
    return points @ random_rotations(count, generator).transpose(-1, -2)


# ------------------------------------------------------------------------------------------------- reference in NumPy


def reference(vae: VAE, points: np.ndarray, root: int | None) -> np.ndarray:
    """Eq. 13 as a loss, one estimate at a time: -log P(x|z) without its constant, plus KL(Q || P), nats."""
    weights = {name: value.double().numpy() for name, value in vae.network.state_dict().items()}

    def run(part: str, values: np.ndarray) -> np.ndarray:
        for k in (0, 2, 4):
            values = weights[f"{part}.{k}.weight"] @ values + weights[f"{part}.{k}.bias"]
            if k < 4:
                values = values / (1 + np.exp(-values))
        return values

    losses = []
    for cloud in points:
        x = (cloud - cloud[root] if root is not None else cloud).reshape(-1)
        code = run("encoder", x / 100)
        mean, variance = code[: len(code) // 2], np.exp(code[len(code) // 2 :])
        noise = vae.noise.double().numpy() * np.sqrt(variance)
        misfit = np.mean([((100 * run("decoder", mean + s * noise) - x) ** 2).sum() for s in (1, -1)])
        divergence = 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum()
        if vae.config.judge == "mean_square":
            misfit /= 100**2 * x.size
        else:
            misfit /= 2 * vae.config.sigma_mm**2
        losses.append(misfit + vae.config.divergence_weight * divergence)  # Eq. 13
    return np.array(losses)


@pytest.mark.parametrize("noise_scale", [0.0, 0.5])
@pytest.mark.parametrize("centre", ["root", "crop"])
@pytest.mark.parametrize("judge", [{}, {"judge": "mean_square", "divergence_weight": 75.0}])
def test_the_value_is_the_negative_bound(
    hand: Spheres41, tmp_path: Path, centre: str, noise_scale: float, judge: dict[str, object]
) -> None:
    vae = make(hand, tmp_path, centre=centre, noise_scale=noise_scale, sigma_mm=7.0, **judge, **QUICK)
    vae.prepare()
    vae.double()
    points = hands(hand, 4).double() + 10
    result = vae(points)
    expected = reference(vae, points.numpy(), hand.palm_centre if centre == "root" else None)
    np.testing.assert_allclose(result.values.numpy(), expected, rtol=1e-6)
    assert torch.equal(result.weights, torch.ones(4, dtype=torch.float64))
    assert torch.equal(vae(points).values, result.values)  # nothing is drawn anew


def test_how_it_judges_is_no_matter_of_its_training(hand: Spheres41, tmp_path: Path) -> None:
    """So that runs which judge otherwise share one cached network."""
    own, authors = make(hand, tmp_path), make(hand, tmp_path, judge="mean_square", divergence_weight=75.0)
    assert own.cache_file() == authors.cache_file()
    assert (own.unit, authors.unit) == ("nat", "1")


def test_gradients_are_true(hand: Spheres41, tmp_path: Path) -> None:
    vae = make(hand, tmp_path, noise_scale=0.3, **QUICK)
    vae.prepare()
    vae.double()
    points = hands(hand, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: vae(p).values, (points,), eps=1e-4, atol=1e-4, rtol=1e-4)


def test_permuting_the_batch_permutes_the_values(hand: Spheres41, trained: VAE) -> None:
    points, order = hands(hand, 5), torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(trained(points[order]).values, trained(points).values[order])


def test_where_the_hand_is_matters_in_the_crop_only(hand: Spheres41, tmp_path: Path) -> None:
    points = hands(hand, 5)
    for centre, moves in (("root", False), ("crop", True)):
        vae = make(hand, tmp_path, centre=centre, **QUICK)
        vae.prepare()
        here, there = vae(points).values, vae(points + 30).values
        assert torch.allclose(here, there, rtol=1e-3) is not moves


# ---------------------------------------------------------------------------------------------------------- training


def test_held_out_poses_come_back_within_5_mm(hand: Spheres41, trained: VAE) -> None:
    points = hands(hand, 1000, seed=987)
    points = points - points[:, hand.palm_centre : hand.palm_centre + 1]
    again = trained.network.decode(trained.network.encode(points).mean)
    error = float((again - points).norm(dim=-1).mean())
    assert error < 5
    assert trained.held_out_mm == pytest.approx(error, abs=0.3)


def test_hands_are_likelier_than_what_is_none(hand: Spheres41, trained: VAE) -> None:
    points = hands(hand, 200)
    generator = torch.Generator().manual_seed(0)
    noisy = points + 10 * torch.randn(points.shape, generator=generator)
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])  # a left hand
    proper = trained(points).values
    assert float((trained(noisy).values > proper).float().mean()) > 0.99
    assert float((trained(mirrored).values > proper).float().mean()) > 0.9


def test_descending_it_brings_noisy_points_nearer_to_the_hand(hand: Spheres41, trained: VAE) -> None:
    truth = hands(hand, 50)
    points = truth + 20 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    before = float((points - truth).norm(dim=-1).mean())
    points.requires_grad_()
    optimiser = torch.optim.Adam([points], lr=0.5)
    for _ in range(60):
        optimiser.zero_grad()
        trained(points).values.sum().backward()
        optimiser.step()
    assert float((points.detach() - truth).norm(dim=-1).mean()) < 0.7 * before


def test_it_is_frozen(hand: Spheres41, trained: VAE) -> None:
    assert not any(p.requires_grad for p in trained.parameters())
    points = hands(hand, 2).requires_grad_()
    trained(points).values.sum().backward()
    assert points.grad is not None
    assert all(p.grad is None for p in trained.parameters())


def test_it_runs_without_data(hand: Spheres41, tmp_path: Path) -> None:
    vae = make(hand, tmp_path, noise_scale=0.1, **QUICK)
    vae.prepare()
    assert vae.to("meta")(torch.empty(3, 41, 3, device="meta")).values.shape == (3,)


def test_points_far_from_any_hand_give_finite_values(hand: Spheres41, trained: VAE) -> None:
    points = (hands(hand, 3) * 100).requires_grad_()
    trained(points).values.sum().backward()
    assert points.grad is not None
    assert bool(points.grad.isfinite().all())


def test_unprepared_it_says_so(hand: Spheres41, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="prepare"):
        make(hand, tmp_path)(hands(hand, 1))


# ------------------------------------------------------------------------------------------------------------- cache


def weights_of(vae: VAE) -> list[Tensor]:
    return list(vae.network.state_dict().values())


def test_the_same_seed_gives_the_same_bits_and_the_global_state_stays(hand: Spheres41, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    one, two = (make(hand, tmp_path / name, **QUICK) for name in ("one", "two"))
    other = make(hand, tmp_path / "one", seed=1, **QUICK)
    for vae in (one, two, other):
        vae.prepare()
    assert all(torch.equal(a, b) for a, b in zip(weights_of(one), weights_of(two), strict=True))
    assert not torch.equal(weights_of(one)[0], weights_of(other)[0])
    assert torch.equal(before, torch.random.get_rng_state())


def test_it_is_trained_once(hand: Spheres41, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def note(done: int, total: int, what: str) -> None:
        calls.append((done, total))

    first = make(hand, tmp_path, **QUICK)
    with torch.no_grad():  # as an evaluation might
        first.prepare(note)
    assert calls[-1] == (30, 30)
    calls.clear()
    first.prepare(note)
    second = make(hand, tmp_path, noise_scale=0.1, **QUICK)  # judges otherwise, is trained alike
    second.prepare(note)
    assert not calls
    assert all(torch.equal(a, b) for a, b in zip(weights_of(first), weights_of(second), strict=True))
    assert second.held_out_mm == first.held_out_mm


def test_what_it_depends_on_names_the_file(hand: Spheres41, tmp_path: Path) -> None:
    small = Spheres41(Spheres41Config(size_range=(0.7, 0.8)))
    files = {
        make(hand, tmp_path).cache_file(),
        make(hand, tmp_path, sigma_mm=4).cache_file(),
        make(hand, tmp_path, cone_deg=40).cache_file(),
        make(hand, tmp_path, centre="crop").cache_file(),
        make(small, tmp_path).cache_file(),
    }
    assert len(files) == 5
    assert make(hand, tmp_path).cache_file() in files


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_a_damaged_cache_is_trained_again(
    hand: Spheres41, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = make(hand, tmp_path, **QUICK)
    first.prepare()
    path = first.cache_file()
    data = path.read_bytes()
    broken = {
        "cut": data[: len(data) // 2],
        "flipped": data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
        "empty": b"",
        "foreign": b"not weights at all" * 100,
    }[damage]
    path.write_bytes(broken)
    second = make(hand, tmp_path, **QUICK)
    with caplog.at_level(logging.WARNING, logger="hpf"):
        second.prepare()
    assert "damaged" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(weights_of(first), weights_of(second), strict=True))
    caplog.clear()
    make(hand, tmp_path, **QUICK).prepare()
    assert "damaged" not in caplog.text


def test_poor_training_is_noted(hand: Spheres41, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="hpf"):
        make(hand, tmp_path, **QUICK).prepare()
    assert "5 mm expected" in caplog.text
