"""Curves over the steps: a panel for each thing that was logged and none that is empty, controls beside their stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looking import count, pixels_of, texts_of
from matplotlib.axes import Axes

from hpf_core.figures.colours import CONTROL, FIT, stage_looks
from hpf_core.figures.training import _starts, terms_figure, training_figure

CONTROLS = {"control": "fit"}
LOOKS = stage_looks(["init", "pretrain", "fit", "control"], ["init", "fit"], CONTROLS)


def _rows(stage: str, count: int = 60, **raw: Any) -> list[dict[str, Any]]:
    return [
        {"stage": stage, "step": k, "loss": 9 / k, "raw": {"supervised": 9 / k, **raw}, "weighted": {"supervised": 0.5}}
        for k in range(1, count + 1)
    ]


def _titles(figure: Any) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.findobj(Axes)]


def test_a_control_is_drawn_beside_its_stage_not_after_it(tmp_path: Path) -> None:
    rows = [*_rows("pretrain", 30), *_rows("fit", 60, m2d=2.0), *_rows("control", 60)]
    assert _starts(rows, CONTROLS) == {"pretrain": 0.0, "fit": 30.0, "control": 30.0}
    figure = training_figure(rows, CONTROLS, LOOKS, "tiny", "simulated data")
    assert figure is not None
    pixels = pixels_of(figure, tmp_path / "t.png")
    assert count(pixels, FIT) > 200
    assert count(pixels, CONTROL) > 200
    assert {"pretrain", "fit", "control", "step"} <= set(texts_of(figure))
    assert max(axes.get_xlim()[1] for axes in figure.findobj(Axes)) == 90.0


@pytest.mark.parametrize("terms", range(12))
def test_no_panel_is_empty(terms: int) -> None:
    rows = _rows("fit", 10, **{f"term{k}": 1.0 + k for k in range(terms)})
    figure = training_figure(rows, {}, LOOKS, "tiny")
    assert figure is not None
    panels = figure.findobj(Axes)
    assert len(panels) == 2 + terms
    assert all(axes.get_visible() and axes.lines for axes in panels)
    # Nor is a place without a panel: the last panel of each row ends at the figure's right.
    figure.draw_without_rendering()
    ends = {
        round(axes.bbox.y0): max(other.bbox.x1 for other in panels if abs(other.bbox.y0 - axes.bbox.y0) < 20)
        for axes in panels
    }
    assert min(ends.values()) > 0.95 * figure.bbox.width


def test_what_is_always_0_is_named_instead_of_drawn() -> None:
    figure = training_figure(_rows("fit", collision=0.0, gone=None, lost=float("nan")), {}, LOOKS, "tiny", "about")
    assert figure is not None
    assert not any("collision" in title for title in _titles(figure))
    assert "tiny\nabout; 0 at every step: term collision" in texts_of(figure)
    assert not any("gone" in text or "lost" in text for text in texts_of(figure))


def test_nothing_logged_is_no_figure() -> None:
    assert training_figure([], {}, LOOKS, "tiny") is None
    assert terms_figure(_rows("fit"), "gradient", {}, "tiny") is None


def test_a_panel_for_each_stage_has_a_curve_for_each_term(tmp_path: Path) -> None:
    rows = [*_rows("fit"), *_rows("control")]
    for row in rows[:60]:
        row["weighted"]["m2d"] = row["step"] % 2
    figure = terms_figure(rows, "weighted", CONTROLS, "tiny")
    assert figure is not None
    pixels_of(figure, tmp_path / "t.png")
    assert {"stage fit", "stage control", "supervised", "m2d"} <= set(texts_of(figure))
    steps = [line.get_xdata() for axes in figure.findobj(Axes) for line in axes.lines]
    assert any(np.array_equal(found, np.arange(1, 61, 2)) for found in steps)  # without the zeros
