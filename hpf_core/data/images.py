"""Depth images from files, read completely or refused: 16-bit grey and 8-bit RGB PNG by Pillow, and NumPy arrays.

We measured Pillow, OpenCV and imagecodecs (640 x 480, processor time): 4.9, 4.3 and 3.5 ms for RGB, 3.3, 3.1 and 2.8 ms
for grey, at 22, 153 and 45 MB installed. Before Pillow decodes an image, we compare every checksum and unpack the pixel
data once, within the size in the header. So no image takes more memory than its header states.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from hpf_core.data.stored_arrays import UNREADABLE
from hpf_core.errors import DataError

Encoding = Literal["gray16", "g256b", "r_g256", "npy"]
"""Storage of a depth map: 16-bit grey PNG, 8-bit RGB PNG with G * 256 + B (NYU) or R + 256 * G, or an array."""

_START = b"\x89PNG\r\n\x1a\n"
_HEAD = b"\0\0\0\rIHDR"  # the bytes after the signature of every PNG image: its first chunk has 13 bytes
_COLOURS = {0: "greyscale", 2: "RGB", 3: "palette", 4: "greyscale and alpha", 6: "RGBA"}
_CHANNELS = {0: 1, 2: 3}
_OTHERS = {b"\xff\xd8\xff": "a JPEG image", b"II*\0": "a TIFF image", b"MM\0*": "a TIFF image",
           b"v/1\x01": "an OpenEXR image", b"\x93NUMPY": "an array of NumPy"}  # fmt: skip
_KINDS = {"gray16": (16, 0), "g256b": (8, 2), "r_g256": (8, 2)}
_NAMES = {"gray16": "16-bit greyscale PNG images", "g256b": "8-bit RGB PNG images", "r_g256": "8-bit RGB PNG images"}
_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class PngHeader:
    """The header of a PNG image. Its string form describes the kind of image.

    Attributes:
        width, height: in pixels.
        bits: per channel.
        colour: content of a pixel, by PNG's number: 0 grey, 2 RGB.
        interlaced: whether the image is stored coarse to fine.
    """

    width: int
    height: int
    bits: int
    colour: int
    interlaced: bool = False

    def __str__(self) -> str:
        holds = _COLOURS.get(self.colour, f"colour type {self.colour}")
        return f"{'an' if self.bits == 8 else 'a'} {self.bits}-bit {holds} PNG image of {self.width} x {self.height}"


def read_stored(path: Path, encoding: Encoding, size: tuple[int, int], wanted_by: str) -> np.ndarray:
    """Read a file's depth map (H, W) as stored: uint16 for a PNG image, any real numbers for an array.

    Args:
        path: the file.
        encoding: the storage format.
        size: required width and height.
        wanted_by: source of this requirement, with its verb, for messages: "NYU's layout has".

    Raises:
        DataError: the file is missing, damaged, or of another size or kind.
    """
    width, height = size
    try:
        content = path.read_bytes()
        if encoding == "npy":
            return _array(path, content, size, wanted_by)
        expected = f"but {wanted_by} {_NAMES[encoding]} of {width} x {height}"
        if other := other_image(content):
            raise DataError(f"{path} is {other}, {expected}.")
        header = read_header(content)
        if (header.width, header.height, header.bits, header.colour) != (width, height, *_KINDS[encoding]):
            compare_checksums(content)  # a damaged file is reported as damaged, whatever its header says
            raise DataError(f"{path} is {header}, {expected}.")
        pixels = decode(content, header)
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}.") from error
    if encoding == "gray16":
        return pixels
    high, low = (pixels[..., 1], pixels[..., 2] if encoding == "g256b" else pixels[..., 0])
    depth = high.astype(np.uint16)
    depth <<= 8
    depth |= low
    return depth


def read_header(content: bytes) -> PngHeader:
    """Read the header of a PNG file.

    Raises:
        ValueError: the header is damaged, or the file is no PNG image; the message depends on the bytes only.
    """
    if not content:
        raise ValueError("it is empty")
    if not content.startswith(_START):
        start = content[: len(_START)].hex(" ")
        raise ValueError(f"not a PNG image, but {len(content):,} bytes that begin with {start}")
    if not content.startswith(_HEAD, len(_START)) or len(content) < len(_START) + 25:
        raise ValueError(f"a PNG image of {len(content):,} bytes whose header can't be read")
    width, height, bits, colour, *methods = struct.unpack_from(">IIBBBBB", content, len(_START + _HEAD))
    if methods not in ([0, 0, 0], [0, 0, 1]):
        raise ValueError("its header names ways of compression, filtering or interlacing that PNG doesn't have")
    return PngHeader(width, height, bits, colour, interlaced=methods[2] == 1)


def compare_checksums(content: bytes) -> None:
    """Verify the checksum of every chunk of a PNG file.

    Raises:
        ValueError: a checksum is wrong, or the file is cut off.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.verify()
    except SyntaxError as error:
        raise ValueError(f"a part is damaged: {_said(error)}") from error
    except (OSError, struct.error, EOFError, IndexError, ValueError) as error:
        raise ValueError(f"it ends after {len(content):,} bytes, in the middle of a part") from error


