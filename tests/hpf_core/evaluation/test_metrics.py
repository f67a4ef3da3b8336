"""Metrics against plain loops, by their properties, and what they refuse."""

from __future__ import annotations

import json
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpf_core.errors import DataError, RunError
from hpf_core.evaluation.metrics import CURVE_MM, Measured, area_under_curve, measure, success_curve

NAMES = ("tip", "knuckle", "palm")
poses = arrays(np.float64, (6, 3, 3), elements=st.floats(-100, 100, width=32))


def _measure(predicted: np.ndarray, truth: np.ndarray, **more: object) -> Measured:
    return measure(predicted, truth, joint_names=NAMES, fingertips=(0,), **more)  # type: ignore[arg-type]


def _by_loops(predicted: np.ndarray, truth: np.ndarray) -> dict[str, object]:
    """The same figures, one number at a time."""
    errors = [
        [
            math.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(p, t, strict=True)))
            for p, t in zip(ps, ts, strict=True)
        ]
        for ps, ts in zip(predicted, truth, strict=True)
    ]
    flat = [error for frame in errors for error in frame]
    return {
        "mean": sum(flat) / len(flat),
        "median": statistics.median(flat),
        "success": {t: sum(all(e <= t for e in frame) for frame in errors) / len(errors) for t in (20, 30, 40, 50)},
        "fingertip": sum(frame[0] for frame in errors) / len(errors),
        "per_joint": [sum(frame[k] for frame in errors) / len(errors) for k in range(len(errors[0]))],
        "curve_max": [sum(max(frame) <= t for frame in errors) / len(errors) for t in range(81)],
        "curve_mean": [sum(sum(frame) / len(frame) <= t for frame in errors) / len(errors) for t in range(81)],
    }


def test_agrees_with_plain_loops() -> None:
    draw = np.random.default_rng(3)
    truth = draw.normal(0, 60, (57, 3, 3))
    predicted = truth + draw.normal(0, 18, truth.shape) * draw.uniform(0.1, 2.5, (57, 1, 1))
    found, expected = _measure(predicted, truth), _by_loops(predicted, truth)
    assert found.success == pytest.approx(expected["success"])
    assert 0 < found.success[20] < found.success[30] < found.success[50]  # the case tells the thresholds apart
    for name in ("mean", "median", "fingertip", "per_joint", "curve_max", "curve_mean"):
        np.testing.assert_allclose(getattr(found, name), expected[name], rtol=1e-12, err_msg=name)
    assert found.frames == 57


def test_threshold_itself_counts_as_a_success() -> None:
    truth = np.zeros((1, 3, 3))
    predicted = truth.copy()
    predicted[0, 1, 2] = 20.0
    assert _measure(predicted, truth).success[20] == 1.0
    predicted[0, 1, 2] = np.nextafter(20.0, 21.0)
    assert _measure(predicted, truth).success == {20: 0.0, 30: 1.0, 40: 1.0, 50: 1.0}


@given(poses, poses)
@settings(max_examples=60, deadline=None)
def test_success_rises_with_the_threshold(predicted: np.ndarray, truth: np.ndarray) -> None:
    found = _measure(predicted, truth)
    assert (np.diff(found.curve_max) >= 0).all()
    assert (np.diff(found.curve_mean) >= 0).all()
    # A frame's mean is never above its worst joint; a hair is left for the rounding of a mean of equal numbers.
    assert (success_curve(found.frame_mean, CURVE_MM + 1e-9) >= found.curve_max).all()
    assert [found.curve_max[t] for t in found.success] == list(found.success.values())


@given(poses, poses, st.permutations(range(6)))
@settings(max_examples=60, deadline=None)
def test_order_of_frames_does_not_matter(predicted: np.ndarray, truth: np.ndarray, order: list[int]) -> None:
    found, mixed = _measure(predicted, truth), _measure(predicted[order], truth[order])
    assert mixed.mean == pytest.approx(found.mean, rel=1e-12)
    assert mixed.median == found.median
    assert mixed.success == found.success
    np.testing.assert_array_equal(mixed.frame_max, found.frame_max[order])


@given(poses)
@settings(max_examples=30, deadline=None)
def test_perfect_prediction_is_zero(truth: np.ndarray) -> None:
    found = _measure(truth, truth)
    assert (found.mean, found.median, found.fingertip) == (0.0, 0.0, 0.0)
    assert found.curve_max.min() == 1.0


