"""The transform `shrink` against its loops, and its way back."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpf_core.grid import Grid
from hpf_plugins.transforms.shrink import SPEC, Shrink, ShrinkConfig

GRID = Grid(size=32, cube_mm=300.0)


def made(grid: Grid = GRID, **options: object) -> Shrink:
    built = SPEC.factory(ShrinkConfig(**options), SimpleNamespace(grid=grid))
    assert isinstance(built, Shrink)
    return built


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps(count: int = 3, size: int = 32) -> Tensor:
    return torch.rand(count, size, size, generator=seeded(5), dtype=torch.float64) * 200 - 100


def factors(back: object, count: int) -> Tensor:
    """(N, 3), read off the way back."""
    return 1 / back(torch.ones(count, 1, 3, dtype=torch.float64))[:, 0]  # type: ignore[operator]


@pytest.mark.parametrize("size", [32, 33])
def test_each_pixel_shows_what_lies_further_out(size: int) -> None:
    grid = Grid(size=size, cube_mm=300.0)
    depth = maps(size=size)
    seen, back = made(grid, share=1.0)(depth, seeded())
    found = factors(back, 3)
    for n in range(3):
        sx, sy, sz = found[n].tolist()
        assert sz == 1.0
        for v in range(size):
            for u in range(size):
                x, y = reference.pixel_centre(u, v, size, 300.0)
                column, row = (math.floor(p / s * size / 300.0 + size / 2) for p, s in ((x, sx), (y, sy)))
                inside = 0 <= column < size and 0 <= row < size
                assert seen[n, v, u] == (depth[n, row, column] if inside else 150.0)


def test_a_hand_that_is_found_in_the_squeezed_map_is_taken_back() -> None:
    """Balls rendered where the squeezed map shows them: the way back puts their middles where they were."""
    grid = Grid(size=128, cube_mm=300.0)
    balls = np.array([[60.0, -70.0, 10.0], [-80.0, 20.0, -15.0]])
    depth = torch.from_numpy(np.stack([reference.render([ball], [12.0], 128)[0] for ball in balls]))
    seen, back = made(grid, share=1.0, factor=(0.7, 0.8))(depth, seeded())
    axis = grid.axis(dtype=torch.float64)
    hit = (seen < 149).double()
    middle = torch.stack([(hit * axis).sum((1, 2)), (hit * axis[:, None]).sum((1, 2))], -1) / hit.sum((1, 2))[:, None]
    nearest = seen.amin((1, 2)) + 12.0
    found = back(torch.cat([middle, nearest[:, None]], -1)[:, None])[:, 0]
    torch.testing.assert_close(found, torch.from_numpy(balls), atol=1.5, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 1.0), st.floats(0.1, 1.0))
def test_factors_keep_to_their_range(seed: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    _, back = made(share=1.0, factor=(low, high))(maps(8), seeded(seed))
    found = factors(back, 8)[:, :2]
    assert ((found >= low - 1e-9) & (found <= high + 1e-9)).all()


def test_factors_differ_between_images_and_axes() -> None:
    found = factors(made(share=1.0)(maps(64), seeded())[1], 64)[:, :2]
    assert found.flatten().unique().numel() == 128
    assert 0.82 < found.mean() < 0.88


def test_half_of_the_steps_are_left_as_they_are() -> None:
    depth, shrunk = maps(), 0
    for seed in range(200):
        seen, back = made()(depth, seeded(seed))
        same = torch.equal(seen, depth)
        assert same == bool((factors(back, 3) == 1).all())
        shrunk += not same
    assert 75 < shrunk < 125
    for seed in range(20):
        assert torch.equal(made(share=0.0)(depth, seeded(seed))[0], depth)
    assert torch.equal(made(share=1.0, factor=(1.0, 1.0))(depth, seeded())[0], depth)


def test_it_follows_from_its_generator_alone_and_its_way_back_has_gradients() -> None:
    torch.manual_seed(1)
    one, _ = made(share=1.0)(maps(), seeded(3))
    torch.manual_seed(2)
    again, back = made(share=1.0)(maps(), seeded(3))
    assert torch.equal(one, again)
    points = torch.randn(3, 4, 3, dtype=torch.float64, generator=seeded(), requires_grad=True)
    assert torch.autograd.gradcheck(back, points)


def test_meta() -> None:
    seen, back = made()(torch.empty(3, 32, 32, device="meta"), seeded())
    assert seen.device.type == "meta"
    assert back(torch.empty(3, 41, 3, device="meta")).shape == (3, 41, 3)


@pytest.mark.parametrize("factor", [(0.9, 0.8), (0.0, 1.0), (0.8, 1.2)])
def test_factors_that_make_no_sense_are_refused(factor: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"needs 0.1 <= smallest <= largest <= 1"):
        made(factor=factor)