def decode(content: bytes, header: PngHeader) -> np.ndarray:
    """Decode a PNG file: (H, W) uint16 for 16-bit grey, (H, W, 3) uint8 for 8-bit RGB.

    Raises:
        ValueError: the file is damaged, or its content contradicts its header.
    """
    compare_checksums(content)
    _unpack_once(content, header)
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, struct.error, EOFError) as error:
        raise ValueError(f"its pixels can't be decoded: {_said(error)}") from error
    return pixels.astype(np.uint16, copy=False) if header.bits == 16 else pixels


def is_whole(path: Path) -> bool:
    """Whether a PNG file is complete to its end. A quick check that doesn't read the pixels."""
    try:
        with path.open("rb") as file:
            file.seek(-len(_END), io.SEEK_END)
            return file.read() == _END
    except OSError:
        return False


def write_whole(path: Path, content: memoryview) -> None:
    """Write a hidden file beside `path` and move it there. Leftovers of a killed process start with a dot.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def other_image(content: bytes) -> str | None:
    """Name the kind of a file that is no PNG image, with its article; None for a PNG image or an unknown kind."""
    return next((kind for start, kind in _OTHERS.items() if content.startswith(start)), None)


def _unpack_once(content: bytes, header: PngHeader) -> None:
    """Check that the pixel data end where the last row ends, and aren't a bomb: Pillow stops at the last row."""
    size = header.height * (1 + _CHANNELS[header.colour] * header.width * header.bits // 8)
    most = size + (header.height * 7 if header.interlaced else 0)  # each of the seven passes has its own rows
    unpacker = zlib.decompressobj()
    try:
        rows = unpacker.decompress(b"".join(_packed(content)), most + 1)
    except zlib.error as error:
        raise ValueError(f"its pixels can't be unpacked: {error}") from error
    if len(rows) > most:
        raise ValueError(f"its pixels unpack to more than the {most:,} bytes that its header allows")
    if len(rows) < size:
        raise ValueError(f"its pixels unpack to {len(rows):,} bytes, and {size:,} were expected")
    if not unpacker.eof:
        raise ValueError("its pixels can't be unpacked: their data are cut off")


def _packed(content: bytes) -> list[bytes]:
    """The data of all pixel chunks of a PNG file with verified checksums."""
    found, place, kind = [], len(_START), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, place)
        if kind == b"IDAT":
            found.append(content[place + 8 : place + 8 + length])
        place += 12 + length
    return found


def _array(path: Path, content: bytes, size: tuple[int, int], wanted_by: str) -> np.ndarray:
    expected = f"but {wanted_by} arrays of {size[1]} rows and {size[0]} columns of numbers"
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
    except UNREADABLE as error:
        raise ValueError(f"not an array of NumPy: {_said(error)}") from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise DataError(f"{path} is an archive of arrays, {expected}.")
    if found.shape != (size[1], size[0]) or found.dtype.kind not in "uif":
        raise DataError(f"{path} is an array of {found.dtype.name} of the shape {found.shape}, {expected}.")
    return found


def _said(error: Exception) -> str:
    """Pillow's message without the memory address of the file."""
    return str(error).partition("<_io.")[0].rstrip(" '.") or type(error).__name__