@given(poses, arrays(np.float64, 3, elements=st.floats(-70, 70, width=32)))
@settings(max_examples=60, deadline=None)
def test_moving_everything_costs_just_that(truth: np.ndarray, shift: np.ndarray) -> None:
    found = _measure(truth + shift, truth)
    length = float(np.linalg.norm(shift))
    np.testing.assert_allclose([found.mean, found.median, *found.per_joint], length, atol=1e-9)


def test_subjects_are_measured_apart() -> None:
    truth = np.zeros((5, 3, 3))
    predicted = truth.copy()
    predicted[:2, :, 0], predicted[2:, :, 0] = 10.0, 25.0
    found = _measure(
        predicted, truth, subject=np.array([7, 7, 1, 1, 1]), subject_names={7: "first", 1: "second", 9: "absent"}
    )
    assert list(found.subjects) == ["second", "first"]
    assert (found.subjects["first"].frames, found.subjects["second"].frames) == (2, 3)
    assert (found.subjects["first"].mean, found.subjects["second"].mean, found.mean) == (10.0, 25.0, 19.0)
    assert found.subjects["first"].success[20] == 1.0
    assert found.subjects["second"].success[20] == 0.0


def test_document_has_the_fields_of_a_summary_and_is_json() -> None:
    truth = np.zeros((4, 3, 3))
    found = measure(
        truth + 3.0,
        truth,
        joint_names=NAMES,
        subject=np.zeros(4, int),
        subject_names={0: "one"},
    ).document()
    assert list(found) == [
        *("joints", "frames", "mean_error_mm", "median_error_mm", "success", "fingertip_error_mm", "per_joint_mm"),
        *("auc", "subjects"),
    ]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["joints"] == 3
    assert found["frames"] == 4
    assert found["fingertip_error_mm"] is None
    assert found["success"] == {"20": 1.0, "30": 1.0, "40": 1.0, "50": 1.0}
    assert found["per_joint_mm"] == dict.fromkeys(NAMES, round(math.sqrt(27), 6))
    assert found["subjects"]["one"]["mean_error_mm"] == found["mean_error_mm"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_an_error_and_never_a_number(bad: float) -> None:
    good, broken = np.zeros((4, 3, 3)), np.zeros((4, 3, 3))
    broken[2, 1, 0] = bad
    with pytest.raises(RunError, match=r"prediction of joint knuckle in frame 2 .*1 of 4"):
        _measure(broken, good)
    with pytest.raises(DataError, match="annotation of joint knuckle in frame 2"):
        _measure(good, broken)


def test_overflow_is_an_error_and_never_a_number() -> None:
    with pytest.raises(RunError, match="error of joint tip in frame 0"):
        _measure(np.full((1, 3, 3), 1e200), np.zeros((1, 3, 3)))


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (np.zeros((0, 3, 3)), np.zeros((0, 3, 3)), "The annotation is empty"),
        (np.zeros((4, 3, 3)), np.zeros((5, 3, 3)), r"\(4, 3, 3\), but the annotation \(5, 3, 3\)"),
        (np.zeros((4, 3)), np.zeros((4, 3)), r"expected \(frames, joints, 3\)"),
        (np.zeros((4, 2, 3)), np.zeros((4, 2, 3)), "2 joints need as many different names"),
    ],
)
def test_shapes_that_do_not_match_are_errors(predicted: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _measure(predicted, truth)


def test_fingertips_and_subjects_must_make_sense() -> None:
    zeros = np.zeros((4, 3, 3))
    with pytest.raises(DataError, match="Fingertip 3 isn't one of the joints 0 to 2"):
        measure(zeros, zeros, joint_names=NAMES, fingertips=(0, 3))
    with pytest.raises(DataError, match="4 frames"):
        _measure(zeros, zeros, subject=np.zeros(3, int))
    with pytest.raises(DataError, match="Subject 5 occurs"):
        _measure(zeros, zeros, subject=np.full(4, 5), subject_names={0: "one"})
    with pytest.raises(DataError, match="Two subjects are named 'one'"):
        _measure(zeros, zeros, subject=np.array([0, 1, 0, 1]), subject_names={0: "one", 1: "one"})


def test_area_under_the_curve_is_that_of_the_staircase() -> None:
    errors = np.random.default_rng(3).gamma(2.0, 15.0, 500)
    fine = np.linspace(0, 80, 80_001)
    by_integration = success_curve(errors, fine)[:-1].mean()
    assert area_under_curve(errors) == pytest.approx(by_integration, abs=1e-4)
    assert area_under_curve(np.zeros(3)) == 1.0
    assert area_under_curve(np.full(3, 80.0)) == area_under_curve(np.full(3, 1e9)) == 0.0
    assert area_under_curve(np.array([20.0, 60.0])) == pytest.approx(0.5)
