"""Figures are written, show something, and leave matplotlib's global state alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from hpf_core.errors import DataError
from hpf_core.evaluation.metrics import CURVE_MM, success_curve
from hpf_core.figures.evaluation import (
    FitRow,
    error_before_after,
    fit_sheet,
    per_joint_bars,
    success_curves,
    training_curves,
)
from hpf_core.figures.fit_sheet import to_pixels
from hpf_core.figures.style import PALETTE

SIZE = 32


@pytest.fixture(autouse=True)
def _no_global_state():
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before


def _pixels(path: Path) -> np.ndarray:
    """(h, w, 3) uint8 of a figure that is no blank page."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 250
    assert pixels.std() > 5
    return pixels


def _count(pixels: np.ndarray, colour: str) -> int:
    """How many pixels have this colour, '#rrggbb', within a little."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(pixels.astype(int) - wanted).max(axis=-1) <= 6).sum())


def _errors(mean: float, frames: int = 300) -> np.ndarray:
    return np.random.default_rng(int(mean)).gamma(5.0, mean / 5.0, frames)


def test_success_curves_has_a_line_for_each(tmp_path: Path) -> None:
    curves = {name: success_curve(_errors(mean)) for name, mean in (("a", 10), ("b", 20), ("c", 30))}
    path = success_curves(tmp_path / "new" / "s.png", curves, CURVE_MM, title="three")
    assert path == tmp_path / "new" / "s.png"
    pixels = _pixels(path)
    assert all(_count(pixels, colour) > 300 for colour in PALETTE[:3])
    assert _count(pixels, PALETTE[3]) == 0
    assert [p.name for p in path.parent.iterdir()] == ["s.png"]  # nothing half-written is left


def test_same_data_make_the_same_file(tmp_path: Path) -> None:
    curves = {"a": success_curve(_errors(10))}
    one, two = (success_curves(tmp_path / name, curves, CURVE_MM, "t").read_bytes() for name in ("1.png", "2.png"))
    assert one == two


@pytest.mark.parametrize("with_control", [False, True])
def test_before_and_after(tmp_path: Path, with_control: bool) -> None:
    before, control = _errors(30), _errors(25)
    after = before * np.random.default_rng(0).uniform(0.3, 1.2, len(before))
    pixels = _pixels(error_before_after(tmp_path / "e.png", before, after, control if with_control else None))
    assert _count(pixels, PALETTE[0]) > 300
    assert (_count(pixels, PALETTE[4]) > 300) == with_control


def test_before_and_after_of_one_perfect_frame(tmp_path: Path) -> None:
    pixels = _pixels(error_before_after(tmp_path / "e.png", np.zeros(1), np.zeros(1)))
    assert _count(pixels, PALETTE[0]) > 0


@pytest.mark.parametrize("joints", [1, 14, 41])
def test_bars_are_as_long_as_the_errors(tmp_path: Path, joints: int) -> None:
    names = [f"JOINT_{k}" for k in range(joints)]
    pixels = _pixels(per_joint_bars(tmp_path / "j.png", {"a": np.full(joints, 5.0), "b": [10.0] * joints}, names))
    ratio = _count(pixels, PALETTE[1]) / _count(pixels, PALETTE[0])
    assert 1.7 < ratio < 2.2  # the legend's two patches are alike


def _row(shift: float, views: int = 3, before: bool = False, title: str = "frame 7") -> FitRow:
    """Spheres whose estimate lies `shift` mm beside them."""
    centres = np.array([[-40.0, 20.0, 0.0], [10.0, -30.0, 30.0], [50.0, 40.0, -20.0]])
    moved = centres + np.array([shift, 0.0, 0.0])
    depth, rendered = _spheres(centres), _spheres(moved)
    points = to_pixels(moved, SIZE, 300.0)
    return FitRow(
        title=title,
        depth=np.stack([depth] * views),
        rendered=np.stack([rendered] * views),
        points=np.stack([points] * views),
        before=np.stack([points + 3.0] * views) if before else None,
        present=np.array([True] * (views - 1) + [False]) if views > 1 else None,
    )


def _spheres(centres: np.ndarray, radius: float = 30.0) -> np.ndarray:
    """(SIZE, SIZE) mm orthographic depth of spheres, 150 where nothing is."""
    axis = (np.arange(SIZE) + 0.5 - SIZE / 2) * 300.0 / SIZE
    x, y = np.meshgrid(axis, axis)
    inside = radius**2 - (x - centres[:, 0, None, None]) ** 2 - (y - centres[:, 1, None, None]) ** 2
    return np.where(inside > 0, centres[:, 2, None, None] - np.sqrt(np.maximum(inside, 0)), 150.0).min(axis=0)


def test_to_pixels_follows_the_law_of_pixel_centres() -> None:
    # Column 0 is the ray x = (0 + 0.5 - W/2) * 300 / W, and its centre is at 0.5.
    ray = (0 + 0.5 - SIZE / 2) * 300 / SIZE
    np.testing.assert_allclose(to_pixels(np.array([ray, 0.0, 12.0]), SIZE, 300.0), [0.5, SIZE / 2])


def test_fit_sheet_shows_points_render_and_difference(tmp_path: Path) -> None:
    links = ((0, 1), (1, 2))
    pixels = _pixels(fit_sheet(tmp_path / "f.png", [_row(6.0), _row(2.0)], links=links))
    assert _count(pixels, PALETTE[0]) > 200
    # A sphere 6 mm to the side: beyond the scale at its rims, on one side nearer, on the other farther.
    assert _count(pixels, "#053061") > 50
    assert _count(pixels, "#67001f") > 50
    # The sheet grows with its rows instead of squeezing them.
    taller = _pixels(fit_sheet(tmp_path / "g.png", [_row(6.0)] * 4, links=links))
    assert taller.shape[0] > pixels.shape[0] + 200
    assert taller.shape[1] == pixels.shape[1]


def test_fit_sheet_compares_with_an_earlier_estimate(tmp_path: Path) -> None:
    links = ((0, 1), (1, 2))
    plain = _pixels(fit_sheet(tmp_path / "f.png", [_row(3.0)], links=links))
    both = _pixels(fit_sheet(tmp_path / "g.png", [_row(3.0, before=True)], links=links))
    assert _count(plain, PALETTE[1]) == 0
    assert _count(both, PALETTE[1]) > 100
    assert _count(both, PALETTE[0]) > 100


def test_fit_sheet_of_one_view_and_of_nothing_seen(tmp_path: Path) -> None:
    one = _pixels(fit_sheet(tmp_path / "f.png", [_row(3.0, views=1)]))
    assert _count(one, PALETTE[0]) > 0
    empty = FitRow(
        "nothing", *(np.full((2, SIZE, SIZE), 150.0),) * 2, np.full((2, 3, 2), 16.0), present=np.zeros(2, bool)
    )
    nothing = _pixels(fit_sheet(tmp_path / "g.png", [empty]))
    assert _count(nothing, PALETTE[0]) == 0


def test_fit_sheet_refuses_rows_that_do_not_match(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one frame"):
        fit_sheet(tmp_path / "f.png", [])
    with pytest.raises(DataError, match="Row 1"):
        fit_sheet(tmp_path / "f.png", [_row(1.0), _row(1.0, views=2)])
    with pytest.raises(DataError, match="or none"):
        fit_sheet(tmp_path / "f.png", [_row(1.0), _row(1.0, before=True)])


def test_training_curves_has_a_panel_for_each_term(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"stage": "pretrain", "step": k, "loss": 9 / k, "supervised": 9 / k} for k in range(1, 101)
    ]
    few = _pixels(training_curves(tmp_path / "a.png", rows))
    for k in range(1, 31):
        more = {"supervised": 1.0, "m2d": 20 / k, "vae": -0.5, "collision": None, "d2m": float("nan")}
        rows.append({"stage": "fit", "step": k, "loss": 3.0, **more})
    more_panels = _pixels(training_curves(tmp_path / "b.png", rows))
    # loss, supervised: one row of two panels; with m2d and vae two rows of three. What was never a number has none.
    assert 1.5 * few.shape[0] < more_panels.shape[0] < 2.5 * few.shape[0]
    assert more_panels.shape[1] > 1.3 * few.shape[1]


def test_training_curves_of_nothing_logged(tmp_path: Path) -> None:
    with Image.open(training_curves(tmp_path / "a.png", [])) as image:
        assert image.size[0] > 100


def test_pyplot_is_never_imported(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np, hpf_core.figures.evaluation as f\n"
        f"f.success_curves({str(tmp_path / 's.png')!r}, {{'a': np.ones(3)}}, np.arange(3.), 't')\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
