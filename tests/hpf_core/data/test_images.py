"""Depth images compared with an encoder written from the specification; what isn't whole is refused."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpf_core.data import images
from hpf_core.errors import DataError

START = b"\x89PNG\r\n\x1a\n"


def part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def head(width: int, height: int, bits: int = 8, colour: int = 2, methods: bytes = bytes(3)) -> bytes:
    return START + part(b"IHDR", struct.pack(">IIBB", width, height, bits, colour) + methods)


def filtered(rgb: np.ndarray, filters: Sequence[int]) -> bytes:
    """Rows (H, W, 3) with a filter each, by section 9 of the specification: each byte less what its filter predicts."""
    height, width, channels = rgb.shape
    padded = np.zeros((height + 1, width + 1, channels), dtype=np.int64)
    padded[1:, 1:] = rgb
    a, b, c = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    distances = np.abs(np.stack([a, b, c]) - (a + b - c))
    paeth = np.choose(distances.argmin(axis=0), [a, b, c])  # of equal ones the first, as the specification says
    predicted = np.stack([np.zeros_like(a), a, b, (a + b) // 2, paeth])
    rows = [(rgb[v] - predicted[kind, v]).astype(np.uint8).tobytes() for v, kind in enumerate(filters)]
    return b"".join(bytes([kind]) + row for kind, row in zip(filters, rows, strict=True))


def encoded(rgb: np.ndarray, filters: Sequence[int], cuts: Sequence[int] = ()) -> bytes:
    packed = zlib.compress(filtered(rgb, filters))
    ends = sorted(cut % (len(packed) + 1) for cut in cuts)
    parts = [part(b"IDAT", packed[a:b]) for a, b in zip([0, *ends], [*ends, len(packed)], strict=True)]
    return head(rgb.shape[1], rgb.shape[0]) + b"".join(parts) + part(b"IEND", b"")


def expected(rgb: np.ndarray) -> np.ndarray:
    return rgb[..., 1].astype(np.int64) * 256 + rgb[..., 2]


def decoded(content: bytes) -> np.ndarray:
    return images.decode(content, images.read_header(content))


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", range(5), ids=["none", "sub", "up", "average", "paeth"])
def test_every_filter_is_undone(tmp_path: Path, rgb: np.ndarray, kind: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(rgb, [kind] * 480))
    stored = images.read_stored(path, "g256b", (640, 480), "the test has")
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, expected(rgb))
    other = images.read_stored(path, "r_g256", (640, 480), "the test has")
    np.testing.assert_array_equal(other, rgb[..., 1].astype(np.int64) * 256 + rgb[..., 0])


@pytest.mark.parametrize("kind", range(5), ids=["none", "sub", "up", "average", "paeth"])
def test_sixteen_bits_are_filtered_by_pixels_of_two_bytes(tmp_path: Path, kind: int) -> None:
    depth = np.random.default_rng(2).integers(0, 65536, (9, 12), dtype=np.uint16)
    channels = np.stack([depth >> 8, depth & 0xFF], axis=-1).astype(np.uint8)
    path = tmp_path / "a.png"
    packed = part(b"IDAT", zlib.compress(filtered(channels, [kind] * 9)))
    path.write_bytes(head(12, 9, 16, 0) + packed + part(b"IEND", b""))
    np.testing.assert_array_equal(images.read_stored(path, "gray16", (12, 9), "the test has"), depth)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_images_of_any_size_filters_and_parts(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 9))
    # Few values, so that the Paeth filter has to choose between equal ones.
    values = data.draw(st.lists(st.sampled_from([0, 1, 2, 127, 128, 255]), min_size=3 * 63, max_size=3 * 63))
    rgb = np.array(values[: 3 * height * width], dtype=np.uint8).reshape(height, width, 3)
    filters = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    content = encoded(rgb, filters, data.draw(st.lists(st.integers(0, 300), max_size=4)))
    np.testing.assert_array_equal(decoded(content), rgb)


def test_interlaced_images(rgb: np.ndarray) -> None:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(filtered(rgb[y::dy, x::dx], [0] * len(rgb[y::dy])) for x, y, dx, dy in passes)
    content = head(640, 480, methods=b"\0\0\1") + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    np.testing.assert_array_equal(decoded(content), rgb)


def test_other_parts_and_what_follows_the_end_change_nothing(rgb: np.ndarray) -> None:
    content = encoded(rgb, [2] * 480)
    before = part(b"gAMA", struct.pack(">I", 45455)) + part(b"tRNS", struct.pack(">HHH", 0, 3, 4))
    content = content[:33] + before + part(b"tEXt", b"Author\0somebody") + content[33:] + b"and more"
    np.testing.assert_array_equal(decoded(content), rgb)


def test_a_damaged_byte_is_never_overlooked() -> None:
    """Wherever it is: by the checksums of the parts."""
    rgb = np.random.default_rng(1).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    content = encoded(rgb, [0, 1, 2, 3, 4], cuts=[20, 50])
    for place in range(len(content) - 12):  # the last part holds nothing
        flipped = bytearray(content)
        flipped[place] ^= 0x20
        with pytest.raises(ValueError, match=r"."):
            decoded(bytes(flipped))
    for size in range(len(content) - 4):
        with pytest.raises(ValueError, match=r"whole|broken|ends after|empty|not a PNG image|header can't be read"):
            decoded(content[:size])


def test_damaged_pixels_under_right_checksums(rgb: np.ndarray) -> None:
    rows = filtered(rgb, [1] * 480)
    packed = zlib.compress(rows, 1)
    for pixels, said in (
        (packed[:-1000], "its pixels unpack to .* bytes, and 922,080 were expected"),
        (packed[:-4], "its pixels can't be unpacked: their data are cut off"),
        (packed[:-1] + bytes([packed[-1] ^ 1]), "its pixels can't be unpacked: .*check"),
        (b"\xff" * 100, "its pixels can't be unpacked: "),
        (b"", "its pixels unpack to 0 bytes"),
        (zlib.compress(rows[:-1921], 1), "its pixels unpack to 920,159 bytes, and 922,080 were expected$"),
    ):
        with pytest.raises(ValueError, match=said):
            decoded(head(640, 480) + part(b"IDAT", pixels) + part(b"IEND", b""))
    wrong = rows[: 1921 * 7] + b"\x05" + rows[1921 * 7 + 1 :]
    with pytest.raises(ValueError, match="its pixels can't be decoded: "):
        decoded(head(640, 480) + part(b"IDAT", zlib.compress(wrong, 1)) + part(b"IEND", b""))


def test_data_that_unpack_beyond_the_headers_size_are_refused_without_unpacking_them(tmp_path: Path) -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join([packer.compress(bytes(1 << 20)) for _ in range(256)]) + packer.flush()
    path = tmp_path / "a.png"
    path.write_bytes(head(640, 480, 16, 0) + part(b"IDAT", bomb) + part(b"IEND", b""))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"a\.png is damaged: its pixels unpack to more than the 614,880 bytes"):
            images.read_stored(path, "gray16", (640, 480), "the test has")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    longer = zlib.compress(filtered(np.zeros((2, 3, 3), np.uint8), [0, 0]) + b"more")
    with pytest.raises(ValueError, match="unpack to more than the 20 bytes"):
        decoded(head(3, 2) + part(b"IDAT", longer) + part(b"IEND", b""))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (head(640, 480, 16, 0), "a 16-bit greyscale PNG image of 640 x 480"),
        (head(640, 480, 8, 3), "an 8-bit palette PNG image of 640 x 480"),
        (head(640, 480, 8, 6), "an 8-bit RGBA PNG image of 640 x 480"),
        (head(2**31, 7, 8, 5), "an 8-bit colour type 5 PNG image of 2147483648 x 7"),
    ],
)
def test_a_kind_is_told_by_the_header_alone(content: bytes, said: str) -> None:
    assert str(images.read_header(content + part(b"IEND", b""))) == said


@pytest.mark.parametrize("methods", [b"\1\0\0", b"\0\1\0", b"\0\0\2"])
def test_a_header_that_no_decoder_could_follow(methods: bytes) -> None:
    with pytest.raises(ValueError, match="its header names ways of compression, filtering or interlacing"):
        images.read_header(head(640, 480, methods=methods) + part(b"IEND", b""))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "a JPEG image"),
        (b"II*\0", "a TIFF image"),
        (b"v/1\1", "an OpenEXR image"),
        (START, None),
        (b"", None),
    ],
)
def test_other_images_are_told_by_how_they_begin(content: bytes, kind: str | None) -> None:
    assert images.other_image(content) == kind


def test_arrays_of_numpy(tmp_path: Path) -> None:
    path, depth = tmp_path / "a.npy", np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(path, depth)
    np.testing.assert_array_equal(images.read_stored(path, "npy", (4, 3), "the test has"), depth)
    with pytest.raises(DataError, match=r"shape \(3, 4\), but the test has arrays of 4 rows and 3 columns"):
        images.read_stored(path, "npy", (3, 4), "the test has")
    np.save(path, np.array([None]), allow_pickle=True)
    with pytest.raises(DataError, match="is damaged: not an array of NumPy"):
        images.read_stored(path, "npy", (4, 3), "the test has")
    with pytest.raises(DataError, match="an array of NumPy, but the test has 16-bit greyscale PNG images of 4 x 3"):
        images.read_stored(path, "gray16", (4, 3), "the test has")
