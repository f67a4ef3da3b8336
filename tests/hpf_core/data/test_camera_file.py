"""Calibration files as ROS, OpenCV, Kalibr and Open3D write them, and files that can't be a camera's."""

from __future__ import annotations

import json

import pytest

from hpf_core.data.camera_file import read_camera
from hpf_core.data.cameras import Camera
from hpf_core.errors import DataError

PLAIN = Camera(640, 480, fx=588.03, fy=587.07, cx=320.5, cy=240.25)
BENT = Camera(640, 480, fx=588.03, fy=587.07, cx=320.5, cy=240.25, distortion=(0.1, -0.2, 0.001, 0.002, 0.05))

ROS = """
image_width: 640
image_height: 480
camera_name: depth
camera_matrix: {rows: 3, cols: 3, data: [588.03, 0, 320.5, 0, 587.07, 240.25, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.001, 0.002, 0.05]}
projection_matrix: {rows: 3, cols: 4, data: [500, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0]}
"""
MESSAGE = """
header: {seq: 12, frame_id: depth}
height: 480
width: 640
distortion_model: "rational_polynomial"
D: [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
K: [588.03, 0.0, 320.5, 0.0, 587.07, 240.25, 0.0, 0.0, 1.0]
---
height: 1
"""
OPENCV = """%YAML:1.0
---
calibration_time: "Tue"
image_width: 640
image_height: 480
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 588.03, 0., 320.5, 0., 587.07, 240.25, 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 5
   cols: 1
   dt: d
   data: [ 1.0e-01, -2.0e-01, 1.0e-03, 2.0e-03, 5.0e-02 ]
"""
KALIBR = """
cam0:
  camera_model: pinhole
  intrinsics: [588.03, 587.07, 320.5, 240.25]
  distortion_model: radtan
  distortion_coeffs: [0.1, -0.2, 0.001, 0.002]
  resolution: [640, 480]
cam1: {camera_model: omni}
"""
OPEN3D = json.dumps({"width": 640, "height": 480, "intrinsic_matrix": [588.03, 0, 0, 0, 587.07, 0, 320.5, 240.25, 1]})
RIG = """
format: hpf-capture/1
depth: {unit_mm: 0.125}
hand: right
cameras:
  middle: {size: [640, 480], fx: 588.03, fy: 587.07, cx: 320.5, cy: 240.25}
"""
RADTAN = Camera(640, 480, fx=588.03, fy=587.07, cx=320.5, cy=240.25, distortion=BENT.distortion[:4])


@pytest.mark.parametrize(
    ("text", "camera"),
    [(ROS, BENT), (MESSAGE, PLAIN), (OPENCV, BENT), (KALIBR, RADTAN), (OPEN3D, PLAIN)],
    ids=["ros", "message", "opencv", "kalibr", "open3d"],
)
def test_a_camera_is_read(tmp_path, text, camera):
    (tmp_path / "camera.txt").write_text(text)  # the content decides, not the name
    found = read_camera(tmp_path / "camera.txt")
    assert (found.camera, found.unit_mm) == (camera, 1.0)


def test_a_rig_has_its_unit_too(tmp_path):
    (tmp_path / "rig.yaml").write_text(RIG)
    for place in (tmp_path, tmp_path / "rig.yaml"):
        assert (read_camera(place).camera, read_camera(place).unit_mm) == (PLAIN, 0.125)


def test_zeros_of_longer_models_are_cut_and_other_coefficients_are_not(tmp_path):
    long = ROS.replace("0.05]", "0.05, 0.3, 0, 0, 0, 0, 0, 0]")
    (tmp_path / "camera.yaml").write_text(long)
    assert read_camera(tmp_path / "camera.yaml").camera.distortion == (*BENT.distortion, 0.3, 0.0, 0.0)
    (tmp_path / "camera.yaml").write_text(ROS.replace("0.05]", "0.05, 0.3, 0, 0, 0.7, 0, 0, 0]"))
    with pytest.raises(DataError, match="9 distortion coefficients"):
        read_camera(tmp_path / "camera.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROS.replace("plumb_bob", "equidistant"), "distortion model is equidistant, but HPF has only OpenCV's"),
        (MESSAGE.replace("rational_polynomial", "equidistant"), "distortion model is equidistant"),
        (ROS.replace("image_width: 640\n", ""), "it is no camera's calibration; it has image_height"),
        (ROS.replace("640", "640.5"), "image_width is 640.5, but a whole number"),
        (ROS.replace("588.03, 0, 320.5", "588.03, 2.5, 320.5"), "without skew"),
        (ROS.replace("588.03, 0,", "588.03,"), "camera_matrix has 8 numbers, but 9"),
        (ROS.replace("[588.03", "[wide"), "camera_matrix is .*wide.*, but a list of numbers"),
        (ROS.replace("588.03", "-588.03"), "focal lengths"),
        (KALIBR.replace("pinhole", "omni"), "camera model omni, but pinhole"),
        (KALIBR.replace("  resolution: [640, 480]\n", ""), "cam0 has no resolution"),
        ("- 1\n- 2\n", "is no camera's calibration. Expected: a rig.yaml, a camera of ROS"),
        ("a: [1, 2\n", "is damaged: "),
        ('{"width": 640', "is damaged: "),
        ("", "is no camera's calibration"),
    ],
)
def test_what_is_no_camera_is_named(tmp_path, text, message):
    (tmp_path / "camera.yaml").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_camera(tmp_path / "camera.yaml")
    assert "camera.yaml" in str(caught.value)


def test_missing_and_other_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.yaml is missing\. Give a rig\.yaml"):
        read_camera(tmp_path / "none.yaml")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff\x00")
    with pytest.raises(DataError, match="can't be read as a camera's calibration"):
        read_camera(tmp_path / "image.png")
