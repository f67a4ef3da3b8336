"""Cameras with distortion, rigs, and their mirror images."""

import numpy as np
import pytest

from hpf_core.data.cameras import PRIMESENSE, Camera, Rig
from hpf_core.errors import InputError

BENT = {
    4: (-0.28, 0.07, 0.0008, -0.0012),
    5: (0.12, -0.25, -0.001, 0.0015, 0.12),
    8: (6.1, 3.2, 0.0004, -0.0002, 0.15, 6.4, 4.9, 0.9),  # of the size that Azure Kinect's depth cameras have
}


def bent(numbers: int, **other: float) -> Camera:
    return Camera(320, 240, **{"fx": 252.3, "fy": 251.9, "cx": 161.4, "cy": 118.7} | other, distortion=BENT[numbers])


def by_hand(k: tuple[float, ...], x: float, y: float) -> tuple[float, float]:
    """OpenCV's formula, written out once more."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (*k, *[0.0] * (8 - len(k)))
    r2 = x**2 + y**2
    s = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return x * s + 2 * p1 * x * y + p2 * (r2 + 2 * x**2), y * s + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y


@pytest.mark.parametrize("numbers", BENT)
def test_distortion_is_opencvs(numbers: int) -> None:
    camera, (x, y, z) = bent(numbers), (120.0, -75.0, 640.0)
    a, b = by_hand(camera.distortion, x / z, y / z)
    expected = [a * camera.fx + camera.cx, b * camera.fy + camera.cy, z]
    np.testing.assert_allclose(camera.project([x, y, z]), expected, rtol=1e-14)


@pytest.mark.parametrize("numbers", BENT)
def test_every_pixel_comes_back(numbers: int) -> None:
    camera = bent(numbers)
    x, y = camera.rays()
    assert np.isfinite(x).all()
    seen = camera.project(np.stack([x, y, np.ones_like(x)], axis=-1) * 700.0)
    u, v = np.meshgrid(np.arange(320), np.arange(240))
    np.testing.assert_allclose(seen[..., 0], u, atol=1e-8)
    np.testing.assert_allclose(seen[..., 1], v, atol=1e-8)


def test_pixels_beyond_the_models_range_are_no_numbers() -> None:
    camera = Camera(640, 480, fx=200, fy=200, cx=320, cy=240, distortion=(-0.6, 0.0, 0.0, 0.0))
    x, _ = camera.rays()  # this lens folds back at a radius of 0.75, 100 pixels from the middle
    assert np.isfinite(x[240, 330])
    assert np.isnan(x[0, 0])
    assert np.isnan(camera.unproject([0.0, 0.0, 500.0])).any()


def test_without_distortion_rays_are_the_pinholes() -> None:
    x, y = PRIMESENSE.rays()
    np.testing.assert_array_equal(x[7], (np.arange(640) - 320.0) / 588.03)
    np.testing.assert_array_equal(y[:, 9], (np.arange(480) - 240.0) / 587.07)
    np.testing.assert_allclose(PRIMESENSE.unproject(PRIMESENSE.project([10.0, -20, 600])), [10, -20, 600])


@pytest.mark.parametrize("numbers", BENT)
def test_a_mirrored_camera_sees_the_mirrored_point_in_the_mirrored_column(numbers: int) -> None:
    camera, point = bent(numbers, cx=161.4), np.array([90.0, 60.0, 500.0])
    u, v, z = camera.project(point)
    np.testing.assert_allclose(camera.mirrored().project(point * [-1, 1, 1]), [319 - u, v, z], rtol=1e-13)
    assert camera.mirrored().mirrored() == camera
    assert camera.mirrored().cx == 157.6


def pose(turn_deg: float, shift: tuple[float, float, float]) -> np.ndarray:
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    return np.array([[c, 0, s, shift[0]], [0, 1, 0, shift[1]], [-s, 0, c, shift[2]], [0, 0, 0, 1]])


def test_a_mirrored_rig_puts_the_mirrored_point_where_the_mirrored_scene_has_it() -> None:
    rig = Rig((PRIMESENSE, bent(5)), np.stack([np.eye(4), pose(25, (300, -20, 40))]), hand="left")
    point, flip = np.array([40.0, -30, 620, 1]), np.array([-1, 1, 1, 1])
    other = rig.mirrored()
    assert other.hand == "right"
    for before, after in zip(rig.poses, other.poses, strict=True):
        np.testing.assert_array_equal(after @ (point * flip), (before @ point) * flip)
        assert np.linalg.det(after[:3, :3]) == pytest.approx(1)
    np.testing.assert_array_equal(other.mirrored().poses, rig.poses)


def test_some_cameras_of_a_rig_are_a_rig_in_the_first_ones_frame() -> None:
    rig = Rig((PRIMESENSE,) * 3, np.stack([np.eye(4), pose(25, (300, -20, 40)), pose(-40, (-200, 0, 60))]))
    part, point = rig.take([2, 1]), np.array([40.0, -30, 620, 1])
    assert part.names == ("3", "2")
    np.testing.assert_allclose(rig.poses[2] @ part.poses[1] @ point, rig.poses[1] @ point)
    np.testing.assert_array_equal(rig.take([0, 2]).poses[1], rig.poses[2])


def test_one_camera_needs_no_pose() -> None:
    np.testing.assert_array_equal(Rig((PRIMESENSE,)).poses, np.eye(4)[None])


def test_a_rig_without_poses_names_the_command_that_finds_them() -> None:
    with pytest.raises(InputError, match=r"a/rig\.yaml has 2 cameras without `to_rig`.*own-cameras"):
        _ = Rig((PRIMESENSE,) * 2, where="a/rig.yaml").poses


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.diag([-1.0, 1, 1, 1]), "left-handed"),
        (np.diag([0.0, 1, 1, 1]), "singular"),
        (np.diag([2.0, 2, 2, 1]), "isn't rigid"),
        (pose(25, (300, -20, 40)).T, "last row"),
        (np.full((4, 4), np.nan), "finite numbers"),
    ],
)
def test_maps_that_no_rig_can_have(wrong: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=rf"camera 'side' .*{said}"):
        Rig((PRIMESENSE,) * 2, np.stack([np.eye(4), wrong]), names=("middle", "side"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"fx": 0.0}, "focal lengths"),
        ({"cy": float("nan")}, "finite numbers"),
        ({"width": 0}, "1 or more pixels"),
        ({"distortion": (0.1, 0.2, 0.3)}, "has 3 distortion coefficients"),
    ],
)
def test_cameras_that_cannot_be(wrong: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Camera(**{"width": 640, "height": 480, "fx": 500.0, "fy": 500.0, "cx": 320.0, "cy": 240.0} | wrong)


@pytest.mark.parametrize("names", [("a", "a"), ("a",)])
def test_each_camera_needs_a_name_of_its_own(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="one of its own"):
        Rig((PRIMESENSE,) * 2, names=names)
