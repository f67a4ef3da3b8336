"""Success curves, errors by joint, frames before and after: what they show, in colours with one meaning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from looking import count, pixels_of, texts_of

from hpf_core.evaluation.metrics import CURVE_MM, success_curve
from hpf_core.figures.colours import CONTROL, FIT, INIT, OTHERS, QUIET, LineLook, stage_looks
from hpf_core.figures.errors import before_after_figure, joint_errors_figure
from hpf_core.figures.of_run import RunData, figures_of_run
from hpf_core.figures.style import write_figure
from hpf_core.figures.success import Curve, success_figure


def _errors(mean: float, frames: int = 300) -> np.ndarray:
    return np.random.default_rng(int(mean)).gamma(5.0, mean / 5.0, frames)


def _curves(*means: float) -> list[Curve]:
    return [Curve(f"result {mean}", success_curve(_errors(mean))) for mean in means]


def test_success_curves_has_a_line_for_each(tmp_path: Path) -> None:
    figure = success_figure(_curves(10, 20, 30), CURVE_MM, "three", "simulated data: test")
    pixels = pixels_of(figure, tmp_path / "new" / "s.png")
    assert all(count(pixels, colour) > 200 for colour in OTHERS[:3])
    assert count(pixels, OTHERS[3]) < 60  # where two lines cross
    assert "% of frames" in texts_of(figure)
    assert "three\nsimulated data: test" in texts_of(figure)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["s.png"]  # nothing half-written is left


def test_published_points_and_bands(tmp_path: Path) -> None:
    (plain,) = _curves(20)
    band = Curve("band", plain.shares, LineLook(FIT), plain.shares * 0.8, plain.shares, published=0.5)
    without = pixels_of(success_figure([plain], CURVE_MM, "t"), tmp_path / "a.png")
    points = {"theirs": {20: 0.4, 40: 0.9}}
    both = pixels_of(success_figure([band], CURVE_MM, "t", points=points), tmp_path / "b.png")
    assert count(both, QUIET) > count(without, QUIET) + 100
    assert count(both, "#D8E9F3") > 1000  # 15 % of the fit's blue on white


def test_same_data_make_the_same_file(tmp_path: Path) -> None:
    one, two = (
        write_figure(tmp_path / name, success_figure(_curves(10), CURVE_MM, "t")).read_bytes()
        for name in ("1.png", "2.png")
    )
    assert one == two


@pytest.mark.parametrize("with_control", [False, True])
def test_before_and_after(tmp_path: Path, with_control: bool) -> None:
    before, control = _errors(30), _errors(25)
    after = before * np.random.default_rng(0).uniform(0.3, 1.2, len(before))
    others = {"control": control} if with_control else {}
    looks = stage_looks(["init", "fit", "control"], ["init", "fit"], {"control": "fit"})
    figure = before_after_figure(before, after, ("init", "fit"), "t", others=others, looks=looks)
    pixels = pixels_of(figure, tmp_path / "e.png")
    assert count(pixels, FIT) > 200
    assert count(pixels, INIT) > 100
    assert (count(pixels, CONTROL) > 200) == with_control
    share = (after < before).mean()
    assert f"better after fit: {share:.0%}" in texts_of(figure)


def test_before_and_after_of_one_perfect_frame(tmp_path: Path) -> None:
    figure = before_after_figure(np.zeros(1), np.zeros(1), ("init", "fit"), "t")
    assert count(pixels_of(figure, tmp_path / "e.png"), FIT) > 0


def test_before_and_after_of_many_frames_says_how_many_are_drawn() -> None:
    figure = before_after_figure(_errors(30, 8252), _errors(20, 8252), ("init", "fit"), "t")
    assert "each of 8,252 frames (2,000 drawn)" in texts_of(figure)


@pytest.mark.parametrize("joints", [1, 14, 41])
def test_bars_are_as_long_as_the_errors(tmp_path: Path, joints: int) -> None:
    names = [f"JOINT_{k}" for k in range(joints)]
    figure = joint_errors_figure({"a": np.full(joints, 5.0), "b": [10.0] * joints}, names, "t")
    pixels = pixels_of(figure, tmp_path / "j.png")
    ratio = count(pixels, OTHERS[1]) / count(pixels, OTHERS[0])
    assert 1.7 < ratio < 2.2  # the legend's two patches are alike


def test_joints_have_the_names_that_people_use() -> None:
    figure = joint_errors_figure({"fit": [1.0, 2.0]}, ["F3_KNU3_A", "PALM_3"], "t")
    assert {"middle tip", "palm centre", "all joints"} <= set(texts_of(figure))


def test_stages_have_one_colour_each_in_all_figures() -> None:
    looks = stage_looks(
        ["init", "pretrain", "fit", "control"], ["init", "pretrain", "fit"], {"control": "fit", "other": "pretrain"}
    )
    assert (looks["init"].colour, looks["fit"].colour, looks["control"].colour) == (INIT, FIT, CONTROL)
    assert looks["pretrain"].colour in OTHERS
    # A stage that was trained, but not yet measured.
    assert stage_looks(["init", "fit"], [], {})["fit"].colour == FIT


def _run(**changed: object) -> RunData:
    document = {"data": "simulated", "split": "test", "simulated": True, "frames": 50, "joints": 2}
    document["per_joint_mm"] = {"F3_KNU3_A": 4.0, "PALM_3": 2.0}
    errors = np.random.default_rng(0).gamma(4.0, 2.0, (50, 2))
    given = {
        "name": "tiny",
        "stages": ["init", "fit", "control"],
        "chain": ["init", "fit"],
        "controls": {"control": "fit"},
        "metrics": [{"stage": "fit", "step": k, "loss": 9 / k, "raw": {"m2d": 1.0}} for k in range(1, 30)],
        "trained_on": "simulated data",
        "evaluations": dict.fromkeys(("init", "fit", "control"), document),
        "errors": {"init": 2 * errors, "fit": errors, "control": 1.5 * errors},
    }
    return RunData(**(given | changed))  # type: ignore[arg-type]


def test_the_figures_of_a_run_say_that_data_are_simulated() -> None:
    figures = {name: draw() for name, draw in figures_of_run(_run()).items()}
    assert set(figures) == {"success", "joints", "before_after", "training", "terms", "gradients"}
    assert figures["terms"] is None  # no row has weighted terms
    for name in ("success", "joints", "before_after", "training"):
        figure = figures[name]
        assert figure is not None
        assert any(text.startswith("tiny: ") and "simulated data" in text for text in texts_of(figure))


def test_a_run_that_was_killed_has_the_figures_of_what_there_is() -> None:
    assert set(figures_of_run(_run(errors={}, evaluations={}, chain=[]))) == {"training", "terms", "gradients"}
    assert figures_of_run(_run(errors={}, evaluations={}, metrics=[])) == {}
    shorter = {"init": np.ones((50, 2)), "fit": np.ones((3, 2))}
    assert "before_after" not in figures_of_run(_run(errors=shorter))
