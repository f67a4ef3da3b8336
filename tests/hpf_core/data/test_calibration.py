"""Calibration from annotated joints: exact where the annotation is, and steady where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpf_core.data.calibration import Calibration, calibrate
from hpf_core.errors import DataError
from hpf_core.simulation.rigs import arc


def annotated(frames: int = 120, noise_mm: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Joints (3, frames, 36, 3) as three cameras see them, and the cameras' true poses."""
    rng = np.random.default_rng(0)
    rig = arc(3, 850.0, 40.0)
    points = rng.normal(size=(frames, 36, 3)) * [40, 50, 20] + rng.normal(size=(frames, 1, 3)) * 40 + [0, 0, 850]
    seen = np.stack([points @ pose[:3, :3].T + pose[:3, 3] for pose in rig.from_rig])
    return seen + rng.normal(size=seen.shape) * noise_mm, rig.to_rig


def worst_mm(found: np.ndarray, true: np.ndarray) -> float:
    """How far a point within 150 mm of the hand's place is moved at most."""
    corners = np.stack(np.meshgrid(*([[-150.0, 150.0]] * 3)), -1).reshape(-1, 3) + np.array([0.0, 0.0, 850.0])
    return float(np.linalg.norm(corners @ (found - true)[:3, :3].T + (found - true)[:3, 3], axis=1).max())


def test_finds_the_rig_to_a_tenth_of_a_millimetre_with_a_fifth_of_the_frames_wrong() -> None:
    xyz, true = annotated(noise_mm=0.5)
    rng = np.random.default_rng(1)
    wrong = rng.choice(120, 24, replace=False)
    xyz[1, wrong] += rng.normal(size=(24, 1, 3)) * 60 + 40
    xyz[2, wrong[:12]] = xyz[2, wrong[:12], ::-1]  # joints swapped
    found = calibrate(xyz, (0, 1, 2))
    assert worst_mm(found.to_rig[1], true[1]) < 0.1
    assert worst_mm(found.to_rig[2], true[2]) < 0.1
    np.testing.assert_allclose(found.outliers, [0, 0.2, 0.1], atol=0.01)
    assert found.residual_mm[0] == 0
    assert 0.3 < found.residual_mm[1] < 3


def test_views_can_be_chosen_and_the_first_is_the_rigs_frame() -> None:
    xyz, true = annotated()
    found = calibrate(xyz, (2, 0))
    np.testing.assert_array_equal(found.to_rig[0], np.eye(4))
    assert worst_mm(found.to_rig[1], np.linalg.inv(true[2]) @ true[0]) < 1e-6


def test_never_fits_a_reflection() -> None:
    xyz, _ = annotated()
    xyz[1] *= [-1, 1, 1]
    found = calibrate(xyz, (0, 1))
    assert np.linalg.det(found.to_rig[1][:3, :3]) == pytest.approx(1)
    assert found.residual_mm[1] > 5


def test_frames_that_are_not_annotated_do_not_matter() -> None:
    xyz, true = annotated()
    xyz[1, ::3] = np.nan
    assert worst_mm(calibrate(xyz, (0, 1)).to_rig[1], true[1]) < 1e-6
    xyz[1] = np.nan
    with pytest.raises(DataError, match="the annotation: no frame is annotated both in view 2 and in view 1"):
        calibrate(xyz, (0, 1))


def test_joints_that_determine_no_map_are_named_by_file_and_view() -> None:
    xyz, _ = annotated()
    xyz[2] = 500 + np.arange(xyz.shape[2])[:, None] * [0.0, 0.0, 1.0]
    with pytest.raises(DataError, match=r"^labels\.mat: view 3 compared with view 1: .* determine no rotation"):
        calibrate(xyz, (0, 1, 2), "labels.mat")


def test_a_view_that_is_not_annotated_is_an_error() -> None:
    with pytest.raises(DataError, match=r"labels\.mat: 3 views are annotated, but view 5"):
        calibrate(annotated()[0], (0, 4), "labels.mat")


def test_a_saved_calibration_is_read_back_bit_by_bit(tmp_path: Path) -> None:
    xyz, _ = annotated(noise_mm=0.5)
    found = calibrate(xyz, (0, 1, 2))
    path = tmp_path / "there" / "calibration.json"
    found.save(path)
    again = Calibration.load(path)
    np.testing.assert_array_equal(again.to_rig, found.to_rig)
    assert again.views == found.views
    assert again.annotated == xyz.shape[1]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"views": [0]}', '{"views": [0], "to_rig": 1, "residual_mm": [], "outliers": []}']
)
def test_a_damaged_calibration_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"calibration\.json"):
        Calibration.load(path)
