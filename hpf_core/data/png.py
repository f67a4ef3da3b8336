"""8-bit RGB PNG images as depth sensors' datasets have them, read quickly and strictly.

Most of the time that decoders take is spent on unpacking, at which ISA-L is the quickest (measured beside zlib, zlib-ng
and libdeflate). The rows' filters are then undone in C (`png.c`); where there is no compiler, Pillow does it all. In
either case every checksum is compared and all rows have to be there: an image is read whole or not at all.
"""

from __future__ import annotations

import ctypes
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from isal import isal_zlib
from isal.igzip_lib import IsalError
from PIL import Image

from hpf_core.native import compiler

RGB = 2
"""What a pixel holds, by PNG's number."""

_START = b"\x89PNG\r\n\x1a\n"
_HEAD = b"\0\0\0\rIHDR"  # how every PNG image goes on: its first part has 13 bytes
_END = b"\0\0\0\0IEND\xaeB`\x82"
_COLOURS = {0: "greyscale", RGB: "RGB", 3: "palette", 4: "greyscale and alpha", 6: "RGBA"}
_OTHERS = {b"\xff\xd8\xff": "a JPEG image", b"II*\0": "a TIFF image", b"MM\0*": "a TIFF image",
           b"v/1\x01": "an OpenEXR image"}  # fmt: skip
_SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True)
class Png:
    """A PNG image whose parts are whole. As a string it says what kind of image it is.

    Attributes:
        content: the file.
        packed: the pixels' parts.
        width, height: in pixels.
        bits: of a channel.
        colour: what a pixel holds, by PNG's number, such as `RGB`.
        interlaced: whether it is stored coarse to fine.
    """

    content: bytes
    packed: tuple[memoryview, ...]
    width: int
    height: int
    bits: int
    colour: int
    interlaced: bool

    def __str__(self) -> str:
        holds = _COLOURS.get(self.colour, f"colour type {self.colour}")
        return f"{'an' if self.bits == 8 else 'a'} {self.bits}-bit {holds} PNG image of {self.width} x {self.height}"

    def green_and_blue(self) -> np.ndarray:
        """(H, W) uint16, green * 256 + blue of an 8-bit RGB image.

        Raises:
            ValueError: the pixels are damaged, with the reason.
        """
        assert (self.bits, self.colour) == (8, RGB), "the caller looks at the kind first"
        size = self.height * (1 + 3 * self.width)
        try:
            rows = isal_zlib.decompress(b"".join(self.packed), bufsize=size)
        except IsalError as error:
            raise ValueError(f"its pixels can't be unpacked: {error}") from error
        if len(rows) < size:
            raise ValueError(f"its pixels unpack to {len(rows):,} bytes, and {size:,} were expected")
        unfilter = _unfilter()
        if unfilter is None or self.interlaced:
            return self._by_pillow(rows)
        pixels = np.empty((self.height, self.width), dtype=np.uint16)
        wrong = unfilter(self.height, self.width, rows, pixels.ctypes.data)
        if wrong >= 0:
            raise ValueError(f"its row {wrong} has a filter that PNG doesn't know")
        return pixels

    def _by_pillow(self, rows: bytes) -> np.ndarray:
        """Pillow is given the unpacked rows, stored as they are: to unpack them again would take longest."""
        stored = zlib.compress(rows, 0)
        before = self.content[: len(_START) + 25] + struct.pack(">I4s", len(stored), b"IDAT")
        after = struct.pack(">I", zlib.crc32(stored, zlib.crc32(b"IDAT"))) + _END
        try:
            with Image.open(io.BytesIO(b"".join((before, stored, after)))) as image:
                rgb = np.asarray(image)
        except (OSError, SyntaxError, struct.error) as error:
            raise ValueError(f"its pixels can't be decoded: {error}") from error
        return (rgb[..., 1].astype(np.uint16) << 8) | rgb[..., 2]


def compile_kernel() -> None:
    """Have the C of this module compiled and kept, where that can be: before many processes do it at once."""
    _unfilter()


def other_image(content: bytes) -> str | None:
    """What kind of image a file is that is no PNG image, with its article; None for a PNG image, or no known image."""
    return next((kind for start, kind in _OTHERS.items() if content.startswith(start)), None)


def parse(content: bytes) -> Png:
    """A PNG image from its file, all checksums compared.

    Raises:
        ValueError: it is damaged, or no PNG image; the words follow from its bytes alone.
    """
    if not content:
        raise ValueError("it is empty")
    if not content.startswith(_START):
        raise ValueError(
            f"not a PNG image, but {len(content):,} bytes that begin with {content[: len(_START)].hex(' ')}"
        )
    if not content.startswith(_HEAD, len(_START)):
        raise ValueError(f"a PNG image of {len(content):,} bytes whose header can't be read")
    whole, packed = memoryview(content), []
    place, kind = len(_START), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, place) if place + 8 <= len(content) else (0, b"")
        after = place + 8 + length
        if after + 4 > len(content):
            raise ValueError(f"it ends after {len(content):,} bytes, where its part at byte {place} isn't whole")
        if zlib.crc32(whole[place + 4 : after]) != int.from_bytes(whole[after : after + 4]):
            raise ValueError(f"wrong checksum of the part {kind.decode('latin-1')} at byte {place}")
        if kind == b"IDAT":
            packed.append(whole[place + 8 : after])
        place = after + 4
    width, height, bits, colour, *methods = struct.unpack_from(">IIBBBBB", content, len(_START + _HEAD))
    if methods not in ([0, 0, 0], [0, 0, 1]):
        raise ValueError("its header names ways of compression, filtering or interlacing that PNG doesn't have")
    return Png(content, tuple(packed), width, height, bits, colour, interlaced=methods[2] == 1)


def _unfilter() -> Any:
    """`unfilter` of png.c, or None where there is no compiler."""
    library = compiler.load(_SOURCE, torch.float32, quiet=True)
    if library is None:
        return None
    function = library.unfilter
    function.argtypes = (ctypes.c_int64, ctypes.c_int64, ctypes.c_char_p, ctypes.c_void_p)
    function.restype = ctypes.c_int64
    return function
