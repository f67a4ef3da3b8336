"""The fit sheet shows estimates, the truth, renders, differences, and what the loss ignores; hands fill their tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from looking import count, pixels_of, texts_of

from hpf_core.errors import DataError
from hpf_core.figures.colours import FIT, IGNORED, INIT, TRUTH
from hpf_core.figures.drawing import to_pixels, window
from hpf_core.figures.fit_sheet import FitRow, SheetLook, fit_sheet, one_view, sheet_legend

SIZE = 32
LOOK = SheetLook(links=((0, 1), (1, 2)), names=("init", "fit"))


def _row(shift: float, views: int = 3, before: bool = False, truth: bool = False, title: str = "frame 7") -> FitRow:
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
        truth=np.stack([to_pixels(centres, SIZE, 300.0)] * views) if truth else None,
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


def test_a_window_holds_what_is_to_be_seen_and_little_else() -> None:
    inside = np.zeros((64, 64), dtype=bool)
    inside[20:40, 10:22] = True
    left, top, side = window((64, 64), [inside], [np.array([[30.5, 30.5], [np.nan, 35.0]])])
    assert left <= 0.01  # the point without a column counts as at column 0
    left, top, side = window((64, 64), [inside], [np.array([[30.5, 30.5]])])
    assert left <= 10
    assert left + side >= 31
    assert top <= 20
    assert top + side >= 40
    assert side < 26
    assert window((64, 64), [], []) == (0.0, 0.0, 64.0)


def test_it_shows_points_render_and_difference(tmp_path: Path) -> None:
    pixels = pixels_of(fit_sheet([_row(6.0), _row(2.0)], LOOK, "t", "simulated data"), tmp_path / "f.png")
    assert count(pixels, FIT) > 200
    assert count(pixels, INIT) == 0
    # A sphere 6 mm to the side: beyond the scale at its rims, on one side nearer, on the other farther.
    assert count(pixels, "#053061") > 50
    assert count(pixels, "#67001f") > 50
    # The sheet grows with its rows instead of squeezing them.
    taller = pixels_of(fit_sheet([_row(6.0)] * 4, LOOK, "t"), tmp_path / "g.png")
    assert taller.shape[0] > pixels.shape[0] + 200
    assert taller.shape[1] == pixels.shape[1]


def test_it_compares_with_an_earlier_estimate_and_the_truth(tmp_path: Path) -> None:
    figure = fit_sheet([_row(3.0, before=True, truth=True)], LOOK, "t", "simulated data")
    pixels = pixels_of(figure, tmp_path / "g.png")
    assert count(pixels, INIT) > 100
    assert count(pixels, FIT) > 100
    assert count(pixels, TRUTH) > 100
    assert count(pixels, "#67001f") > 20  # the difference is there too
    assert {"init", "fit", "render", "difference", "frame 7", "t", "simulated data"} <= set(texts_of(figure))


def test_what_the_loss_ignores_is_shown_as_ignored(tmp_path: Path) -> None:
    row = _row(0.0, views=1)
    half = np.zeros((1, SIZE, SIZE), dtype=bool)
    half[:, SIZE // 2 :] = True
    plain = pixels_of(fit_sheet([row], LOOK), tmp_path / "a.png")
    figure = fit_sheet([replace(row, ignored=half)], LOOK)
    marked = pixels_of(figure, tmp_path / "b.png")
    assert count(plain, IGNORED) == 0
    assert count(marked, IGNORED) > 500
    assert "ignored by the loss (forearm)" in texts_of(figure)


def test_of_one_view_and_of_nothing_seen(tmp_path: Path) -> None:
    one = pixels_of(fit_sheet([_row(3.0, views=1)], LOOK), tmp_path / "f.png")
    assert count(one, FIT) > 0
    empty = FitRow(
        "nothing", *(np.full((2, SIZE, SIZE), 150.0),) * 2, np.full((2, 3, 2), 16.0), present=np.zeros(2, bool)
    )
    figure = fit_sheet([empty], LOOK)
    assert texts_of(figure).count("no view") == 2 * 3


def test_a_page_takes_single_views_with_one_legend(tmp_path: Path) -> None:
    row = _row(3.0, before=True, truth=True)
    first = one_view(row, 0, LOOK)
    assert count(pixels_of(first, tmp_path / "v.png"), TRUTH) > 50
    # Drawing on an earlier picture leaves nothing of it.
    fresh = pixels_of(one_view(row, 1, LOOK), tmp_path / "fresh.png")
    assert np.array_equal(pixels_of(one_view(row, 1, LOOK, first), tmp_path / "again.png"), fresh)
    assert {"init", "fit", "annotated joints"} <= set(texts_of(sheet_legend([row], LOOK)))


def test_rows_that_do_not_match_are_refused() -> None:
    with pytest.raises(DataError, match="at least one frame"):
        fit_sheet([], LOOK)
    with pytest.raises(DataError, match="Row 1"):
        fit_sheet([_row(1.0), _row(1.0, views=2)], LOOK)
    with pytest.raises(DataError, match="or none"):
        fit_sheet([_row(1.0), _row(1.0, before=True)], LOOK)
