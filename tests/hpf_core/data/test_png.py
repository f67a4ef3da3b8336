"""PNG images held against an encoder written from the specification, by the compiled way and by Pillow."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpf_core.data import png
from hpf_core.data.prepared import cropping

START = b"\x89PNG\r\n\x1a\n"


def part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def head(width: int, height: int, bits: int = 8, colour: int = 2, methods: bytes = bytes(3)) -> bytes:
    return START + part(b"IHDR", struct.pack(">IIBB", width, height, bits, colour) + methods)


def filtered(rgb: np.ndarray, filters: Sequence[int]) -> bytes:
    """Rows (H, W, 3) with a filter each, by section 9 of the specification: each byte less what its filter predicts."""
    height, width, _ = rgb.shape
    padded = np.zeros((height + 1, width + 1, 3), dtype=np.int64)
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


@pytest.fixture(params=["compiled", "Pillow"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "Pillow":
        monkeypatch.setattr(png, "_unfilter", lambda: None)
    elif png._unfilter() is None:
        pytest.skip("there is no C compiler")
    else:
        monkeypatch.setattr(png.Png, "_by_pillow", lambda *_: pytest.fail("this is the other way"))
    return request.param


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", range(5), ids=["none", "sub", "up", "average", "paeth"])
def test_every_filter_is_undone(way: str, rgb: np.ndarray, kind: int) -> None:
    found = png.parse(encoded(rgb, [kind] * 480)).green_and_blue()
    assert (found.dtype, found.flags.c_contiguous) == (np.uint16, True)
    np.testing.assert_array_equal(found, expected(rgb))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_images_of_any_size_filters_and_parts(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 9))
    # Few values, so that the Paeth filter has to choose between equal ones.
    values = data.draw(st.lists(st.sampled_from([0, 1, 2, 127, 128, 255]), min_size=3 * 63, max_size=3 * 63))
    rgb = np.array(values[: 3 * height * width], dtype=np.uint8).reshape(height, width, 3)
    filters = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    image = png.parse(encoded(rgb, filters, data.draw(st.lists(st.integers(0, 300), max_size=4))))
    np.testing.assert_array_equal(image.green_and_blue(), expected(rgb))
    np.testing.assert_array_equal(image._by_pillow(filtered(rgb, filters)), expected(rgb))


def test_interlaced_images_are_left_to_pillow(rgb: np.ndarray) -> None:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(filtered(rgb[y::dy, x::dx], [0] * len(rgb[y::dy])) for x, y, dx, dy in passes)
    content = head(640, 480, methods=b"\0\0\1") + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    np.testing.assert_array_equal(png.parse(content).green_and_blue(), expected(rgb))


def test_other_parts_and_what_follows_the_end_change_nothing(way: str, rgb: np.ndarray) -> None:
    content = encoded(rgb, [2] * 480)
    before = part(b"gAMA", struct.pack(">I", 45455)) + part(b"tRNS", struct.pack(">HHH", 0, 3, 4))
    content = content[:33] + before + part(b"tEXt", b"Author\0somebody") + content[33:] + b"and more"
    np.testing.assert_array_equal(png.parse(content).green_and_blue(), expected(rgb))


def test_a_damaged_byte_is_never_overlooked(way: str) -> None:
    """Wherever it is: by the checksums of the parts."""
    rgb = np.random.default_rng(1).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    content = encoded(rgb, [0, 1, 2, 3, 4], cuts=[20, 50])
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 0x20
        with pytest.raises(ValueError, match=r"checksum|isn't whole|not a PNG image|header can't be read"):
            png.parse(bytes(flipped))
    for size in range(len(content)):
        with pytest.raises(ValueError, match=r"isn't whole|it is empty|not a PNG image|header can't be read"):
            png.parse(content[:size])


def test_damaged_pixels_under_right_checksums(way: str, rgb: np.ndarray) -> None:
    rows = filtered(rgb, [1] * 480)
    packed = zlib.compress(rows, 1)
    for pixels, said in (
        (packed[:-1000], "its pixels can't be unpacked: "),
        (packed[:-1] + bytes([packed[-1] ^ 1]), "its pixels can't be unpacked: .*checksum"),
        (b"\xff" * 100, "its pixels can't be unpacked: "),
        (b"", "its pixels can't be unpacked: "),
        (zlib.compress(rows[:-1921], 1), "its pixels unpack to 920,159 bytes, and 922,080 were expected$"),
    ):
        image = png.parse(head(640, 480) + part(b"IDAT", pixels) + part(b"IEND", b""))
        with pytest.raises(ValueError, match=said):
            image.green_and_blue()
    wrong = rows[: 1921 * 7] + b"\x05" + rows[1921 * 7 + 1 :]
    image = png.parse(head(640, 480) + part(b"IDAT", zlib.compress(wrong, 1)) + part(b"IEND", b""))
    said = {"compiled": "its row 7 has a filter that PNG doesn't know$", "Pillow": "its pixels can't be decoded: "}
    with pytest.raises(ValueError, match=said[way]):
        image.green_and_blue()


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
    assert str(png.parse(content + part(b"IEND", b""))) == said


@pytest.mark.parametrize("methods", [b"\1\0\0", b"\0\1\0", b"\0\0\2"])
def test_a_header_that_no_decoder_could_follow(methods: bytes) -> None:
    with pytest.raises(ValueError, match="its header names ways of compression, filtering or interlacing"):
        png.parse(head(640, 480, methods=methods) + part(b"IEND", b""))


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
    assert png.other_image(content) == kind


def test_the_kernel_is_there_before_processes_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each of them would compile it."""
    happened: list[str] = []
    monkeypatch.setattr(png, "compile_kernel", lambda: happened.append("compiled"))
    monkeypatch.setattr(cropping, "_in_processes", lambda *_: happened.append("processes") or [])
    plan = SimpleNamespace(files=SimpleNamespace(rows=lambda chunk: range(16)), views=(0, 1, 2))
    cropping.make_chunks(plan, range(4), 2, lambda _: None)  # type: ignore[arg-type]
    assert happened == ["compiled", "processes"]
