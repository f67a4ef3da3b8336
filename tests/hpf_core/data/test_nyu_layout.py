"""NYU's raw layout, held against files that other code writes and reads."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from hpf_core.data.layouts import nyu
from hpf_core.errors import DataError


def encode_png(depth: np.ndarray) -> bytes:
    """A PNG by the book (W3C, PNG specification): 8-bit RGB, no filter; green the high byte, blue the low one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = depth.shape
    rows = b""
    for row in depth.tolist():
        rows += b"\0" + b"".join(bytes((7, value // 256, value % 256)) for value in row)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture
def depth() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2600, (480, 640)).astype(np.uint16)


def test_reads_what_another_encoder_wrote(tmp_path: Path, depth: np.ndarray) -> None:
    path = tmp_path / "depth_1_0000001.png"
    path.write_bytes(encode_png(depth))
    np.testing.assert_array_equal(nyu.read_depth(path), depth)


def test_writes_what_another_decoder_reads(tmp_path: Path, depth: np.ndarray) -> None:
    path = tmp_path / "depth.png"
    nyu.write_depth(path, depth)
    with Image.open(path) as image:
        assert (image.mode, image.size) == ("RGB", (640, 480))
        pixels = np.array(image.get_flattened_data() if hasattr(image, "get_flattened_data") else image.getdata())
    np.testing.assert_array_equal(pixels[:, 1] * 256 + pixels[:, 2], depth.ravel())


def test_names_and_numbers_of_images(tmp_path: Path) -> None:
    assert nyu.image_path(tmp_path, 2, 41).name == "depth_3_0000042.png"
    for name in ("depth_1_0000001.png", "depth_1_0000007.png", "depth_2_0000009.png", "rgb_1_0000099.png", "x.txt"):
        (tmp_path / name).touch()
    assert nyu.count_frames(tmp_path, [0]) == 7
    assert nyu.count_frames(tmp_path, [0, 1]) == 9
    assert nyu.count_frames(tmp_path, [2]) == 0


def test_joints_come_in_nyus_order() -> None:
    assert len(nyu.JOINTS) == 36
    assert nyu.JOINTS[0] == "F1_KNU3_A"
    assert nyu.JOINTS[29] == "TH_KNU1_B"
    assert nyu.JOINTS[nyu.PALM_CENTRE] == "PALM_3"
    assert [nyu.JOINTS[k] for k in nyu.EVALUATED[-3:]] == ["PALM_1", "PALM_2", "PALM_3"]


def test_annotation_turns_y_on_reading(tmp_path: Path) -> None:
    xyz = np.random.default_rng(1).normal(size=(3, 5, 36, 3)) * 50 + [0, 30, 900]  # +y up, as on disk
    names = np.array([[f"joint {k}" for k in range(36)]], dtype=object)
    scipy.io.savemat(tmp_path / "joint_data.mat", {"joint_xyz": xyz, "joint_names": names, "joint_uvd": xyz})
    found = nyu.read_annotation(tmp_path)
    np.testing.assert_array_equal(found.xyz, xyz * [1, -1, 1])
    assert found.names[3] == "joint 3"


def test_annotation_is_written_with_nyus_projection(tmp_path: Path) -> None:
    xyz = np.random.default_rng(2).normal(size=(2, 4, 36, 3)) * 50 + [0, 0, 900]  # +y down
    nyu.write_annotation(tmp_path, nyu.Annotation(xyz, nyu.JOINTS))
    stored = scipy.io.loadmat(tmp_path / "joint_data.mat")
    x, y, z = np.moveaxis(stored["joint_xyz"], -1, 0)
    np.testing.assert_allclose(y, -xyz[..., 1])
    np.testing.assert_allclose(stored["joint_uvd"][..., 0], x * 588.03 / z + 320)
    np.testing.assert_allclose(stored["joint_uvd"][..., 1], 240 - y * 587.07 / z)
    np.testing.assert_allclose(stored["joint_uvd"][..., 2], z)
    again = nyu.read_annotation(tmp_path)
    np.testing.assert_allclose(again.xyz, xyz)
    assert again.names == nyu.JOINTS


def test_bad_images_are_named(tmp_path: Path, depth: np.ndarray) -> None:
    path = tmp_path / "depth_1_0000001.png"
    with pytest.raises(DataError, match=r"depth_1_0000001\.png is missing"):
        nyu.read_depth(path)
    whole = encode_png(depth)
    for damaged in (whole[: len(whole) // 2], b"not an image", b"", whole[:40] + b"\xff" * 60 + whole[100:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"depth_1_0000001\.png is damaged"):
            nyu.read_depth(path)
    path.write_bytes(encode_png(depth[:240, :320]))
    with pytest.raises(DataError, match="320 x 240, but NYU's layout has 8-bit RGB PNG images of 640 x 480"):
        nyu.read_depth(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not an image", "not a PNG image, but 12 bytes that begin with 6e 6f 74 20 61 6e 20 69"),
        (b"GIF", "not a PNG image, but 3 bytes that begin with 47 49 46"),
        (b"", "it is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "a PNG image of 28 bytes whose header can't be read"),
        (
            encode_png(np.ones((480, 640), np.uint16))[:99],
            "it ends after 99 bytes, in the middle of a part",
        ),
    ],
)
def test_what_a_damaged_image_is_said_to_be_follows_from_its_bytes(tmp_path: Path, content: bytes, said: str) -> None:
    """The list of frames that were left out is kept: it has to be the same in every run."""
    path = tmp_path / "depth_1_0000001.png"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        nyu.read_depth(path)
    assert str(raised.value) == f"{path} is damaged: {said}."


@pytest.mark.parametrize(
    ("mode", "format", "said"),
    [
        ("L", "PNG", "an 8-bit greyscale PNG image of 640 x 480"),
        ("I;16", "PNG", "a 16-bit greyscale PNG image of 640 x 480"),
        ("P", "PNG", "a 1-bit palette PNG image of 640 x 480"),
        ("RGBA", "PNG", "an 8-bit RGBA PNG image of 640 x 480"),
        ("LA", "PNG", "an 8-bit greyscale and alpha PNG image of 640 x 480"),
        ("RGB", "JPEG", "a JPEG image"),
        ("I;16", "TIFF", "a TIFF image"),
    ],
)
def test_images_of_another_kind_are_told_from_damaged_ones(tmp_path: Path, mode: str, format: str, said: str) -> None:
    path = tmp_path / "depth_1_0000001.png"
    Image.new(mode, (640, 480)).save(path, format)
    with pytest.raises(DataError) as raised:
        nyu.read_depth(path)
    assert str(raised.value) == f"{path} is {said}, but NYU's layout has 8-bit RGB PNG images of 640 x 480."


def test_what_can_not_be_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "depth_1_0000001.png"
    path.mkdir()
    with pytest.raises(DataError, match=r"depth_1_0000001\.png is damaged: .*[Dd]irectory"):
        nyu.read_depth(path)


def test_bad_annotations_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"joint_data\.mat is missing"):
        nyu.read_annotation(tmp_path)
    path = tmp_path / "joint_data.mat"
    for content in (b"", b"no MATLAB file at all, but long enough to have a header " * 8):
        path.write_bytes(content)
        with pytest.raises(DataError, match="can't be read as a MATLAB file"):
            nyu.read_annotation(tmp_path)
    scipy.io.savemat(path, {"something": 1})
    with pytest.raises(DataError, match="joint_xyz is missing"):
        nyu.read_annotation(tmp_path)
    scipy.io.savemat(path, {"joint_xyz": np.zeros((3, 2, 21, 3))})
    with pytest.raises(DataError, match=r"shape \(3, 2, 21, 3\)"):
        nyu.read_annotation(tmp_path)


def test_annotations_of_matlab_7_3_say_how_to_save_them(tmp_path: Path) -> None:
    """MATLAB's header of 128 bytes with version 2, the signature of HDF5 at 512; or HDF5 alone, as Octave writes it."""
    path, hdf5 = tmp_path / "joint_data.mat", b"\x89HDF\r\n\x1a\n" + bytes(64)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    for content in (header.ljust(512, b"\0") + hdf5, b" " * 124 + header[124:] + bytes(384) + hdf5, hdf5):
        path.write_bytes(content)
        for read in (nyu.read_annotation, nyu.read_uvd):
            with pytest.raises(DataError, match=r"joint_data\.mat is a MATLAB 7\.3 file .* save with -v7"):
                read(tmp_path)


def test_joints_that_are_no_real_numbers_are_named(tmp_path: Path) -> None:
    texts, complexes = np.full((3, 2, 36, 3), "a", dtype=object), np.full((3, 2, 36, 3), 1j)
    scipy.io.savemat(tmp_path / "joint_data.mat", {"joint_xyz": texts, "joint_uvd": texts})
    with pytest.raises(DataError, match=r"joint_data\.mat: joint_xyz holds object values"):
        nyu.read_annotation(tmp_path)
    assert nyu.read_uvd(tmp_path) is None
    scipy.io.savemat(tmp_path / "joint_data.mat", {"joint_xyz": complexes, "joint_uvd": complexes})
    for read, name in ((nyu.read_annotation, "joint_xyz"), (nyu.read_uvd, "joint_uvd")):
        with pytest.raises(DataError, match=rf"joint_data\.mat .* '{name}' is no array of real numbers"):
            read(tmp_path)


def test_names_that_are_none_are_read_as_such(tmp_path: Path) -> None:
    names = np.empty(2, dtype=object)
    names[:] = [np.array([]), "PALM_1"]
    scipy.io.savemat(tmp_path / "joint_data.mat", {"joint_xyz": np.zeros((1, 2, 36, 3)), "joint_names": names})
    assert nyu.read_annotation(tmp_path).names == ("", "PALM_1")


def test_no_return_is_zero_or_nyus_2001() -> None:
    np.testing.assert_array_equal(
        nyu.returned(np.array([0, 1, 800, 2000, 2001, 3000])), [False, True, True, True, False, False]
    )
